#include "render/trainer/change.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <optional>
#include <sstream>
#include <vector>

namespace qwenplan {
namespace {

/// The trainers whose keys are known, in the order of the columns.
constexpr Trainer kColumns[] = {Trainer::llama_factory, Trainer::axolotl, Trainer::trl, Trainer::transformers,
                                 Trainer::ms_swift,      Trainer::torchtune, Trainer::litgpt, Trainer::unsloth};

/// A flag, with its value or for any value ("N"), and the line of each trainer's file; empty where it has none.
struct Row {
  std::string_view flag;
  std::array<std::string_view, std::size(kColumns)> lines;
};

constexpr std::string_view kLiger = "use_liger_kernel: true";
constexpr std::string_view kAccumulation = "gradient_accumulation_steps: N";
constexpr std::string_view kBatch = "per_device_train_batch_size: N";
constexpr std::string_view kCheckpointing = "gradient_checkpointing: true";

constexpr Row kRows[] = {
    {"--seq-len N",
     {"cutoff_len: N", "sequence_len: N", "max_length: N", "", "max_length: N", "tokenizer.max_seq_len: N",
      "train.max_seq_length: N", "max_seq_length: N"}},
    {"--batch N",
     {kBatch, "micro_batch_size: N", kBatch, kBatch, kBatch, "batch_size: N", "train.micro_batch_size: N", "batch_size: N"}},
    // litgpt divides its global batch by the micro-batch.
    {"--grad-accum N",
     {kAccumulation, kAccumulation, kAccumulation, kAccumulation, kAccumulation, kAccumulation, "", kAccumulation}},
    {"--checkpointing",
     {"disable_gradient_checkpointing: false", kCheckpointing, kCheckpointing, kCheckpointing, kCheckpointing,
      "enable_activation_checkpointing: true", "", ""}},
    {"--offload-checkpoints", {"use_unsloth_gc: true", "", "", "", "", "", "", ""}},
    {"--offload-activations", {"", "", "activation_offloading: true", "", "", "", "", ""}},
    {"--optimizer-in-backward", {"", "", "", "", "", "optimizer_in_bwd: true", "", ""}},
    {"--loss fused",
     {"enable_liger_kernel: true", "liger_fused_linear_cross_entropy: true, with axolotl.integrations.liger.LigerPlugin",
      kLiger, kLiger, kLiger, "loss._component_: torchtune.modules.loss.LinearCrossEntropyLoss", "", ""}},
    {"--attention sdpa",
     {"flash_attn: sdpa", "attn_implementation: sdpa", "attn_implementation: sdpa", "", "attn_impl: sdpa", "", "", ""}},
    {"--attention fa2",
     {"flash_attn: fa2", "attn_implementation: flash_attention_2", "attn_implementation: flash_attention_2", "",
      "attn_impl: flash_attn", "", "", ""}},
    {"--optimizer adamw-fused",
     {"optim: adamw_torch_fused", "optimizer: adamw_torch_fused", "optim: adamw_torch_fused", "optim: adamw_torch_fused",
      "optim: adamw_torch_fused", "optimizer.fused: true", "", ""}},
    {"--optimizer adamw-8bit",
     {"optim: adamw_8bit", "optimizer: adamw_8bit", "optim: adamw_8bit", "optim: adamw_8bit", "optim: adamw_8bit",
      "optimizer._component_: bitsandbytes.optim.AdamW8bit", "", ""}},
    {"--optimizer paged-adamw",
     {"optim: paged_adamw_32bit", "optimizer: paged_adamw_32bit", "optim: paged_adamw_32bit", "optim: paged_adamw_32bit",
      "optim: paged_adamw_32bit", "optimizer._component_: bitsandbytes.optim.PagedAdamW", "", ""}},
    {"--optimizer paged-adamw-8bit",
     {"optim: paged_adamw_8bit", "optimizer: paged_adamw_8bit", "optim: paged_adamw_8bit", "optim: paged_adamw_8bit",
      "optim: paged_adamw_8bit", "optimizer._component_: bitsandbytes.optim.PagedAdamW8bit", "", ""}},
    {"--double-quant",
     {"double_quantization: true", "", "use_bnb_nested_quant: true", "", "bnb_4bit_use_double_quant: true", "", "", ""}},
    {"--precision bf16-true", {"pure_bf16: true", "", "", "", "", "", "precision: bf16-true", ""}},
    {"--lora-r N",
     {"lora_rank: N", "lora_r: N", "lora_r: N", "", "lora_rank: N", "model.lora_rank: N", "lora_r: N", "lora_r: N"}},
    {"--method lora",
     {"finetuning_type: lora", "adapter: lora", "use_peft: true", "", "tuner_type: lora", "", "", ""}},
    {"--method qlora",
     {"finetuning_type: lora, quantization_bit: 4", "adapter: qlora, load_in_4bit: true",
      "use_peft: true, load_in_4bit: true", "", "tuner_type: lora, quant_method: bnb, quant_bits: 4", "", "quantize: bnb.nf4",
      "load_in_4bit: true"}},
    {"--quant nf4",
     {"quantization_bit: 4", "load_in_4bit: true, load_in_8bit: false", "load_in_4bit: true, load_in_8bit: false", "",
      "quant_bits: 4", "", "quantize: bnb.nf4", ""}},
};

/// A word of the change that belongs to the flag before it.
bool is_value(const std::string& word) {
  return !word.starts_with("--") && word.find('=') == std::string::npos;
}

std::optional<std::string> line_of(std::size_t trainer, const std::string& flag, const std::string& value) {
  for (const Row& row : kRows) {
    const bool takes_any = row.flag.ends_with(" N");
    if (takes_any ? value.empty() || row.flag.substr(0, row.flag.size() - 2) != flag
                  : row.flag != (value.empty() ? flag : flag + " " + value))
      continue;
    std::string line(row.lines[trainer]);
    if (line.empty()) return std::nullopt;
    if (takes_any) line.replace(line.size() - 1, 1, value);
    return line;
  }
  return std::nullopt;
}

}  // namespace

std::string change_in_file(Trainer trainer, std::string_view change) {
  const auto column = std::find(std::begin(kColumns), std::end(kColumns), trainer);
  if (column == std::end(kColumns)) return std::string(change);
  std::istringstream in{std::string(change)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  std::string lines;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& flag = words[i];
    const bool has_value = flag.starts_with("--") && i + 1 < words.size() && is_value(words[i + 1]);
    const std::string value = has_value ? words[++i] : "";
    const auto line = line_of(static_cast<std::size_t>(column - std::begin(kColumns)), flag, value);
    // litgpt's micro-batch decides its accumulation.
    if (!line && flag == "--grad-accum" && trainer == Trainer::litgpt) continue;
    lines += (lines.empty() ? "" : ", ") + (line ? *line : flag + (has_value ? " " + value : ""));
  }
  return lines;
}

}  // namespace qwenplan
