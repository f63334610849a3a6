#include "command/cloud_script_text.hpp"

#include <cstddef>

namespace qwenplan {

std::string_view train_template() {
  return R"~("""Fine-tunes @MODEL@: @WORDS@.

Written by qwenplan, which expects it to need @NEED@ on a GPU. MODEL, DATASET, OUTPUT and EPOCHS of the
environment replace what is set here. It goes on from the last checkpoint in OUTPUT.
"""

import os
import signal
import time

import torch
from datasets import load_dataset
from transformers import (AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback,
                          TrainingArguments, default_data_collator)
from transformers.trainer_utils import get_last_checkpoint

MODEL = os.environ.get("MODEL", "@MODEL@")
DATASET = os.environ.get("DATASET", "@DATASET@")
OUTPUT = os.environ.get("OUTPUT", "output")
EPOCHS = float(os.environ.get("EPOCHS", "1"))
LENGTH = @LENGTH@
SAVE_SECONDS = @SAVE_SECONDS@
NEEDS_BYTES = @NEED_BYTES@


def chat(turns, tokenizer):
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(turns, tokenize=False)
    return "\n".join(turn["content"] for turn in turns)


def text_of(row, tokenizer):
    """The text of an example, whichever of the usual columns it has."""
    if row.get("messages"):
        return chat(row["messages"], tokenizer)
    if row.get("text"):
        return row["text"]
    question = row.get("instruction") or row.get("question") or row.get("prompt")
    answer = row.get("output") or row.get("answer") or row.get("response") or row.get("completion")
    if question is None or answer is None:
        raise SystemExit(f"{DATASET}: no text, messages, or instruction and output among {sorted(row)}")
    turns = [{"role": "user", "content": "\n".join(p for p in (question, row.get("input")) if p)},
             {"role": "assistant", "content": answer}]
    return chat(turns, tokenizer)


def blocks_of(tokenizer):
    """All examples in a row, cut into blocks of LENGTH tokens: no padding."""
    if DATASET.endswith((".json", ".jsonl")):
        data = load_dataset("json", data_files=DATASET, split="train")
    else:
        data = load_dataset(DATASET, split="train")

    def pack(rows):
        tokens = []
        for values in zip(*rows.values()):
            row = dict(zip(rows, values))
            tokens += tokenizer(text_of(row, tokenizer))["input_ids"] + [tokenizer.eos_token_id]
        blocks = [tokens[i:i + LENGTH] for i in range(0, len(tokens) - LENGTH + 1, LENGTH)]
        return {"input_ids": blocks, "labels": [list(block) for block in blocks]}

    return data.map(pack, batched=True, batch_size=1000, remove_columns=data.column_names)


def load_model():
    options = {@LOAD_OPTIONS@}@QUANTIZE@
    model = AutoModelForCausalLM.from_pretrained(MODEL, **options)
    model.config.use_cache = False@ADAPT@
    return model


class Saving(TrainerCallback):
    """Saves by the clock, and when the machine is about to be taken away."""

    def __init__(self):
        self.last = time.monotonic()
        self.stops = False
        for name in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(name, lambda *_: setattr(self, "stops", True))

    def on_step_end(self, args, state, control, **kwargs):
        if self.stops or time.monotonic() - self.last > SAVE_SECONDS:
            control.should_save = True
            control.should_training_stop = control.should_training_stop or self.stops
            self.last = time.monotonic()


def main():
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        print(f"{card.name}: {card.total_memory / 2**30:.1f} GiB")
        if card.total_memory < NEEDS_BYTES:
            print(f"warning: this run is expected to need {NEEDS_BYTES / 2**30:.1f} GiB")
    else:
        print("warning: there is no GPU")

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    saving = Saving()
    trainer = Trainer(
        model=load_model(),
        args=TrainingArguments(
            output_dir=OUTPUT,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=@BATCH@,
            gradient_accumulation_steps=@ACCUMULATION@,
            gradient_checkpointing=@CHECKPOINTING@,
            gradient_checkpointing_kwargs={"use_reentrant": @REENTRANT@},
            bf16=@BF16@,
            fp16=@FP16@,
            optim="@OPTIM@",
            learning_rate=@RATE@,
            lr_scheduler_type="cosine",
            logging_steps=10,
            save_strategy="no",
            save_total_limit=2,
            report_to="none",
        ),
        train_dataset=blocks_of(tokenizer),
        data_collator=default_data_collator,
        callbacks=[saving],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(OUTPUT) if os.path.isdir(OUTPUT) else None)
    if saving.stops:
        raise SystemExit("stopped on request; run it again to go on")
    final = os.environ.get("SM_MODEL_DIR", os.path.join(OUTPUT, "final"))
    trainer.save_model(final)
    tokenizer.save_pretrained(final)
    if torch.cuda.is_available():
        print(f"peak: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB allocated, "
              f"{torch.cuda.max_memory_reserved() / 2**30:.2f} GiB reserved")


if __name__ == "__main__":
    main()
)~";
}

std::string_view colab_template() {
  return R"~(# @MODEL@ on Google Colab: @WORDS@.
# Choose Runtime > Change runtime type > @RUNTIME@, then run this as one cell, or with %run.
# Colab brings torch; replacing it would break what is built against it.

# %% Packages
import os
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", @PACKAGES_LIST@])

# %% Storage: checkpoints outlive the session
from google.colab import drive

drive.mount("/content/drive")
os.environ["OUTPUT"] = "/content/drive/MyDrive/@NAME@"
os.makedirs(os.environ["OUTPUT"], exist_ok=True)

# %% Training
with open("/content/train.py", "w") as file:
    file.write(r'''@TRAIN@''')
subprocess.check_call([sys.executable, "/content/train.py"])
)~";
}

std::string_view sagemaker_template() {
  return R"~("""Starts a SageMaker training job for @MODEL@: @WORDS@.

@INSTANCE@ has @GPU@; @PRICE@.
It needs: pip install 'sagemaker>=3,<4' boto3, credentials of AWS, and an execution role.
"""

import os
import pathlib

import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.training.configs import (CheckpointConfig, Compute, SourceCode,
                                             StoppingCondition)
from sagemaker.train import ModelTrainer

INSTANCE = "@INSTANCE@"
RUN_SECONDS = @RUN_SECONDS@  # of training; the job ends then, finished or not
WAIT_SECONDS = @WAIT_SECONDS@  # with the time without a spot machine

TRAIN = r'''@TRAIN@'''

REQUIREMENTS = """\
@PACKAGES_LINES@
"""

source = pathlib.Path("@NAME@-source")
source.mkdir(exist_ok=True)
(source / "train.py").write_text(TRAIN)
(source / "requirements.txt").write_text(REQUIREMENTS)

session = Session(boto3.Session())
region = session.boto_session.region_name
trainer = ModelTrainer(
    sagemaker_session=session,
    role=os.environ.get("SAGEMAKER_ROLE"),
    base_job_name="@NAME@",
    training_image=f"763104351884.dkr.ecr.{region}.amazonaws.com/huggingface-pytorch-training"
                   ":2.9.0-transformers5.3.0-gpu-py312-cu130-ubuntu22.04",
    source_code=SourceCode(source_dir=str(source), entry_script="train.py",
                           requirements="requirements.txt"),
    compute=Compute(instance_type=INSTANCE, instance_count=1, volume_size_in_gb=@DISK@,
                    enable_managed_spot_training=True),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=RUN_SECONDS,
                                         max_wait_time_in_seconds=WAIT_SECONDS),
    checkpoint_config=CheckpointConfig(s3_uri=f"s3://{session.default_bucket()}/@NAME@/checkpoints",
                                       local_path="/opt/ml/checkpoints"),
    environment={"OUTPUT": "/opt/ml/checkpoints", "MODEL": "@MODEL@", "DATASET": "@DATASET@"},
)
trainer.train()
)~";
}

std::string_view skypilot_template() {
  return R"~(# @MODEL@ with SkyPilot: @WORDS@.
# It takes the cheapest spot machine with one of these GPUs, on each of which the run fits:
#   pip install 'skypilot[aws,gcp]' && sky check
#   sky jobs launch --env BUCKET=a-name-nobody-else-has job.yaml
name: @NAME@

resources:
  accelerators: {@ACCELERATORS@}
  use_spot: true
  disk_size: @DISK@

envs:
  BUCKET: null  # checkpoints live there and outlive the machine
  OUTPUT: /checkpoints/@NAME@
  MODEL: "@MODEL@"
  DATASET: "@DATASET@"

file_mounts:
  /checkpoints:
    name: ${BUCKET}
    mode: MOUNT

setup: |
  python3 -m venv ~/venv
  ~/venv/bin/pip install --quiet @TORCH@
  ~/venv/bin/pip install --quiet @PACKAGES@

run: |
  mkdir -p "$OUTPUT"
  cat > train.py <<'QWENPLAN'
  @TRAIN@
  QWENPLAN
  ~/venv/bin/python train.py
)~";
}

std::string_view slurm_template() {
  return R"~(#!/bin/bash
# @MODEL@ under Slurm: @WORDS@.
# sbatch this file; WORK, MODEL, DATASET and EPOCHS of the environment replace what is set here.
#SBATCH --job-name=@NAME@
#SBATCH --gres=@GRES@
#SBATCH --cpus-per-task=6
#SBATCH --mem=@RAM@G
#SBATCH --time=@SLURM_TIME@
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
#SBATCH --output=%x-%j.log
set -euo pipefail

WORK=${WORK:-$PWD/@NAME@}
export OUTPUT="$WORK/output"
mkdir -p "$OUTPUT"

if [ ! -x "$WORK/venv/bin/python" ]; then
  python3 -m venv "$WORK/venv"
  "$WORK/venv/bin/pip" install --quiet @TORCH@
  "$WORK/venv/bin/pip" install --quiet @PACKAGES@
fi

cat > "$WORK/train.py" <<'QWENPLAN'
@TRAIN@
QWENPLAN

# Five minutes before its time is over the job saves, stops, and is queued again.
stopped=
"$WORK/venv/bin/python" "$WORK/train.py" &
pid=$!
trap 'stopped=1; kill -USR1 "$pid" 2>/dev/null || true' USR1 TERM
status=0
while kill -0 "$pid" 2>/dev/null; do
  status=0
  wait "$pid" || status=$?
done
if [ -n "$stopped" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
)~";
}

std::string_view docker_template() {
  return R"~(#!/bin/bash
# @MODEL@ in Docker: @WORDS@.
# It needs Docker with the NVIDIA Container Toolkit. WORK, MODEL, DATASET and EPOCHS of the environment
# replace what is set here.
set -euo pipefail

WORK=${WORK:-$PWD/@NAME@}
mkdir -p "$WORK/output" "$HOME/.cache/huggingface"

cat > "$WORK/Dockerfile" <<'QWENPLAN'
FROM python:3.12-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir @TORCH@
RUN pip install --no-cache-dir @PACKAGES@
WORKDIR /work
COPY train.py .
ENTRYPOINT ["python", "train.py"]
QWENPLAN

cat > "$WORK/train.py" <<'QWENPLAN'
@TRAIN@
QWENPLAN

docker build --tag @NAME@ "$WORK"
docker run --rm --gpus all --ipc=host \
  --volume "$HOME/.cache/huggingface:/root/.cache/huggingface" \
  --volume "$WORK/output:/work/output" \
  --env HF_TOKEN --env MODEL="${MODEL:-@MODEL@}" --env DATASET="${DATASET:-@DATASET@}" \
  --env EPOCHS="${EPOCHS:-1}" \
  @NAME@
)~";
}

std::string filled(std::string_view text, const Places& places) {
  std::string out;
  while (!text.empty()) {
    const std::size_t begin = text.find('@');
    const std::size_t end = begin == std::string_view::npos ? begin : text.find('@', begin + 1);
    if (end == std::string_view::npos) break;
    const std::string_view key = text.substr(begin + 1, end - begin - 1);
    const std::string* value = nullptr;
    for (const auto& [name, filling] : places)
      if (name == key) value = &filling;
    if (!value) {  // an @ of the script's own
      out += text.substr(0, begin + 1);
      text.remove_prefix(begin + 1);
      continue;
    }
    out += text.substr(0, begin);
    const std::size_t line = out.rfind('\n') + 1;  // npos + 1 is 0
    const bool is_indented = out.find_first_not_of(' ', line) == std::string::npos;
    const std::string indent = is_indented ? out.substr(line) : "";
    for (const char c : *value) {
      if (c == '\n' && !out.empty() && out.back() == ' ' && is_indented)
        out.erase(out.find_last_not_of(' ') + 1);
      out += c;
      if (c == '\n') out += indent;
    }
    text.remove_prefix(end + 1);
  }
  return out + std::string(text);
}

}  // namespace qwenplan
