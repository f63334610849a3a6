#pragma once

#include <algorithm>
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
#include "qwenplan/describe/trainer_stack.hpp"

namespace qwenplan {

namespace trainer_defaults {

/// Sets what nobody gave.
template <class T, class V>
void otherwise(RunDraft::Maybe<T>& setting, V&& value) {
  if (!setting) setting = Given<T>{T(std::forward<V>(value)), From::trainer};
}

/// What a trainer needs to know for its defaults.
struct Situation {
  Version version;
  Stack stack;  ///< that the version ran with
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
inline bool is_4bit(const RunDraft& d) {
  return d.quantization && (d.quantization->value == Quantization::nf4 ||
                            d.quantization->value == Quantization::fp4);
}
inline bool is_mixed(const RunDraft& d) {
  return d.precision && (d.precision->value == Precision::bf16_mixed ||
                         d.precision->value == Precision::fp16_mixed);
}
/// Everything in one 16-bit format, which then decides the format of the weights.
inline bool is_pure(const RunDraft& d) {
  return d.precision && (d.precision->value == Precision::bf16_true ||
                         d.precision->value == Precision::fp16_true);
}
/// Whether a trainer of preferences compares sequences.
inline bool compares(const RunDraft& d) {
  return d.objective && d.objective->value != Objective::sft && d.objective->value != Objective::pretrain;
}
/// Whether there is a reference, which trainers of TRL know: they make the adapters themselves.
inline bool has_reference(const RunDraft& d) {
  return d.objective && (d.objective->value == Objective::dpo || d.objective->value == Objective::ipo ||
                         d.objective->value == Objective::kto);
}
inline bool is_reward(const RunDraft& d) { return d.objective && d.objective->value == Objective::reward; }
/// The collators of TRL and ms-swift bring a mask, and answers have different lengths.
inline void padded_answers(RunDraft& d) {
  const bool takes_mask = !d.attention || d.attention->value != "flash";
  if (compares(d) && takes_mask) otherwise(d.is_padded, true);
}

/// Adapters of these trainers are PEFT's: its rank, scale and layers where nobody says otherwise.
inline void peft_adapters(RunDraft& d, std::int64_t rank, double alpha, double dropout,
                          const char* targets) {
  if (!has_adapters(d)) return;
  otherwise(d.lora_rank, rank);
  otherwise(d.lora_alpha, alpha);
  otherwise(d.lora_dropout, dropout);
  otherwise(d.lora_targets, std::vector<std::string>{targets});
}

inline bool is_cut(const RunDraft& d) {
  return d.loss && d.loss->value == Loss::fused && d.fused_loss &&
         d.fused_loss->value == FusedLoss::cut_cross_entropy;
}

/// transformers' TrainingArguments: no checkpointing and no mixed precision unless asked for. Since
/// version 5 the weights stay as the checkpoint has them; before, they came in fp32, and in fp16
/// below quantized layers (quantizers/quantizer_bnb_4bit.py). Adapters are as PEFT's LoraConfig has
/// them (tuners/lora/config.py, utils/constants.py). Adam is fused or not as the stack has it,
/// which `decided` knows.
inline void transformers(RunDraft& d, const Situation& s) {
  otherwise(d.micro_batch, 8);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, false);
  otherwise(d.precision, Precision::fp32);
  if (!is_pure(d))
    otherwise(d.weights, s.stack.transformers >= Version{5, 0, 0} ? s.model.stored
                         : is_quantized(d)                        ? DType::fp16
                                                                  : DType::fp32);
  peft_adapters(d, 8, 8.0, 0.0, "qv");
}

/// PEFT in transformers' Trainer. prepare_model_for_kbit_training, which it asks for on a quantized
/// base, turns checkpointing on (utils/other.py).
inline void peft(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::lora);
  if (is_quantized(d)) otherwise(d.checkpoints, true);
  transformers(d, s);
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
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 8);
    otherwise(d.lora_alpha, 2.0 * static_cast<double>(d.lora_rank->value));
    otherwise(d.lora_dropout, 0.0);
    otherwise(d.lora_targets, std::vector<std::string>{"all-linear"});
    // With pure_bf16 they are as PEFT leaves them, which depends on its version.
    if (!is_pure(d)) otherwise(d.adapter, DType::fp32);
    if (!is_pure(d)) otherwise(d.weights, s.model.stored);  // torch_dtype="auto"
    // Its own preparation casts norms only if asked, and no embeddings.
    otherwise(d.upcasts_for_kbit, false);
  } else if (!is_pure(d) && d.method->value == Method::full) {
    otherwise(d.weights, DType::fp32);
  }
  if (is_quantized(d)) otherwise(d.double_quantizes, is_4bit(d));
  // compute_dtype is the checkpoint's where neither bf16 nor fp16 is on (patcher.py).
  if (is_4bit(d) && !is_mixed(d) && !is_pure(d))
    otherwise(d.quant_compute, s.has_bf16() && s.model.stored == DType::bf16 ? DType::bf16
                                                                            : DType::fp16);
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
  const bool has_flash = d.attention && (d.attention->value == "fa2" || d.attention->value == "flash");
  if (s.model.experts && !d.fsdp) otherwise(d.router_weights, DType::fp32);  // _convert_embedding_modules_dtype
  if (has_adapters(d)) {
    otherwise(d.lora_dropout, 0.0);
    // prepare_model_for_kbit_training casts to fp32, and the loader casts norms, embeddings and
    // head back. What else is not quantized stays: experts, convolutions and decays of linear attention.
    const bool keeps_rest = is_quantized(d) && (s.model.linear_attention || s.model.experts);
    otherwise(d.upcasts_for_kbit, keeps_rest);
    if (keeps_rest) {
      otherwise(d.norm_weights, d.weights->value);
      otherwise(d.embedding_weights, d.weights->value);
    }
    if (is_quantized(d) && (has_reference(d) || is_reward(d))) otherwise(d.adapter, DType::bf16);
    // check_auto_enable_lora_kernels, unless one of them is given, the base is in 8 bits, or the
    // training is not supervised; with dropout since it is known there.
    const bool is_supervised = !compares(d) || is_reward(d);  // what is no `rl` of its files
    const bool is_8bit = d.quantization && d.quantization->value == Quantization::int8;
    const bool can_fuse = s.version >= Version{0, 18, 0} ||
                          (s.version >= Version{0, 9, 0} && d.lora_dropout->value == 0.0);
    if (!d.lora_mlp_kernel && !d.lora_qkv_kernel && !d.lora_o_kernel && is_supervised && !is_8bit && can_fuse)
      for (auto* const kernel : {&d.lora_mlp_kernel, &d.lora_qkv_kernel, &d.lora_o_kernel})
        otherwise(*kernel, true);
  } else if (!has_flash && !is_cut(d) && !d.fsdp) {
    // Nothing casts back what the loader puts into fp32 (_configure_embedding_dtypes).
    otherwise(d.norm_weights, DType::fp32);
    otherwise(d.embedding_weights, DType::fp32);
  }
  if (d.loss && d.loss->value == Loss::chunked) {
    otherwise(d.chunked_loss, ChunkedLoss::axolotl);
    otherwise(d.loss_chunks, 8);
  }
  padded_answers(d);
  if (is_quantized(d)) otherwise(d.double_quantizes, is_4bit(d));
  // utils/config: reentrant for supervised training, not for preferences.
  if (d.checkpoints->value)
    otherwise(d.checkpoints_reentrant, !compares(d) || is_reward(d));
  if (d.packs && d.packs->value) {
    // Kernels that know borders get one row. sdpa is replaced by one that does, where it can be;
    // what is not named sees all samples of a row (Config.attn_supports_packing, sdpa_varlen.py).
    const std::string attention = d.attention ? d.attention->value : "";
    const bool can_be_varlen = s.model.head_dim <= 256 && s.model.sliding_window == 0;
    if (attention == "fa2" || attention == "flash")
      otherwise(d.is_padding_free, true);
    else if (attention == "sdpa" && can_be_varlen)
      otherwise(d.borders, Borders::varlen);
    else if (attention == "sdpa" || attention == "eager")
      otherwise(d.borders, Borders::positions);
  }
}

/// TRL from its command line (trainer/{base,sft,dpo,model}_config.py, trainer/sft_trainer.py).
inline void trl(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::full);
  if (!d.is_unbounded || !d.is_unbounded->value) otherwise(d.length, 1024);
  otherwise(d.micro_batch, 8);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, s.version >= Version{0, 22, 0});
  if (d.checkpoints->value) otherwise(d.checkpoints_reentrant, s.version < Version{0, 27, 0});
  if (d.keeps_stored_dtype && d.keeps_stored_dtype->value && !d.weights) {
    d.weights = Given<DType>{s.model.stored, d.keeps_stored_dtype->from, d.keeps_stored_dtype->place};
    if (d.autocasts && !d.autocasts->value)
      d.precision = Given<Precision>{without_autocast(s.model.stored), d.autocasts->from, d.autocasts->place};
  }
  otherwise(d.precision, s.version < Version{0, 19, 0} ? Precision::fp32
                         : s.has_bf16()                ? Precision::bf16_mixed
                                                       : Precision::fp16_mixed);
  const bool is_half_base = is_quantized(d) && s.version < Version{0, 27, 0};
  if (!is_pure(d)) otherwise(d.weights, is_half_base ? DType::fp16 : DType::fp32);
  const bool is_sft = !d.objective || d.objective->value == Objective::sft;
  if (s.version >= Version{1, 15, 0} && (is_sft || has_reference(d)) && (!d.loss || d.loss->from == From::file)) {
    // Whatever loss_type says, and without Liger's (trainer/{sft,dpo,kto}_trainer.py).
    d.loss = Given<Loss>{Loss::fused, From::trainer};
    d.fused_loss = Given<FusedLoss>{FusedLoss::trl, From::trainer};
  }
  if (s.version >= Version{1, 7, 0} && !d.loss && is_sft) otherwise(d.loss, Loss::chunked);
  if (d.loss && d.loss->value == Loss::chunked) {
    otherwise(d.chunked_loss, ChunkedLoss::trl);
    otherwise(d.loss_chunk_tokens, 256);
  } else if (s.version >= Version{0, 16, 0} && s.version < Version{1, 15, 0} && is_sft) {
    // What it logs beside the loss; up to 1.5 from a copy of the shifted logits.
    otherwise(d.metrics,
              s.version < Version{1, 6, 0} ? LogitMetrics::accuracy : LogitMetrics::entropy);
  }
  padded_answers(d);
  peft_adapters(d, 16, 32.0, 0.05, "qv");
  if (is_quantized(d)) {
    otherwise(d.double_quantizes, false);
    // The 4-bit layers compute in the format of --dtype, which is float32 unless given.
    if (is_4bit(d) && !is_pure(d)) otherwise(d.quant_compute, is_half_base ? DType::fp32 : d.weights->value);
    // ORPO and CPO, experimental by then, still prepare the base.
    if (s.version >= Version{0, 26, 0} && (!compares(d) || has_reference(d) || is_reward(d))) {
      // No preparation by PEFT any more, and adapters in bf16.
      otherwise(d.upcasts_for_kbit, false);
      otherwise(d.adapter, DType::bf16);
    } else {
      otherwise(d.upcasts_for_kbit, true);
      // peft_module_casting_to_bf16: embeddings and head go back, norms stay.
      if (is_4bit(d) && d.precision->value == Precision::bf16_mixed)
        otherwise(d.embedding_weights, DType::bf16);
    }
  } else if (has_adapters(d)) {
    otherwise(d.adapter, DType::fp32);
  }
}

/// torchtune's recipes: everything in one format, no limit of a sample's length.
inline void torchtune(RunDraft& d, const Situation& s) {
  otherwise(d.code, ModelCode::torchtune);
  if (s.model.architecture == Architecture::gemma2) otherwise(d.attention, "eager");
  if (!d.length) otherwise(d.is_unbounded, true);
  otherwise(d.micro_batch, 2);
  otherwise(d.accumulation, 1);
  otherwise(d.checkpoints, false);
  if (d.checkpoints->value) otherwise(d.checkpoints_reentrant, false);
  otherwise(d.precision, Precision::bf16_true);
  otherwise(d.loss, compares(d) ? Loss::standard : Loss::chunked);
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

/// The accumulation steps by which ms-swift comes to sixteen samples over all processes.
inline std::int64_t swift_accumulation(std::int64_t micro_batch, std::int64_t processes) {
  const std::int64_t at_once = std::clamp<std::int64_t>(micro_batch, 1, kMostBatch) * std::clamp<std::int64_t>(processes, 1, kMostBatch);
  return (15 + at_once) / at_once;
}

/// ms-swift: the model's own context, and a batch of sixteen by accumulation.
inline void ms_swift(RunDraft& d, const Situation& s) {
  otherwise(d.method, Method::lora);
  if (s.model.max_positions > 0) otherwise(d.length, s.model.max_positions);
  otherwise(d.micro_batch, 1);
  const std::int64_t gpus = d.gpus && d.gpus->value >= 1 ? std::min(d.gpus->value, kMostBatch) : 1;
  otherwise(d.accumulation, swift_accumulation(d.micro_batch->value, gpus));
  otherwise(d.checkpoints, true);
  // trainers/mixin.py: reentrant but for plain data parallelism.
  const bool shards = d.zero || d.fsdp;
  if (d.checkpoints->value) otherwise(d.checkpoints_reentrant, gpus == 1 || shards);
  // _init_mixed_precision: of the two switches that of the stored format counts, and is on where it is not given.
  const auto& switched = s.model.stored == DType::bf16 ? d.takes_bf16 : d.takes_fp16;
  if (switched && !switched->value && !d.precision)
    d.precision = d.launched_precision.value_or(
        Given<Precision>{without_autocast(s.model.stored), switched->from, switched->place});
  otherwise(d.precision,
            s.model.stored == DType::bf16 ? Precision::bf16_mixed : Precision::fp16_mixed);
  if (!is_pure(d)) otherwise(d.weights, s.model.stored);
  padded_answers(d);
  if (has_adapters(d)) {
    otherwise(d.lora_rank, 8);
    otherwise(d.lora_alpha, 32.0);
    otherwise(d.lora_dropout, 0.05);
    otherwise(d.lora_targets, std::vector<std::string>{"all-linear"});
    otherwise(d.adapter, DType::fp32);
    // No preparation by PEFT (pipelines/train/tuner.py).
    otherwise(d.upcasts_for_kbit, false);
  }
  if (is_quantized(d)) otherwise(d.double_quantizes, is_4bit(d));
}

/// Unsloth's patched defaults.
inline void unsloth(RunDraft& d, const Situation& s) {
  otherwise(d.code, ModelCode::unsloth);
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
  if (!is_pure(d)) otherwise(d.weights, s.has_bf16() ? s.model.stored : DType::fp16);
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
    // Its own preparation leaves the base as it is (unsloth_zoo/training_utils.py).
    otherwise(d.upcasts_for_kbit, false);
  }
  if (is_quantized(d)) otherwise(d.double_quantizes, is_4bit(d));
}

/// litgpt's finetune recipes: as long as the longest sample, a global batch of sixteen.
inline void litgpt(RunDraft& d, const Situation&) {
  otherwise(d.code, ModelCode::litgpt);
  if (!d.length) otherwise(d.is_unbounded, true);
  otherwise(d.method, Method::lora);
  otherwise(d.micro_batch, 1);
  const std::int64_t gpus = d.gpus && d.gpus->value >= 1 ? std::min(d.gpus->value, kMostBatch) : 1;
  if (d.micro_batch->value >= 1 && d.micro_batch->value <= kMostBatch)
    otherwise(d.accumulation, std::max<std::int64_t>(1, 16 / gpus / d.micro_batch->value));
  otherwise(d.checkpoints, gpus > 1);
  // It refuses mixed precision with a quantized base.
  otherwise(d.precision, is_quantized(d) ? Precision::bf16_true : Precision::bf16_mixed);
  otherwise(d.loss, Loss::chunked);
  if (d.loss->value == Loss::chunked) {
    otherwise(d.chunked_loss, ChunkedLoss::litgpt);
    otherwise(d.loss_chunk_tokens, 128);
  }
  otherwise(d.keeps_outputs, true);
  otherwise(d.optimizer, is_quantized(d) ? "paged-adamw" : "adamw-foreach");
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

/// Sets what is absent as the trainer would have it, marked From::trainer. What the trainer leaves to
/// transformers and PEFT stays absent; `decided` decides that from the stack.
inline void fill_defaults(const TrainerRelease& release, const Model& model, const Gpu* gpu,
                          RunDraft& d) {
  const trainer_defaults::Situation situation{release.version, stack_of(release), model, gpu};
  // A quantized base needs adapters, and is nf4 everywhere unless named.
  if (trainer_defaults::is_quantized(d)) trainer_defaults::otherwise(d.method, Method::qlora);
  if (d.method && d.method->value == Method::qlora)
    trainer_defaults::otherwise(d.quantization, Quantization::nf4);
  switch (release.trainer) {
    case Trainer::transformers:
      return trainer_defaults::transformers(d, situation);
    case Trainer::peft:
      return trainer_defaults::peft(d, situation);
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
