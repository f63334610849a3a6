#!/usr/bin/env python3
"""Measures what a fine-tuning job holds in host memory, and compares it with `qwenplan ram`.

    python tools/measure_ram.py --out data/measurements/host/NAME.json --qwenplan build/qwenplan

Needs torch, transformers and datasets, no GPU and no network: it makes a model of random weights and a
tokenized dataset itself, in a temporary folder of about 3 GB. Every scenario is a process of its own; its
proportional size (PSS in /proc/PID/smaps_rollup, with all of its workers) is sampled every 20 ms. A page
that several programs share counts to each in part, so run it while no other program uses PyTorch.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time

SHAPES = {  # of Qwen2.5-0.5B, and of the same with fewer layers
    "qwen2.5-0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                         num_attention_heads=14, num_key_value_heads=2, vocab_size=151936,
                         tie_word_embeddings=True),
    "eight-layers": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=8,
                         num_attention_heads=14, num_key_value_heads=2, vocab_size=151936,
                         tie_word_embeddings=True),
}
ROWS, ROW_TOKENS = 20_000, 1024
BATCH, LENGTH, PREFETCH = 8, 1024, 2

# What `qwenplan ram` is asked beside the model, the phase to look at, and which of its terms and of its page
# cache a process without a GPU has.
SCENARIOS = {
    "load_mapped": (["--load-to", "cpu", "--weights", "bf16"], "load", ["python", "weights"], "checkpoint_bytes"),
    "load_cast": (["--load-to", "cpu", "--weights", "fp32"], "load", ["python", "weights"], "checkpoint_bytes"),
    "load_copied": (["--loading", "copied", "--weights", "bf16", "--load-to", "gpu"], "load",
                    ["python", "weights"], None),
    "offload_optimizer": (["--method", "full", "--offload", "optimizer"], "train", ["python", "offload"], None),
    "workers_0": (["--workers", "0"], "train", ["python", "workers", "prefetch"], "dataset_bytes"),
    "workers_2": (["--workers", "2"], "train", ["python", "workers", "prefetch"], "dataset_bytes"),
    "workers_4": (["--workers", "4"], "train", ["python", "workers", "prefetch"], "dataset_bytes"),
    "dataset_mapped": (["--dataset-in", "disk"], "train", ["python"], "dataset_bytes"),
    "dataset_arrow": (["--dataset-in", "memory"], "train", ["python", "dataset"], None),
    "dataset_lists": (["--dataset-in", "lists"], "train", ["python", "dataset"], "dataset_bytes"),
}


# ---------------------------------------------------------------------------------------------- child


def stage(name):
    """Tells the parent that a stage is over, and waits until it has measured."""
    print("stage", name, flush=True)
    sys.stdin.readline()


def libraries():
    import torch  # noqa: F401
    import datasets  # noqa: F401
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments  # noqa: F401

    stage("libraries")


def load(folder, **options):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(os.path.join(folder, "qwen2.5-0.5b"), **options)
    with torch.no_grad():  # a copy to a GPU reads every page
        total = sum(float(p.view(torch.uint8).view(-1)[::1024].sum()) for p in model.parameters())
    assert total >= 0
    stage("load")
    return model


def offload_optimizer(folder):
    """Parameters, gradients and Adam's two moments in fp32, as an offloaded optimizer has them."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = Qwen2ForCausalLM(Qwen2Config(**SHAPES["eight-layers"])).float()
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.001)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    optimizer.step()
    print("value parameters", sum(p.numel() for p in model.parameters()), flush=True)
    stage("step")


def dataset_of(folder, how):
    import datasets

    data = datasets.load_from_disk(os.path.join(folder, "data"), keep_in_memory=how == "memory")
    if how == "lists":
        return [{k: row[k] for k in ("input_ids", "attention_mask", "labels")} for row in data]
    return data


def collate(rows):
    import torch

    return {key: torch.tensor([row[key] for row in rows]) for key in ("input_ids", "attention_mask", "labels")}


def iterate(data, workers, batches):
    """Reads batches in random order; the pages of a mapped dataset become resident on the way."""
    from torch.utils.data import DataLoader

    loader = DataLoader(data, batch_size=BATCH, shuffle=True, collate_fn=collate, num_workers=workers,
                        prefetch_factor=PREFETCH if workers else None)
    iterator = iter(loader)
    for _ in range(batches):
        batch = next(iterator)
    time.sleep(0.5)  # until the workers have prefetched all that they may
    stage("iterate")
    del batch, iterator


def child(scenario, folder):
    os.environ["HF_HUB_OFFLINE"] = "1"
    libraries()
    if scenario == "load_mapped":
        load(folder, dtype="auto")
    elif scenario == "load_cast":
        import torch

        load(folder, dtype=torch.float32)
    elif scenario == "load_copied":
        load(folder, dtype="auto", disable_mmap=True)
    elif scenario == "offload_optimizer":
        offload_optimizer(folder)
    elif scenario.startswith("workers_"):
        iterate(dataset_of(folder, "disk"), int(scenario.split("_")[1]), ROWS // BATCH - 20)
    else:
        how = {"dataset_mapped": "disk", "dataset_arrow": "memory", "dataset_lists": "lists"}[scenario]
        data = dataset_of(folder, how)
        stage("dataset")
        iterate(data, 0, ROWS // BATCH if how == "disk" else 50)


# --------------------------------------------------------------------------------------------- parent


def processes_of(root):
    """Ids of a process and all that came from it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    found, grew = {root}, True
    while grew:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found


def size_of(root):
    total = {"pss": 0, "anon": 0, "file": 0, "shmem": 0}
    keys = {"Pss:": "pss", "Pss_Anon:": "anon", "Pss_File:": "file", "Pss_Shmem:": "shmem"}
    for process in processes_of(root):
        try:
            with open(f"/proc/{process}/smaps_rollup") as file:
                for line in file:
                    words = line.split()
                    if words[0] in keys:
                        total[keys[words[0]]] += int(words[1]) * 1024
        except OSError:
            continue
    return total


def measure(scenario, folder):
    process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--child", scenario, "--folder", folder],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    stages, peak, values, is_over = [], {"pss": 0}, {}, threading.Event()

    def sample():
        nonlocal peak
        while not is_over.wait(0.02):
            now = size_of(process.pid)
            if now["pss"] > peak["pss"]:
                peak = now

    sampler = threading.Thread(target=sample)
    sampler.start()
    for line in process.stdout:
        word, name, *rest = line.split()
        if word == "value":
            values[name] = int(rest[0])
        elif word == "stage":
            now = size_of(process.pid)
            stages.append({"stage": name, "end": now, "peak": max(peak, now, key=lambda s: s["pss"])})
            peak = {"pss": 0}
            process.stdin.write("go\n")
            process.stdin.flush()
    is_over.set()
    sampler.join()
    if process.wait() != 0:
        sys.exit(f"{scenario} failed")
    return {"scenario": scenario, **values, "stages": stages}


def make_inputs(folder):
    import datasets
    import numpy as np
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = Qwen2ForCausalLM(Qwen2Config(**SHAPES["qwen2.5-0.5b"])).to(torch.bfloat16)
    model.save_pretrained(os.path.join(folder, "qwen2.5-0.5b"))
    Qwen2Config(**SHAPES["eight-layers"], architectures=["Qwen2ForCausalLM"],
                dtype="bfloat16").save_pretrained(os.path.join(folder, "eight-layers"))
    rows = np.random.default_rng(1).integers(0, 151_000, (ROWS, ROW_TOKENS))

    def row(i):
        ids = rows[i["row"]].tolist()
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids, "length": len(ids)}

    data = datasets.Dataset.from_dict({"row": list(range(ROWS))})
    data = data.map(row, remove_columns=["row"], num_proc=1)
    data.save_to_disk(os.path.join(folder, "data"))
    weights = sum(os.path.getsize(os.path.join(folder, "qwen2.5-0.5b", f))
                  for f in os.listdir(os.path.join(folder, "qwen2.5-0.5b")) if f.endswith(".safetensors"))
    arrow = sum(os.path.getsize(os.path.join(folder, "data", f))
                for f in os.listdir(os.path.join(folder, "data")) if f.endswith(".arrow"))
    return {"model": "qwen2.5-0.5b", "parameters": sum(p.numel() for p in model.parameters()),
            "weight_bytes": weights, "tokens": ROWS * ROW_TOKENS, "arrow_bytes": arrow,
            "batch": BATCH, "length": LENGTH, "prefetch": PREFETCH}


def versions():
    from importlib.metadata import version

    found = {name: version(name) for name in ("torch", "transformers", "datasets", "safetensors", "peft",
                                              "accelerate", "bitsandbytes")}
    return {"python": platform.python_version(), "kernel": platform.release(), **found}


def estimate(program, folder, inputs, scenario):
    options, phase, terms, cache = SCENARIOS[scenario]
    model = "eight-layers" if scenario.startswith("offload") else inputs["model"]
    command = [program, "ram", "--json", "--model", os.path.join(folder, model), "--batch", str(BATCH),
               "--seq-len", str(LENGTH), "--tokens", str(inputs["tokens"]), *options]
    if "--method" not in options:
        command += ["--method", "lora"]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = next(p for p in answer["phases"] if p["phase"] == phase)
    total = sum(t["bytes"]["likely"] for t in found["terms"] if t["term"] in terms)
    return total + (answer["page_cache"][cache] if cache else 0)


def write(path, inputs, runs):
    measurement = {"schema": "qwenplan.host-measurement/1", "measured": time.strftime("%Y-%m-%d"),
                   "how": "tools/measure_ram.py: proportional size of the process and its workers, bytes",
                   "versions": versions(), "logical_cpus": os.cpu_count(), "inputs": inputs, "runs": runs}
    with open(path, "w") as file:
        json.dump(measurement, file, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="where to write the measurement")
    parser.add_argument("--qwenplan", help="the program to compare with")
    parser.add_argument("--only", action="append", help="a scenario; may be repeated")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.folder)
        return

    folder = arguments.folder or tempfile.mkdtemp(prefix="measure-ram-")
    try:
        made = subprocess.run([sys.executable, "-c",
                               "import sys, json; sys.path.insert(0, sys.argv[1]); import measure_ram; "
                               "print(json.dumps(measure_ram.make_inputs(sys.argv[2])))",
                               os.path.dirname(os.path.abspath(__file__)), folder],
                              check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        inputs = json.loads(made.stdout.strip().splitlines()[-1])
        runs = []
        for scenario in SCENARIOS:
            if arguments.only and scenario not in arguments.only:
                continue
            run = measure(scenario, folder)
            runs.append(run)
            peak = max(s["peak"]["pss"] for s in run["stages"])
            line = f"{scenario:18} {peak / 2**20:9.1f} MiB"
            if arguments.qwenplan:
                expected = estimate(arguments.qwenplan, folder, inputs, scenario)
                line += f"   estimated {expected / 2**20:9.1f} MiB   {100 * (expected / peak - 1):+.1f} %"
            print(line, flush=True)
            if arguments.out:  # after each one: the whole takes a quarter of an hour
                write(arguments.out, inputs, runs)
    finally:
        if not arguments.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
