#!/usr/bin/env python3
"""Loads what `qwenplan recommend --for TRAINER` writes with the trainers' own classes.

    tools/check_configurations.py BINARY [TRAINER ...]

Each trainer's package has to be importable, in this environment or through PYTHONPATH; where it is
not, that is said and nothing is claimed. Prints one line a configuration: accepted, or refused with
the trainer's own words. Exits with 1 if any was refused.
"""
import ast
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

QUESTIONS = [
    ["--model", "qwen2.5-7b", "--gpu", "rtx4090", "--method", "qlora"],
    ["--model", "qwen2.5-7b", "--gpu", "a100", "--method", "lora"],
    ["--model", "qwen2.5-0.5b", "--gpu", "a100", "--method", "full"],
    ["--model", "llama3.1-8b", "--gpu", "a100"],
    ["--model", "qwen3.5-4b", "--gpu", "a100"],
    ["--model", "gemma2-2b", "--gpu", "a100"],
]


def trl(text, path):
    from trl import ModelConfig, ScriptArguments, SFTConfig, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig))
    parser.parse_args_and_config(["--config", str(path)], fail_with_unknown_args=True)


def llama_factory(text, path):
    import yaml
    from llamafactory.hparams import (DataArguments, FinetuningArguments, GeneratingArguments,
                                      ModelArguments)
    from transformers import HfArgumentParser, Seq2SeqTrainingArguments

    HfArgumentParser((ModelArguments, DataArguments, Seq2SeqTrainingArguments, FinetuningArguments,
                      GeneratingArguments)).parse_dict(yaml.safe_load(text))


def axolotl(text, path):
    import yaml
    from axolotl.utils.schemas.config import AxolotlInputConfig

    given = yaml.safe_load(text)
    unknown = set(given) - set(AxolotlInputConfig.model_fields) - {"liger_fused_linear_cross_entropy"}
    if unknown:  # pydantic drops them without a word
        raise ValueError(f"unknown keys: {sorted(unknown)}")
    AxolotlInputConfig(**given)


def torchtune(text, path):
    import yaml

    def walk(node):
        if isinstance(node, dict):
            if "_component_" in node:
                module, name = node["_component_"].rsplit(".", 1)
                if not hasattr(importlib.import_module(module), name):
                    raise ValueError(f"no component {node['_component_']}")
            for each in node.values():
                walk(each)
        elif isinstance(node, list):
            for each in node:
                walk(each)

    walk(yaml.safe_load(text))


def ms_swift(text, path):
    import yaml
    from dataclasses import fields
    from swift.arguments import SftArguments

    unknown = set(yaml.safe_load(text)) - {field.name for field in fields(SftArguments)}
    if unknown:
        raise ValueError(f"unknown keys: {sorted(unknown)}")


def transformers(text, path):
    ast.parse(text)


CHECKS = {"trl": trl, "llama-factory": llama_factory, "axolotl": axolotl, "torchtune": torchtune,
          "ms-swift": ms_swift, "transformers": transformers}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    binary, wanted = sys.argv[1], sys.argv[2:] or list(CHECKS)
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for trainer in wanted:
            for question in QUESTIONS:
                words = " ".join(question)
                run = subprocess.run([binary, "recommend", *question, "--for", trainer],
                                     capture_output=True, text=True)
                if run.returncode != 0:
                    print(f"{trainer}: {words}: nothing written (status {run.returncode})")
                    continue
                path = Path(folder) / "written.yaml"
                path.write_text(run.stdout)
                try:
                    CHECKS[trainer](run.stdout, path)
                    print(f"{trainer}: {words}: accepted")
                except ImportError as error:
                    print(f"{trainer}: not to be had here: {error}")
                    break
                except Exception as error:  # whatever the trainer raises is its answer
                    refused += 1
                    print(f"{trainer}: {words}: refused: {type(error).__name__}: {str(error)[:300]}")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
