#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>
#include <utility>

#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/keys.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// The last part of a component's path: "lora_qwen3_8b_instruct".
std::string last_part(const std::string& path) { return path.substr(path.find_last_of('.') + 1); }

/// The model of a builder such as qwen2_5_7b_instruct, as Hugging Face spells it. Its size is in
/// the builder's name only.
std::string model_of(std::string builder) {
  for (const char* ending : {"_instruct", "_base"})
    if (builder.ends_with(ending)) builder.resize(builder.size() - std::string_view(ending).size());
  constexpr std::pair<std::string_view, std::string_view> kFamilies[] = {
      {"qwen2_5_", "Qwen/Qwen2.5-"},
      {"qwen2_", "Qwen/Qwen2-"},
      {"qwen3_", "Qwen/Qwen3-"},
      {"llama3_1_", "meta-llama/Llama-3.1-"},
      {"llama3_2_", "meta-llama/Llama-3.2-"},
      {"llama3_3_", "meta-llama/Llama-3.3-"},
      {"llama3_", "meta-llama/Meta-Llama-3-"},
      {"llama2_", "meta-llama/Llama-2-"},
      {"gemma2_", "google/gemma-2-"},
      {"gemma_", "google/gemma-"},
      {"mistral_", "mistralai/Mistral-"},
      {"phi4_14b", "microsoft/phi-4"},
      {"phi3_mini", "microsoft/Phi-3-mini-4k-instruct"}};
  for (const auto& [family, spelling] : kFamilies) {
    if (!builder.starts_with(family)) continue;
    std::string size = builder.substr(family.size());
    std::replace(size.begin(), size.end(), '_', '.');
    for (char& c : size) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return std::string(spelling) + size;
  }
  return {};
}

/// `checkpointer.checkpoint_dir: /tmp/Qwen3-8B` names the download, which is the model's own name.
std::string folder_of(const Node& root) {
  const Node* checkpointer = root.find("checkpointer");
  const Node* folder = checkpointer ? checkpointer->find("checkpoint_dir") : nullptr;
  std::string path = folder ? folder->text().value_or("") : "";
  while (!path.empty() && path.back() == '/') path.pop_back();
  return path.substr(path.find_last_of('/') + 1);
}

/// Whether a folder's name has a model's name in it, as Qwen2.5-7B-Instruct has qwen/qwen2.5-7b.
bool names_model(std::string_view folder, std::string_view model) {
  const auto plain = [](std::string_view name) {
    std::string result;
    for (const char c : name.substr(name.find_last_of('/') + 1))
      if (std::isalnum(static_cast<unsigned char>(c)))
        result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return result;
  };
  return plain(folder).find(plain(model)) != std::string::npos;
}

/// The whole number behind a word in the remarks at the top, as in `tune run --nproc_per_node 4`.
std::optional<std::int64_t> hinted(std::string_view text, std::string_view word) {
  for (std::size_t at = text.find(word); at != std::string_view::npos;
       at = text.find(word, at + 1)) {
    const std::size_t line = text.rfind('\n', at) + 1;
    const std::size_t sign = text.find_first_not_of(" \t", line);
    std::size_t digit = at + word.size();
    while (digit < text.size() && (text[digit] == ' ' || text[digit] == '=')) ++digit;
    std::int64_t number = 0;
    for (; digit < text.size() && text[digit] >= '0' && text[digit] <= '9' && number < kMostBatch;
         ++digit)
      number = number * 10 + (text[digit] - '0');
    if (sign != std::string_view::npos && text[sign] == '#' && number > 0) return number;
  }
  return std::nullopt;
}

/// The keys at the root that references begin with: `output_dir` of ${output_dir}/logs.
std::set<std::string_view> keys_referred_to(std::string_view text) {
  std::set<std::string_view> keys;
  for (std::size_t at = text.find("${"); at != std::string_view::npos; at = text.find("${", at)) {
    at += 2;
    const std::size_t end = std::min(text.find_first_of(".:[]{}$ \t\n", at), text.size());
    keys.insert(text.substr(at, end - at));
    at = end;
  }
  return keys;
}

/// Whether the remarks at the top, before any key, name a recipe for several GPUs and no other.
bool is_distributed(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size() && (text[end] == '#' || text[end] == '\n')) {
    const std::size_t line = text.find('\n', end);
    end = line == std::string_view::npos ? text.size() : line + 1;
  }
  const std::string_view remarks = text.substr(0, end);
  return remarks.find("_distributed") != remarks.npos && remarks.find("_single_device") == remarks.npos;
}

void read_adapters(Settings& model, const std::string& builder, TrainFile& file) {
  RunDraft& draft = file.draft;
  const Place place = model.place("_component_");
  const bool is_qlora = builder.starts_with("qlora_") || model.is_on("quantize_base");
  draft.method = from_file(is_qlora ? Method::qlora : Method::lora, place);
  if (is_qlora) {
    // torchao's NF4 quantizes its scales too.
    draft.quantization = from_file(Quantization::nf4, place);
    draft.double_quantizes = by_trainer(true);
    draft.upcasts_for_kbit = by_trainer(false);
  }
  draft.lora_rank = model.whole("lora_rank");
  otherwise(draft.lora_rank, std::int64_t{8});
  draft.lora_alpha = model.number("lora_alpha");
  otherwise(draft.lora_alpha, 16.0);
  draft.lora_dropout = model.number("lora_dropout");
  otherwise(draft.lora_dropout, 0.0);
  draft.uses_dora = model.truth("use_dora");
  auto targets = model.words("lora_attn_modules");
  if (!targets) {
    model.say("torchtune/no-lora-modules", "_component_",
              "the builder needs lora_attn_modules",
              "lora_attn_modules: ['q_proj', 'v_proj', 'output_proj']");
    return;
  }
  for (std::string& each : targets->value)
    if (each == "output_proj") each = "o_proj";
  if (model.is_on("apply_lora_to_mlp"))
    for (const char* layer : {"gate_proj", "up_proj", "down_proj"})
      targets->value.emplace_back(layer);
  if (model.is_on("apply_lora_to_output")) targets->value.emplace_back("lm_head");
  draft.lora_targets = std::move(targets);
}

}  // namespace

TrainFile read_torchtune(const Source& source) {
  const Node& root = source.root;
  TrainFile file;
  file.trainer = Trainer::torchtune;
  RunDraft& draft = file.draft;
  Settings s(&root, "", file.findings);
  s.expect_references();
  if (!s.has("optimizer")) {
    file.other_purpose = "evaluates, generates or quantizes";
    return file;
  }
  // Other recipes are named by what only they have.
  for (const auto& [key, what] :
       {std::pair{"grpo_samples", "GRPO"}, std::pair{"teacher_model", "knowledge distillation"},
        std::pair{"policy_model", "PPO"}, std::pair{"ppo_epochs", "PPO"},
        std::pair{"quantizer", "quantization-aware training"},
        std::pair{"early_exit_loss", "early exit"}, std::pair{"layer_dropout", "layer dropout"},
        std::pair{"reward_and_value_model", "PPO"}})
    if (root.has(key))
      set_unmodelled(file, std::string(what) + " is not modelled", s.place(key),
                     "modelled: full, LoRA and QLoRA fine-tuning");

  Settings model = s.inside("model");
  const auto component = model.text("_component_");
  std::string builder = component ? last_part(component->value) : "";
  std::string plain = builder;
  for (const char* beginning : {"qlora_", "lora_"})
    if (plain.starts_with(beginning)) plain.erase(0, std::string_view(beginning).size());
  const std::string folder = folder_of(root);
  file.model = model_of(plain);
  // The builder decides; the folder of the download may name its model more closely (-Instruct, -v0.1).
  if (file.model.empty()) file.model = folder.empty() ? plain : folder;
  else if (names_model(folder, file.model)) file.model = folder;
  if (component) file.model_place = component->place;
  if (plain.find("vision") != std::string::npos)
    set_unmodelled(file, "a model with a vision tower is not modelled", file.model_place,
                   "modelled: causal language models");

  if (builder.starts_with("lora_") || builder.starts_with("qlora_")) {
    read_adapters(model, builder, file);
    model.know("apply_lora_to_mlp apply_lora_to_output quantize_base use_dora");
    if (!file.unmodelled)
      model.report_unknown("unknown-key-refused", "the builder stops at it");
  }
  if (!draft.method && component) draft.method = from_file(Method::full, component->place);

  const auto dtype = s.text("dtype");
  const auto named = dtype ? dtype_named(dtype->value) : std::nullopt;
  if (named) {
    // Weights, gradients and the optimizer's states are all of this format; nothing is cast.
    draft.precision = from_file(*named == DType::bf16   ? Precision::bf16_true
                                : *named == DType::fp16 ? Precision::fp16_true
                                                        : Precision::fp32,
                                dtype->place);
    draft.weights = from_file(*named, dtype->place);
    draft.autocasts = by_trainer(false);
    if (draft.lora_rank) draft.adapter = from_file(*named, dtype->place);
    if (*named == DType::fp16)
      s.say("torchtune/fp16", "dtype", "torchtune refuses to train in fp16",
            "dtype: bf16");
  }

  Settings tokenizer = s.inside("tokenizer");
  draft.length = tokenizer.whole("max_seq_len");
  Settings dataset = s.inside("dataset");
  if (dataset.is_on("packed")) {
    draft.packs = from_file(true, dataset.place("packed"));
    if (!draft.length)
      file.findings.push_back({"torchtune/packed-without-length", "packing needs tokenizer.max_seq_len", dataset.place("packed"),
                               "tokenizer.max_seq_len: 2048"});
  } else if (!draft.length) {
    file.findings.push_back(
        {"torchtune/no-length", "no length is set, so the longest sample decides how much it takes",
         root.find("tokenizer") ? root.find("tokenizer")->place : Place{},
         "tokenizer.max_seq_len: 2048"});
  }
  if (const auto data = dataset.text("source")) file.datasets.push_back(data->value);

  draft.micro_batch = s.whole("batch_size");
  draft.accumulation = s.whole("gradient_accumulation_steps");
  otherwise(draft.accumulation, std::int64_t{1});
  draft.checkpoints = s.truth("enable_activation_checkpointing");
  otherwise(draft.checkpoints, false);
  if (draft.checkpoints->value) draft.checkpoints_reentrant = by_trainer(false);
  if (s.is_on("enable_activation_offloading")) {
    if (!draft.checkpoints->value)
      s.say("torchtune/offload-without-checkpointing", "enable_activation_offloading",
            "torchtune refuses to offload activations without checkpointing",
            "enable_activation_checkpointing: True");
    else
      draft.offloads_activations = from_file(true, s.place("enable_activation_offloading"));
  }
  Settings optimizer = s.inside("optimizer");
  if (const auto type = optimizer.text("_component_")) {
    const std::string kind = last_part(type->value);
    const bool is_bitsandbytes = type->value.starts_with("bitsandbytes");
    std::string ours = kind;
    if (kind == "AdamW" || kind == "Adam")
      ours = is_bitsandbytes            ? "adamw-32bit"
             : optimizer.is_on("fused") ? "adamw-fused"
                                        : "adamw-foreach";
    else if (kind == "PagedAdamW")
      ours = "paged-adamw";
    else if (kind == "PagedAdamW8bit")
      ours = "paged-adamw-8bit";
    else if (kind == "AdamW8bit" && is_bitsandbytes)
      ours = "adamw-8bit";
    else if (kind == "AdamW8bit" && type->value.starts_with("torchao"))
      ours = "adamw-torchao-8bit";
    else if (kind == "SGD")
      ours = optimizer.has("momentum") ? "sgd-momentum" : "sgd";
    draft.optimizer = from_file(std::move(ours), type->place);
  }
  if (s.is_on("optimizer_in_bwd")) {
    if (draft.accumulation->value > 1)
      s.say("torchtune/in-backward-with-accumulation", "optimizer_in_bwd",
            "torchtune refuses it with gradient accumulation", "gradient_accumulation_steps: 1");
    if (s.has("clip_grad_norm"))
      s.say("torchtune/in-backward-with-clipping", "optimizer_in_bwd",
            "torchtune refuses it with gradient clipping", "clip_grad_norm: null");
    draft.optimizer_in_backward = from_file(true, s.place("optimizer_in_bwd"));
  }
  Settings loss = s.inside("loss");
  if (const auto type = loss.text("_component_")) {
    const std::string kind = last_part(type->value);
    if (kind == "DPOLoss") draft.objective = from_file(Objective::dpo, type->place);
    const bool is_chunked = kind == "LinearCrossEntropyLoss" || kind == "CEWithChunkedOutputLoss";
    draft.loss = from_file(is_chunked ? Loss::chunked : Loss::standard, type->place);
    if (is_chunked) {
      draft.chunked_loss =
          from_file(kind == "CEWithChunkedOutputLoss" ? ChunkedLoss::torchtune_logits
                                                      : ChunkedLoss::torchtune,
                    type->place);
      draft.loss_chunks = by_trainer(std::int64_t{8});
    }
    if (kind == "LigerFusedCrossEntropyLoss") {
      draft.loss = from_file(Loss::fused, type->place);
      draft.fused_loss = from_file(FusedLoss::liger, type->place);
    }
  }
  const Node* compile = s.node("compile");
  if (compile && (compile->is_map() || compile->truth().value_or(false)))
    draft.compiles = from_file(true, s.place("compile"));
  if (s.is_on("fsdp_cpu_offload"))
    draft.offload = from_file(std::string("optimizer,params"), s.place("fsdp_cpu_offload"));
  if (const auto parallel = s.whole("tensor_parallel_dim"); parallel && parallel->value > 1)
    set_unmodelled(file, "tensor parallelism is not modelled", s.place("tensor_parallel_dim"),
                   "leave it out for one GPU");
  if (s.is_on("enable_fp8_training"))
    set_unmodelled(file, "fp8 is not modelled", s.place("enable_fp8_training"), "dtype: bf16");
  // The recipe and the number of GPUs stand in the command only, which the remarks on top repeat.
  if (const auto gpus = hinted(source.text, "--nproc_per_node"); gpus && *gpus > 1) {
    const std::int64_t nodes = hinted(source.text, "--nnodes").value_or(1);
    draft.gpus = by_trainer(*gpus * std::min(nodes, kMostBatch));
    draft.fsdp = by_trainer(std::string("2"));
  } else if (is_distributed(source.text)) {
    draft.fsdp = by_trainer(std::string("2"));
  }
  for (const char* key : {"model", "tokenizer", "dataset", "checkpointer", "loss", "batch_size",
                          "gradient_accumulation_steps", "dtype", "epochs"})
    if (!s.has(key) && !file.unmodelled)
      file.findings.push_back({"torchtune/missing-key",
                               "torchtune's recipes read '" + std::string(key) +
                                   "', which is missing",
                               {}, "write " + std::string(key)});
  // A key that others refer to is the file's own variable.
  const auto referred = keys_referred_to(source.text);
  for (const Entry& each : root.entries)
    if (referred.contains(each.key)) s.know(each.key);
  s.know(kTorchtuneKeys);
  if (!file.unmodelled) s.report_unknown("unknown-key", "torchtune's recipes ignore it");
  if (const auto epochs = s.number("epochs")) file.epochs = epochs->value;
  if (const auto steps = s.whole("max_steps_per_epoch")) file.max_steps = steps->value;
  if (const auto batch = s.whole("batch_size_val")) file.eval_batch = batch->value;
  return file;
}

}  // namespace qwenplan
