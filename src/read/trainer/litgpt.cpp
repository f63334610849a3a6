#include <algorithm>
#include <utility>

#include "read/trainer/hf_arguments.hpp"
#include "read/trainer/readers.hpp"
#include "read/trainer/settings.hpp"

namespace qwenplan {
namespace {

/// Adapters on layers as setup() of finetune/lora.py has them by default: queries and values.
RunDraft::Maybe<std::vector<std::string>> lora_targets(Settings& s) {
  std::vector<std::string> targets;
  const auto take = [&](const char* key, bool otherwise_on,
                        std::initializer_list<const char*> layers) {
    const auto said = s.truth(key);
    if (said ? said->value : otherwise_on)
      targets.insert(targets.end(), layers.begin(), layers.end());
  };
  take("lora_query", true, {"q_proj"});
  take("lora_key", false, {"k_proj"});
  take("lora_value", true, {"v_proj"});
  take("lora_projection", false, {"o_proj"});
  take("lora_mlp", false, {"gate_proj", "up_proj", "down_proj"});
  take("lora_head", false, {"lm_head"});
  return from_file(std::move(targets), s.place("lora_query"));
}

}  // namespace

TrainFile read_litgpt(const Source& source) {
  const Node& root = source.root;
  TrainFile file;
  file.trainer = Trainer::litgpt;
  RunDraft& draft = file.draft;
  Settings s(&root, "", file.findings);
  s.know(
      "out_dir data eval log logger_name seed access_token resume tokenizer_dir optimizer "
      "initial_checkpoint_dir model_name model_config");
  const bool is_pretraining = s.has("model_name") || s.has("model_config");
  if (const auto folder = s.text(is_pretraining ? "model_name" : "checkpoint_dir")) {
    // checkpoints/<organisation>/<name>
    file.model = folder->value;
    if (file.model.starts_with("checkpoints/")) file.model.erase(0, 12);
    file.model_place = folder->place;
  }
  const auto quantize = s.text("quantize");
  const bool has_adapters =
      s.has("lora_r") || s.has("lora_query") || s.has("lora_alpha") || quantize;
  if (has_adapters) {
    draft.method = from_file(quantize ? Method::qlora : Method::lora,
                             s.place(quantize ? "quantize" : "lora_r"));
    draft.lora_rank = s.whole("lora_r");
    otherwise(draft.lora_rank, std::int64_t{8});
    draft.lora_alpha = s.number("lora_alpha");
    otherwise(draft.lora_alpha, 16.0);
    draft.lora_dropout = s.number("lora_dropout");
    otherwise(draft.lora_dropout, 0.05);
    draft.lora_targets = lora_targets(s);
  } else {
    draft.method = by_trainer(Method::full);
  }
  const auto precision = s.text("precision");
  const std::string word = precision ? precision->value : "bf16-mixed";
  const auto put = [&](Precision value) {
    draft.precision = precision ? from_file(value, precision->place) : by_trainer(value);
  };
  if (word == "bf16-true") put(Precision::bf16_true);
  if (word == "bf16-mixed") put(Precision::bf16_mixed);
  if (word == "16-true") put(Precision::fp16_true);
  if (word == "16-mixed") put(Precision::fp16_mixed);
  if (word == "32-true" || word == "32") put(Precision::fp32);
  if (word == "16") put(Precision::fp16_mixed);
  if (word == "bf16") put(Precision::bf16_mixed);
  if (!draft.precision)
    set_unmodelled(file, "the precision '" + word + "' of litgpt is not modelled", s.place("precision"),
                   "bf16-true, bf16-mixed, 16-true, 16-mixed or 32-true");
  const bool is_mixed = word.ends_with("mixed") || word == "16" || word == "bf16";
  // A mixed precision keeps the weights in float32.
  draft.weights = by_trainer(word == "bf16-true" ? DType::bf16
                             : word == "16-true" ? DType::fp16
                                                 : DType::fp32);
  if (has_adapters) draft.adapter = by_trainer(draft.weights->value);
  if (quantize) {
    const std::string& kind = quantize->value;
    if (is_mixed)
      s.say("litgpt/quantized-mixed", "quantize",
            "litgpt refuses quantization with a mixed precision", "precision: bf16-true");
    if (kind == "bnb.nf4" || kind == "bnb.nf4-dq")
      draft.quantization = from_file(Quantization::nf4, quantize->place);
    else if (kind == "bnb.fp4" || kind == "bnb.fp4-dq")
      draft.quantization = from_file(Quantization::fp4, quantize->place);
    else
      set_unmodelled(file, "the quantization " + kind + " of litgpt is not modelled", s.place("quantize"),
                     "modelled: bnb.nf4, bnb.fp4");
    draft.double_quantizes = from_file(kind.ends_with("-dq"), quantize->place);
    draft.upcasts_for_kbit = by_trainer(false);
  }
  const auto devices = s.node("devices");
  const auto count = devices ? devices->whole() : std::nullopt;
  // Pre-training takes all that the machine has where nothing is said (utils.py, parse_devices).
  const bool takes_all = devices ? devices->text() == "auto" || count == -1 : is_pretraining;
  if (takes_all)
    s.say("launcher-decides", devices ? "devices" : "train",
          "litgpt takes every GPU of the machine, whose number is not in the file: taken as one", "--gpus 8");
  else if (devices && (!count || *count < 1))
    s.say("invalid-value", "devices", "devices: expected auto or a number of GPUs, found " + devices->shown(),
          "devices: 1");
  const std::int64_t per_node = takes_all ? 1 : count.value_or(1);
  const auto nodes = s.whole("num_nodes");
  const std::int64_t world = std::clamp<std::int64_t>(per_node, 1, kMostBatch) *
                             std::clamp<std::int64_t>(nodes ? nodes->value : 1, 1, kMostBatch);
  if (!takes_all || world > 1) draft.gpus = from_file(world, s.place("devices"));
  if (world > 1 && quantize)
    s.say("litgpt/quantized-several-gpus", "quantize",
          "litgpt refuses quantization on several GPUs", "devices: 1");
  if (world > 1) draft.fsdp = by_trainer(std::string(has_adapters ? "2" : "1"));
  // Checkpointing comes with the strategies for several GPUs, and only with them.
  draft.checkpoints = by_trainer(world > 1 && !is_pretraining);

  Settings train = s.inside("train");
  draft.length = train.whole("max_seq_length");
  if (!draft.length)
    file.findings.push_back({"litgpt/no-length", "no length is set, so the longest sample decides how much it takes",
                             s.place("train"), "train.max_seq_length: 512"});
  draft.micro_batch = train.whole("micro_batch_size");
  otherwise(draft.micro_batch, std::int64_t{is_pretraining ? 4 : 1});
  const auto global = train.whole("global_batch_size");
  const std::int64_t samples = global ? global->value : is_pretraining ? 512 : 16;
  const std::int64_t steps = samples / world / std::max<std::int64_t>(draft.micro_batch->value, 1);
  if (steps < 1)
    train.say("litgpt/batch", global ? "global_batch_size" : "micro_batch_size",
              "the global batch is smaller than the micro-batches of all GPUs",
              "global_batch_size: " +
                  std::to_string(Saturating::multiply(world, draft.micro_batch->value)));
  draft.accumulation = global ? from_file(std::max<std::int64_t>(steps, 1), global->place)
                              : by_trainer(std::max<std::int64_t>(steps, 1));
  train.conflict("litgpt/two-warmups", "lr_warmup_fraction", "lr_warmup_steps",
                 "litgpt refuses lr_warmup_fraction with lr_warmup_steps", "keep one of them");
  if (const auto epochs = train.number("epochs")) file.epochs = epochs->value;
  if (!file.epochs) file.epochs = 5.0;
  if (const auto most = train.whole("max_steps")) file.max_steps = most->value;
  const auto interval = train.whole("save_interval");
  file.save_steps = interval ? interval->value : 1000;
  train.know(
      "log_interval lr_warmup_steps lr_warmup_fraction max_tokens max_time tie_embeddings "
      "max_norm min_lr learning_rate weight_decay beta1 beta2");
  train.report_unknown("unknown-key-refused", "litgpt stops at it");
  if (const Node* optimizer = s.node("optimizer")) {
    const Node* path = optimizer->is_map() ? optimizer->find("class_path") : optimizer;
    std::string kind = path ? path->text().value_or("AdamW") : "AdamW";
    kind = kind.substr(kind.find_last_of('.') + 1);
    if (quantize && kind != "AdamW")
      s.say("litgpt/quantized-optimizer", "optimizer",
            "with a quantized base litgpt knows AdamW alone", "optimizer: AdamW");
    if (quantize && kind == "AdamW") kind = "paged-adamw";
    draft.optimizer =
        from_file(kind == "AdamW" ? "adamw-foreach" : optimizer_name(kind), s.place("optimizer"));
  } else {
    draft.optimizer = by_trainer(std::string(quantize ? "paged-adamw" : "adamw-foreach"));
  }
  s.report_unknown("unknown-key-refused", "litgpt stops at it");
  return file;
}

}  // namespace qwenplan
