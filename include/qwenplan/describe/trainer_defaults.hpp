#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/describe/trainer.hpp"

namespace qwenplan {

/// The version of a trainer whose defaults are taken where nobody names one.
constexpr std::string_view latest_version(Trainer trainer) {
  constexpr std::string_view versions[] = {"5.23.0", "0.21.2", "1.10.0",    "0.9.6",  "0.18.0",
                                           "0.7.0",  "4.6.0",  "2026.8.19", "0.5.13", "0.19.6",
                                           "1.15.0", "0.2.0",  "0.8.0",     "0.11.0"};
  return versions[static_cast<int>(trainer)];
}

/// "0.9.4", "v0.9.4.dev0", "1.10": what is no number counts as the end. Empty: all zero.
constexpr Version version_of(std::string_view text) {
  int parts[3] = {0, 0, 0};
  if (text.starts_with('v')) text.remove_prefix(1);
  for (int& part : parts) {
    std::size_t digits = 0;
    for (; digits < text.size() && digits < 6 && text[digits] >= '0' && text[digits] <= '9';
         ++digits)
      part = part * 10 + (text[digits] - '0');
    if (digits == 0 || digits == text.size() || text[digits] != '.') break;
    text.remove_prefix(digits + 1);
  }
  return {parts[0], parts[1], parts[2]};
}

namespace trainer_defaults {

/// Sets what nobody gave.
template <class T, class V>
void otherwise(RunDraft::Maybe<T>& setting, V&& value) {
  if (!setting) setting = Given<T>{T(std::forward<V>(value)), From::trainer};
}

/// What a trainer needs to know for its defaults.
struct Situation {
  Version version;
  const Model& model;
  const Gpu* gpu;  ///< nullptr: an A100
  bool has_bf16() const { return !gpu || gpu->has_bf16; }
};

inline bool has_adapters(const RunDraft& d) {
  return d.method && (d.method->value == Method::lora || d.method->value == Method::qlora);
}
inline bool is_quantized(const RunDraft& d) {
  return d.quantization && d.quantization->value != Quantization::none;
}
inline bool is_mixed(const RunDraft& d) {
  return d.precision && (d.precision->value == Precision::bf16_mixed ||
                         d.precision->value == Precision::fp16_mixed);
}

inline bool is_cut(const RunDraft& d) {
  return d.loss && d.loss->value == Loss::fused && d.fused_loss &&
         d.fused_loss->value == FusedLoss::cut_cross_entropy;
}

/// transformers' TrainingArguments: no checkpointing and no mixed precision unless asked for. Adam
/// is fused or not as the stack has it, which `validated` knows.
inline void transformers(RunDraft& d, const Situation&) {
  otherwise(d.micro_batch, 8);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, false);
  otherwise(d.precision, Precision::fp32);
}

/// LLaMA-Factory (hparams/*_args.py, model/{adapter,loader,patcher}.py). Checkpointing has a switch
/// of its own and is on, reentrant; trained parameters are cast to fp32 unless `pure_bf16`.
inline void llama_factory(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::lora);
  otherwise(d.length, s.version < Version{0, 9, 1} ? 1024 : 2048);
  otherwise(d.micro_batch, 8);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, true);
  if (d.checkpoints->value) otherwise(d.checkpoints_reentrant, true);
  otherwise(d.precision, Precision::fp32);
  const bool is_pure = d.precision->value == Precision::bf16_true;
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 8);
    otherwise(d.lora_alpha, 2.0 * static_cast<double>(d.lora_rank->value));
    otherwise(d.lora_dropout, s.version < Version{0, 5, 0} ? 0.1 : 0.0);
    otherwise(d.lora_targets, std::vector<std::string>{"all-linear"});
    otherwise(d.adapter, is_pure ? DType::bf16 : DType::fp32);
    if (!is_mixed(d) && !is_pure) otherwise(d.weights, s.model.stored);  // torch_dtype="auto"
    // Its own preparation casts norms only if asked, and no embeddings.
    otherwise(d.upcasts_for_kbit, false);
  } else if (!is_pure) {
    otherwise(d.weights, DType::fp32);
  }
  if (is_quantized(d)) otherwise(d.double_quantizes, true);
}

/// axolotl (utils/schemas/*.py, loaders/{model,adapter}.py). Weights are loaded in bf16 and stay
/// so.
inline void axolotl(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::full);
  otherwise(d.length, s.version < Version{0, 5, 0} ? 1024 : 512);
  otherwise(d.micro_batch, 1);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, false);
  otherwise(d.precision, s.has_bf16() ? Precision::bf16_mixed : Precision::fp16_mixed);
  otherwise(d.optimizer, "adamw-fused");
  otherwise(d.weights, d.precision->value == Precision::fp16_mixed ||
                               d.precision->value == Precision::fp16_true
                           ? DType::fp16
                       : d.precision->value == Precision::fp32 ? DType::fp32
                                                               : DType::bf16);
  if (has_adapters(d)) {
    otherwise(d.lora_dropout, 0.0);
  } else if ((!d.attention || (d.attention->value != "fa2" && d.attention->value != "flash")) &&
             !is_cut(d)) {
    // Without flash attention or cut cross-entropy nothing casts what the loader keeps in fp32 back.
    otherwise(d.norm_weights, DType::fp32);
    otherwise(d.embedding_weights, DType::fp32);
  }
  if (d.loss && d.loss->value == Loss::chunked) {
    otherwise(d.chunked_loss, ChunkedLoss::axolotl);
    otherwise(d.loss_chunks, 8);
  }
  if (is_quantized(d)) {
    otherwise(d.double_quantizes, true);
    // After PEFT's preparation norms and embeddings go back to the loader's format.
    otherwise(d.norm_weights, d.weights->value);
    otherwise(d.embedding_weights, d.weights->value);
  }
}

/// TRL's SFT from the command line (trainer/{base,sft,model}_config.py).
inline void trl(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::full);
  otherwise(d.length, 1024);
  otherwise(d.micro_batch, 8);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, s.version >= Version{0, 22, 0});
  if (d.checkpoints->value) otherwise(d.checkpoints_reentrant, s.version < Version{0, 27, 0});
  otherwise(d.precision, s.version >= Version{0, 19, 0} ? Precision::bf16_mixed : Precision::fp32);
  otherwise(d.weights, DType::fp32);
  if (s.version >= Version{1, 7, 0} && !d.loss) otherwise(d.loss, Loss::chunked);
  if (d.loss && d.loss->value == Loss::chunked) {
    otherwise(d.chunked_loss, ChunkedLoss::trl);
    otherwise(d.loss_chunk_tokens, 256);
  } else if (s.version >= Version{0, 16, 0}) {
    // What it logs beside the loss; up to 1.5 from a copy of the shifted logits.
    otherwise(d.metrics,
              s.version < Version{1, 6, 0} ? LogitMetrics::accuracy : LogitMetrics::entropy);
  }
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 16);
    otherwise(d.lora_alpha, 32.0);
    otherwise(d.lora_dropout, 0.05);
    otherwise(d.lora_targets, std::vector<std::string>{"qv"});
    otherwise(d.adapter, is_quantized(d) ? DType::bf16 : DType::fp32);
  }
  if (is_quantized(d)) {
    otherwise(d.double_quantizes, false);
    otherwise(d.upcasts_for_kbit, s.version < Version{0, 26, 0});
    otherwise(d.quant_compute, d.weights->value);
  }
}

/// torchtune's recipes: everything in one format, no limit of a sample's length.
inline void torchtune(RunDraft& d, const Situation&) {
  if (!d.length) otherwise(d.is_unbounded, true);
  otherwise(d.micro_batch, 2);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, false);
  if (d.checkpoints->value) otherwise(d.checkpoints_reentrant, false);
  otherwise(d.precision, Precision::bf16_true);
  otherwise(d.loss, Loss::chunked);
  if (d.loss->value == Loss::chunked) {
    otherwise(d.chunked_loss, ChunkedLoss::torchtune);
    otherwise(d.loss_chunks, 8);
  }
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 8);
    otherwise(d.lora_alpha, 16.0);
    otherwise(d.lora_dropout, 0.0);
    otherwise(d.lora_targets, std::vector<std::string>{"attention"});
    otherwise(d.adapter, d.precision->value == Precision::fp32 ? DType::fp32 : DType::bf16);
    otherwise(d.upcasts_for_kbit, false);
  }
  if (is_quantized(d)) otherwise(d.double_quantizes, true);
}

/// ms-swift: the model's own context, and a batch of sixteen by accumulation.
inline void ms_swift(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::lora);
  if (s.model.max_positions > 0) otherwise(d.length, s.model.max_positions);
  otherwise(d.micro_batch, 1);
  if (d.micro_batch->value >= 1)
    otherwise(d.accumulation, (15 + d.micro_batch->value) / d.micro_batch->value);
  otherwise(d.checkpoints, true);
  if (d.checkpoints->value) otherwise(d.checkpoints_reentrant, true);
  otherwise(d.precision,
            s.model.stored == DType::bf16 ? Precision::bf16_mixed : Precision::fp16_mixed);
  otherwise(d.weights, s.model.stored);
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 8);
    otherwise(d.lora_alpha, 32.0);
    otherwise(d.lora_dropout, 0.05);
    otherwise(d.lora_targets, std::vector<std::string>{"all-linear"});
    otherwise(d.adapter, DType::fp32);
  }
  if (is_quantized(d)) otherwise(d.double_quantizes, true);
}

/// Unsloth's patched defaults.
inline void unsloth(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::qlora);
  otherwise(d.length, 2048);
  otherwise(d.micro_batch, 4);
  otherwise(d.accumulation, 2);
  otherwise(d.checkpoints, true);
  if (d.checkpoints->value) {
    otherwise(d.checkpoints_reentrant, true);
    otherwise(d.offloads_checkpoints, true);
  }
  otherwise(d.precision, s.has_bf16() ? Precision::bf16_mixed : Precision::fp16_mixed);
  otherwise(d.weights, s.model.stored);
  otherwise(d.optimizer, "adamw-8bit");
  otherwise(d.loss, Loss::fused);
  if (d.loss->value == Loss::fused) otherwise(d.fused_loss, FusedLoss::unsloth);
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 16);
    otherwise(d.lora_alpha, 16.0);
    otherwise(d.lora_dropout, 0.0);
    otherwise(d.lora_targets, std::vector<std::string>{"all-linear"});
    otherwise(d.adapter, DType::fp32);
    otherwise(d.lora_mlp_kernel, true);
    otherwise(d.lora_qkv_kernel, true);
    otherwise(d.lora_o_kernel, true);
  }
  if (is_quantized(d)) otherwise(d.double_quantizes, true);
}

/// litgpt's finetune recipes: as long as the longest sample, a global batch of sixteen.
inline void litgpt(RunDraft& d, const Situation&) {
  if (!d.length) otherwise(d.is_unbounded, true);
  otherwise(d.method, Method::lora);
  otherwise(d.micro_batch, 1);
  if (d.micro_batch->value >= 1) otherwise(d.accumulation, 16 / d.micro_batch->value);
  otherwise(d.checkpoints, d.gpus && d.gpus->value > 1);
  otherwise(d.precision, Precision::bf16_mixed);
  otherwise(d.loss, Loss::chunked);
  if (d.loss->value == Loss::chunked) {
    otherwise(d.chunked_loss, ChunkedLoss::litgpt);
    otherwise(d.loss_chunk_tokens, 128);
  }
  otherwise(d.keeps_outputs, true);
  const bool is_true = d.precision->value == Precision::bf16_true;
  otherwise(d.weights, is_true ? DType::bf16 : DType::fp32);
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 8);
    otherwise(d.lora_alpha, 16.0);
    otherwise(d.lora_dropout, 0.05);
    otherwise(d.lora_targets, std::vector<std::string>{"qv"});
    otherwise(d.adapter, is_true ? DType::bf16 : DType::fp32);
    otherwise(d.upcasts_for_kbit, false);
  }
}

}  // namespace trainer_defaults

/// Sets what is absent as the trainer would have it, marked From::trainer. `version` is the
/// trainer's, empty for the latest. What the trainer leaves to transformers and PEFT stays absent;
/// `validated` decides that from the stack.
inline void fill_defaults(Trainer trainer, std::string_view version, const Model& model,
                          const Gpu* gpu, RunDraft& d) {
  const trainer_defaults::Situation situation{
      version_of(version.empty() ? latest_version(trainer) : version), model, gpu};
  switch (trainer) {
    case Trainer::transformers:
    case Trainer::peft:
      return trainer_defaults::transformers(d, situation);
    case Trainer::trl:
      return trainer_defaults::trl(d, situation);
    case Trainer::llama_factory:
      return trainer_defaults::llama_factory(d, situation);
    case Trainer::axolotl:
      return trainer_defaults::axolotl(d, situation);
    case Trainer::torchtune:
      return trainer_defaults::torchtune(d, situation);
    case Trainer::ms_swift:
      return trainer_defaults::ms_swift(d, situation);
    case Trainer::unsloth:
      return trainer_defaults::unsloth(d, situation);
    case Trainer::litgpt:
      return trainer_defaults::litgpt(d, situation);
    case Trainer::deepspeed:
    case Trainer::accelerate:
    case Trainer::xtuner:
    case Trainer::verl:
    case Trainer::openrlhf:
      return;
  }
}

}  // namespace qwenplan
