#include "command/scripts.hpp"

namespace qwenplan {

std::string_view bench_script() {
  return R"py("""Measures loading, inference in Arabic and training steps of a causal language model, phase by phase.

    python bench.py --out result.json                      as it was written, see DEFAULTS
    python bench.py --model /models/Qwen2.5-3B --method lora --seq-len 1024 --batch 2 --out result.json
    python bench.py --tiny                                 a model of its own, no download, runs anywhere

The model is a name on the Hugging Face Hub or a folder with its files. It is loaded once. Each phase
starts and ends with torch.cuda.synchronize; the cache of the allocator is never emptied in between, as
no training loop does. The result is a measurement that `qwenplan bench --import result.json` reads.
Needs torch and transformers; peft for lora and qlora; bitsandbytes for qlora and 8-bit optimizers.
"""
import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import sys
import time

import torch
import transformers

DEFAULTS = @DEFAULTS@

PROMPTS = ["اكتب قصة قصيرة عن مدينة قديمة على شاطئ البحر.", "ما هي أفضل طريقة لتعلم لغة جديدة؟",
           "اشرح مفهوم الذكاء الاصطناعي بكلمات بسيطة."]
TARGETS = {"qv": ["q_proj", "v_proj"], "attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "all-linear": "all-linear"}
ATTENTION = {"fa2": "flash_attention_2", "sdpa": "sdpa", "eager": "eager"}
OPTIMIZERS = ["adamw-fused", "adamw-foreach", "adamw-loop", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "sgd"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(name, **options):
        parser.add_argument("--" + name, default=DEFAULTS.get(name, options.pop("default", None)), **options)

    def add_switch(name, default):
        group = parser.add_mutually_exclusive_group()
        attribute = name.replace("-", "_")
        group.add_argument("--" + name, dest=attribute, action="store_true")
        group.add_argument("--no-" + name, dest=attribute, action="store_false")
        parser.set_defaults(**{attribute: DEFAULTS.get(name, default)})

    add("model", help="a name on the Hub, or a folder")
    parser.add_argument("--tiny", action="store_true", help="a random model of a few layers instead")
    add("method", choices=["full", "lora", "qlora"], default="lora")
    add("precision", choices=["bf16-mixed", "bf16-true", "fp16-mixed", "fp32"])
    add("seq-len", type=int, default=1024)
    add("batch", type=int, default=1)
    add("lora-r", type=int, default=16)
    add("lora-alpha", type=float, default=32)
    add("lora-dropout", type=float, default=0.0)
    add("lora-targets", default="all-linear")
    add("quant", choices=["nf4", "fp4", "int8"], default="nf4")
    add_switch("double-quant", False)
    add_switch("checkpointing", True)
    add("attention", choices=sorted(ATTENTION), default="sdpa")
    add("optimizer", choices=OPTIMIZERS, default="adamw-fused")
    parser.add_argument("--steps", type=int, default=6, help="training steps; the first two are measured by phase, the others timed")
    parser.add_argument("--new-tokens", type=int, default=50, help="tokens made for each prompt")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", help="file for the result; without it, standard output")
    parser.add_argument("--force", action="store_true", help="replace that file")
    options = parser.parse_args()
    if not options.model and not options.tiny:
        parser.error("give --model NAME_OR_FOLDER, or --tiny")
    if options.steps < 3:
        parser.error("--steps has to be 3 or more")
    if options.out and os.path.exists(options.out) and not options.force:
        parser.error(f"{options.out} exists; add --force to replace it")
    if options.device == "cpu" and options.method == "qlora":
        parser.error("qlora is measured on a GPU; use --method lora on a CPU")
    if options.precision is None:
        is_cuda = options.device.startswith("cuda")
        options.precision = "fp32" if not is_cuda else "bf16-mixed" if torch.cuda.is_bf16_supported() else "fp16-mixed"
    return options


class Bench:
    def __init__(self, options):
        self.o = options
        self.is_cuda = options.device.startswith("cuda")
        self.phases = []
        self.half = torch.float16 if options.precision.startswith("fp16") else torch.bfloat16
        self.autocasts = options.precision.endswith("-mixed")
        self.last = time.perf_counter()

    def synchronize(self):
        if self.is_cuda:
            torch.cuda.synchronize()

    def begin(self):
        self.synchronize()
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        self.last = time.perf_counter()

    def mark(self, phase, step=None):
        """Ends a phase: its time and the peaks within it; the next one begins."""
        self.synchronize()
        now = time.perf_counter()
        self.phases.append({"phase": phase, "step": step,
                            "allocated_bytes": torch.cuda.max_memory_allocated() if self.is_cuda else None,
                            "reserved_bytes": torch.cuda.max_memory_reserved() if self.is_cuda else None,
                            "device_bytes": None, "seconds": round(now - self.last, 6)})
        print(f"{phase:10} {step or '':2} {now - self.last:8.3f} s", file=sys.stderr, flush=True)
        self.begin()

    # ---- load

    def weights_dtype(self):
        """The stored format of the weights: fp32 where all of them are trained under autocast."""
        if self.o.precision == "fp32" or (self.o.method == "full" and self.autocasts):
            return torch.float32
        return self.half

    def load(self):
        o = self.o
        self.begin()
        if o.tiny:
            config = transformers.Qwen2Config(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                                              num_key_value_heads=2, vocab_size=512, max_position_embeddings=max(2048, o.seq_len))
            config._attn_implementation = ATTENTION[o.attention]
            model = transformers.AutoModelForCausalLM.from_config(config).to(self.weights_dtype()).to(o.device)
            tokenizer = None
        else:
            is_new = tuple(int(part) for part in transformers.__version__.split(".")[:2]) >= (4, 56)
            options = {"dtype" if is_new else "torch_dtype": self.weights_dtype(), "attn_implementation": ATTENTION[o.attention]}
            if o.method == "qlora":
                options["quantization_config"] = transformers.BitsAndBytesConfig(
                    load_in_8bit=o.quant == "int8", load_in_4bit=o.quant != "int8", bnb_4bit_quant_type=o.quant if o.quant != "int8" else "nf4",
                    bnb_4bit_use_double_quant=o.double_quant, bnb_4bit_compute_dtype=self.half)
                options["device_map"] = {"": o.device}
            model = transformers.AutoModelForCausalLM.from_pretrained(o.model, **options)
            if o.method != "qlora":
                model = model.to(o.device)
            tokenizer = transformers.AutoTokenizer.from_pretrained(o.model)
        self.mark("load")
        return model, tokenizer

    # ---- inference

    def prompt(self, text, model, tokenizer):
        if tokenizer is None:  # the tiny model reads bytes
            return torch.tensor([list(text.encode())], device=self.o.device)
        return tokenizer(text, return_tensors="pt").input_ids.to(self.o.device)

    def infer(self, model, tokenizer):
        """Tokens made a second, one prompt at a time; the first run warms up and does not count."""
        n = self.o.new_tokens
        model.eval()
        seconds = made = 0
        casts = torch.autocast(self.o.device.split(":")[0], self.half) if self.autocasts else contextlib.nullcontext()
        with torch.no_grad(), casts:
            for i, text in enumerate([PROMPTS[0]] + PROMPTS):
                ids = self.prompt(text, model, tokenizer)
                self.synchronize()
                start = time.perf_counter()
                out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, min_new_tokens=n, do_sample=False,
                                     pad_token_id=tokenizer.eos_token_id if tokenizer else 0)
                self.synchronize()
                if i > 0:
                    seconds += time.perf_counter() - start
                    made += out.shape[1] - ids.shape[1]
        self.mark("inference")
        return made / seconds

    # ---- training

    def prepare(self, model):
        o = self.o
        inner = model
        if o.method == "qlora":
            from peft import prepare_model_for_kbit_training
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=o.checkpointing,
                                                    gradient_checkpointing_kwargs={"use_reentrant": False})
        if o.method != "full":
            from peft import LoraConfig, get_peft_model
            targets = TARGETS.get(o.lora_targets) or o.lora_targets.split(",")
            model = get_peft_model(model, LoraConfig(r=o.lora_r, lora_alpha=o.lora_alpha, lora_dropout=o.lora_dropout,
                                                     target_modules=targets, task_type="CAUSAL_LM"))
        model.config.use_cache = False
        if o.checkpointing:
            inner.gradient_checkpointing_enable({"use_reentrant": False})
            if o.method != "full":
                inner.enable_input_require_grads()
        model.train()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = self.make_optimizer()
        self.scaler = torch.amp.GradScaler(enabled=self.is_cuda and self.o.precision == "fp16-mixed")
        self.mark("prepare")
        return model, inner

    def make_optimizer(self):
        name, p = self.o.optimizer, self.parameters
        if name == "sgd":
            return torch.optim.SGD(p, lr=1e-5)
        if "8bit" in name or "paged" in name:
            import bitsandbytes
            kind = {"adamw-8bit": "AdamW8bit", "paged-adamw": "PagedAdamW", "paged-adamw-8bit": "PagedAdamW8bit"}[name]
            return getattr(bitsandbytes.optim, kind)(p, lr=1e-5)
        how = {"adamw-fused": {"fused": True}, "adamw-foreach": {"foreach": True}, "adamw-loop": {"foreach": False, "fused": False}}[name]
        return torch.optim.AdamW(p, lr=1e-5, **how)

    def train(self, model, inner):
        o = self.o
        vocabulary = model.get_input_embeddings().weight.shape[0]
        ids = torch.randint(0, vocabulary, (o.batch, o.seq_len), device=o.device)
        real = getattr(inner, "loss_function", None)
        step = 0

        def loss_function(*args, **kwargs):
            self.mark("forward", step)
            return real(*args, **kwargs)

        times = []
        self.begin()
        for step in range(1, o.steps + 1):
            by_phase = step <= 2
            if real is not None:
                inner.loss_function = loss_function if by_phase else real
            self.synchronize()
            start = time.perf_counter()
            with torch.autocast(o.device.split(":")[0], self.half) if self.autocasts else contextlib.nullcontext():
                loss = model(input_ids=ids, labels=ids).loss
            if by_phase:
                self.mark("loss" if real is not None else "forward", step)
            self.scaler.scale(loss).backward()
            del loss
            if by_phase:
                self.mark("backward", step)
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if by_phase:
                self.mark("step", step)
            self.synchronize()
            times.append(time.perf_counter() - start)
        return statistics.median(times[2:])


def settings(o):
    """The run by the names of qwenplan's flags."""
    run = {"model": "tiny" if o.tiny else o.model, "method": o.method, "precision": o.precision, "seq-len": o.seq_len, "batch": o.batch,
           "checkpointing": o.checkpointing, "attention": o.attention, "optimizer": o.optimizer}
    if o.method != "full":
        run.update({"lora-r": o.lora_r, "lora-alpha": o.lora_alpha, "lora-dropout": o.lora_dropout, "lora-targets": o.lora_targets})
    if o.method == "qlora":
        run.update({"quant": o.quant, "double-quant": o.double_quant})
    return run


def software():
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "flash-attn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def largest(values):
    values = [value for value in values if value is not None]
    return max(values) if values else None


def main():
    o = arguments()
    bench = Bench(o)
    begin = time.perf_counter()
    free_before = torch.cuda.mem_get_info()[0] if bench.is_cuda else None
    result = {"schema": "qwenplan.measurement/1", "source": "bench", "day": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
              "run": settings(o), "gpu": None, "software": software(), "status": "ok"}
    rates = {"training": None, "inference": None}
    seconds_per_step = None
    if bench.is_cuda:
        result["gpu"] = {"name": torch.cuda.get_device_name(o.device), "total_bytes": torch.cuda.get_device_properties(o.device).total_memory}
    try:
        model, tokenizer = bench.load()
        rates["inference"] = bench.infer(model, tokenizer)
        model, inner = bench.prepare(model)
        seconds_per_step = bench.train(model, inner)
        rates["training"] = o.batch * o.seq_len / seconds_per_step
    except torch.OutOfMemoryError if hasattr(torch, "OutOfMemoryError") else torch.cuda.OutOfMemoryError as error:
        result["status"] = "oom"
        print(str(error).split("\n")[0], file=sys.stderr)
    result["peaks"] = {"allocated_bytes": largest(p["allocated_bytes"] for p in bench.phases),
                       "reserved_bytes": largest(p["reserved_bytes"] for p in bench.phases),
                       "device_bytes": free_before - torch.cuda.mem_get_info()[0] if bench.is_cuda else None,
                       "host_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "host_proportional_bytes": None}
    result["phases"] = bench.phases
    result["seconds"] = round(time.perf_counter() - begin, 3)
    result["seconds_per_step"] = seconds_per_step
    result["tokens_per_second"] = rates
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if o.out:
        with open(o.out, "w" if o.force else "x", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")
    return 0 if result["status"] == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
)py";
}

}  // namespace qwenplan
