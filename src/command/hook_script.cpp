#include "command/scripts.hpp"

namespace qwenplan {

std::string_view hook_script() {
  return R"py("""What PyTorch's allocator holds, phase by phase, written while a Hugging Face Trainer runs.

    from qwenplan_hook import QwenplanCallback
    trainer = Trainer(..., callbacks=[QwenplanCallback(every=10)])

Steps 1 and 2 are always written, then each `every`-th one. A line is one JSON object: step, phase,
the peaks of that phase (allocated_bytes, reserved_bytes; null without CUDA) and its seconds. The
peaks are those of torch.cuda, which are reset at each mark: other readers of them see them restart.
Phases: load (all before the first step), forward (with the loss), backward, step (the optimizer),
save, evaluate, and unmarked (what happened in steps that were not written). The first line has the
versions of the libraries, the last one the steps after the second and their seconds.

`qwenplan monitor -- CMD` names the file in QWENPLAN_HOOK_FILE and reads it; elsewhere the file is
qwenplan-hook-PID.jsonl in the working folder, and is never one that exists.
"""
import importlib.metadata
import json
import os
import time

import torch
from transformers import TrainerCallback


class QwenplanCallback(TrainerCallback):
    def __init__(self, every=10, path=None):
        self.every = max(1, int(every))
        given = path or os.environ.get("QWENPLAN_HOOK_FILE")
        # Several processes may share the file they are given; a line is one write.
        self.file = open(given or f"qwenplan-hook-{os.getpid()}.jsonl", "a" if given else "x", buffering=1)
        self.step = None  # the step that is being written, or None
        self.second = None  # when the second step ended, and its number
        self.last = time.perf_counter()
        self.handles = []
        software = {}
        for name in ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "trl"):
            try:
                software[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                pass
        self.file.write(json.dumps({"pid": os.getpid(), "software": software}) + "\n")

    def mark(self, phase, step):
        now = time.perf_counter()
        line = {"pid": os.getpid(), "step": step, "phase": phase, "allocated_bytes": None, "reserved_bytes": None,
                "seconds": round(now - self.last, 6)}
        if torch.cuda.is_available():
            line["allocated_bytes"] = torch.cuda.max_memory_allocated()
            line["reserved_bytes"] = torch.cuda.max_memory_reserved()
            torch.cuda.reset_peak_memory_stats()
        self.file.write(json.dumps(line) + "\n")
        self.last = now

    def after_forward(self, model, *_):
        if self.step is not None and model.training:
            self.mark("forward", self.step)

    def before_optimizer(self, *_):
        if self.step is not None:
            self.mark("backward", self.step)

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.mark("load", 0)
        if model is not None:
            self.handles.append(model.register_forward_hook(self.after_forward))
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        if hasattr(optimizer, "register_step_pre_hook"):
            self.handles.append(optimizer.register_step_pre_hook(self.before_optimizer))

    def on_step_begin(self, args, state, control, **kwargs):
        step = state.global_step + 1
        if step > 2 and step % self.every:
            self.step = None
            return
        if step > 1:
            self.mark("unmarked", state.global_step)
        self.step = step

    def on_substep_end(self, args, state, control, **kwargs):
        self.before_optimizer()

    def on_step_end(self, args, state, control, **kwargs):
        if self.step is not None:
            self.mark("step", self.step)
            self.step = None
        elif control.should_save or control.should_evaluate:
            self.mark("unmarked", state.global_step)
        if self.second is None and state.global_step >= 2:
            self.second = (time.perf_counter(), state.global_step)

    def on_save(self, args, state, control, **kwargs):
        self.mark("save", state.global_step)

    def on_evaluate(self, args, state, control, **kwargs):
        self.mark("evaluate", state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        self.mark("unmarked", state.global_step)
        if self.second is not None and state.global_step > self.second[1]:
            line = {"pid": os.getpid(), "steps": state.global_step - self.second[1],
                    "seconds": round(time.perf_counter() - self.second[0], 6)}
            self.file.write(json.dumps(line) + "\n")
        for handle in self.handles:
            handle.remove()
        self.file.close()
)py";
}

}  // namespace qwenplan
