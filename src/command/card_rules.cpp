#include "command/card_rules.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "command/subject.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "qwenplan/judge/advice.hpp"
#include "render/quantity.hpp"
#include "render/trainer/change.hpp"

namespace qwenplan {
namespace {

/// Whether a changed run fits for sure.
std::optional<Plan> fitting(const Setup& setup, RunDraft draft, const AllocatorSettings& allocator) {
  auto plan = planned(setup, std::move(draft), allocator, most_that_fits(setup.device));
  if (!plan || plan->estimate.is_least || plan->fit != Fit::fits) return std::nullopt;
  return *std::move(plan);
}

template <class T>
bool is_written(const RunDraft::Maybe<T>& setting) {
  return setting && setting->from == From::file;
}

}  // namespace

Finding CardRule::finding_in(const RunDraft& draft) const {
  return {rule, message, place_of_flag(flag, draft), fix};
}

Place place_of_flag(std::string_view flag, const RunDraft& d) {
  const auto place = [](const auto& setting) { return setting ? setting->place : Place{}; };
  if (flag.starts_with("--")) flag.remove_prefix(2);
  if (flag == "seq-len") return place(d.length);
  if (flag == "batch") return place(d.micro_batch);
  if (flag == "grad-accum") return place(d.accumulation);
  if (flag == "checkpointing") return place(d.checkpoints);
  if (flag == "method") return place(d.method);
  if (flag == "quant" || flag == "double-quant") return place(d.quantization);
  if (flag == "precision") return place(d.precision);
  if (flag == "weights") return place(d.weights);
  if (flag == "attention") return place(d.attention);
  if (flag == "loss") return place(d.loss);
  if (flag == "optimizer") return place(d.optimizer);
  if (flag == "lora-r") return place(d.lora_rank);
  if (flag == "lora-dropout") return place(d.lora_dropout);
  if (flag == "lora-targets") return place(d.lora_targets);
  if (flag == "modules-to-save") return place(d.modules_to_save);
  if (flag == "dora") return place(d.uses_dora);
  if (flag == "offload") return place(d.offload);
  if (flag == "offload-activations") return place(d.offloads_activations);
  if (flag == "objective") return place(d.objective);
  return {};
}

std::string text_of_need(const Plan& plan) { return text(plan.estimate.device.likely); }

std::vector<CardRule> card_rules(const Setup& setup, const Plan& plan,
                                 const AllocatorSettings& allocator) {
  std::vector<CardRule> rules;
  if (plan.fit != Fit::fits || !setup.device.usable) return rules;
  const Run& run = plan.valid.run;
  const std::int64_t usable = setup.device.usable->value.count();
  const std::int64_t need = plan.estimate.device.high.count();

  // A second micro-batch costs at most what the first does, so that more room than that is waste, and
  // no run has to be emulated to know that it fits.
  if (need < usable / 2 && (run.accumulation == 1 || run.accumulation % 2 == 0)) {
    const std::string batch = std::to_string(run.micro_batch * 2);
    rules.push_back({"wasted-card", "batch",
                     "more than half of the card stays empty: a micro-batch of " + batch +
                         (run.accumulation > 1 ? " with half of the accumulation steps" : "") + " fits too",
                     "micro-batch " + batch});
  }
  if (run.checkpoints) {
    RunDraft draft = plan.draft;
    draft.checkpoints = Given<bool>{false, From::flag};
    draft.checkpoints_reentrant.reset();
    if (const auto without = fitting(setup, std::move(draft), allocator))
      rules.push_back({"needless-checkpointing", "checkpointing",
                       "without checkpointing it fits too, in " + text_of_need(*without) +
                           ", and each layer runs forward once instead of twice",
                       "turn checkpointing off"});
  }
  const std::int64_t in_16_bits =
      Saturating::multiply(2, model_parameters(setup.model()).total().count());
  if (run.method == Method::qlora && in_16_bits < usable) {
    RunDraft draft = plan.draft;
    draft.method = Given<Method>{Method::lora, From::flag};
    draft.quantization.reset(), draft.double_quantizes.reset(), draft.upcasts_for_kbit.reset();
    if (const auto plain = fitting(setup, std::move(draft), allocator))
      rules.push_back({"needless-quantization", "quant",
                       "with a base in 16 bits it fits too, in " + text_of_need(*plain),
                       "train LoRA without a quantization"});
  }
  return rules;
}

void add_memory_rule(Trainer trainer, const std::string& headline, const std::vector<Advice>& advice,
                     const Plan& plan, std::vector<Finding>& findings) {
  if (!plan.fit || plan.fit == Fit::fits) return;
  std::string fix;
  for (const Advice& each : advice)
    if (each.fit < *plan.fit) {
      fix = change_in_file(trainer, each.change) + " saves " + text(each.saves) + ", then it " +
            (each.fit == Fit::fits ? "fits" : "is tight");
      break;
    }
  // The length and the batch are what people change first.
  const Place length = place_of_flag("seq-len", plan.draft);
  findings.push_back({plan.fit == Fit::exceeds ? RuleId("out-of-memory") : RuleId("tight-memory"),
                      headline, length.line > 0 ? length : place_of_flag("batch", plan.draft),
                      std::move(fix)});
}

void add_default_rules(const TrainFile& file, const RunDraft& d, const Model& model,
                       std::vector<Finding>& findings) {
  const std::string who(name(file.trainer));
  const bool takes_eight = d.micro_batch && d.micro_batch->from == From::trainer &&
                           d.micro_batch->value == 8;
  if (takes_eight)
    findings.push_back({"default-batch",
                        "no micro-batch is written, and " + who + " takes 8 sequences at once",
                        file.model_place, "per_device_train_batch_size: 1"});
  if (d.length && d.length->from == From::trainer) {
    const std::string length = std::to_string(d.length->value);
    if (file.trainer == Trainer::ms_swift)
      findings.push_back({"ms-swift/no-length",
                          "no length is written, and ms-swift takes the model's whole context, " +
                              length + " tokens",
                          file.model_place, "max_length: 2048"});
    else
      findings.push_back({"default-length",
                          "no length is written, and " + who + " takes " + length + " tokens",
                          file.model_place, "write the length"});
  }
  const bool has_adapters = d.method && (d.method->value == Method::lora || d.method->value == Method::qlora);
  if (file.trainer == Trainer::trl && has_adapters && d.lora_targets && d.lora_targets->from == From::trainer &&
      !has_default_targets(model.architecture))
    findings.push_back({"trl/no-targets",
                        "no layer is named for the adapters, and PEFT has no default for " +
                            std::string(name(model.architecture)),
                        d.method->place, "lora_target_modules: all-linear"});
  if (!d.gpus && ((d.zero && d.zero->value != "0") || d.fsdp))
    findings.push_back({"launcher-decides",
                        "how many GPUs share the model is for the launcher to say, not in the file",
                        d.zero ? d.zero->place : d.fsdp->place, "--gpus 8, or --launcher FILE"});
  if (file.evaluates && file.eval_batch && d.micro_batch &&
      *file.eval_batch > d.micro_batch->value) {
    std::string words = "each evaluation takes " + std::to_string(*file.eval_batch) +
                        " sequences at once, the training " + std::to_string(d.micro_batch->value);
    if (d.length && d.length->value <= kMostLength && *file.eval_batch <= kMostBatch)
      words += "; their logits alone are " +
               text(Bytes(Saturating::multiply(
                   Saturating::multiply(*file.eval_batch, d.length->value),
                   Saturating::multiply(model.vocabulary, 4)))) +
               " in fp32";
    findings.push_back({"eval-batch", std::move(words), file.evaluates->place,
                        file.trainer == Trainer::axolotl
                            ? "eval_batch_size: " + std::to_string(d.micro_batch->value)
                            : "per_device_eval_batch_size: " +
                                  std::to_string(d.micro_batch->value)});
  }
}

void add_run_rules(const std::string& trainer, const std::string& version, const Plan& plan,
                   const Model& model, std::vector<Finding>& findings) {
  const Run& run = plan.valid.run;
  const RunDraft& d = plan.draft;
  if (model.max_positions > 0 && run.length > model.max_positions)
    findings.push_back({"beyond-positions",
                        "the model was made for " + std::to_string(model.max_positions) +
                            " positions, and the sequences have " + std::to_string(run.length),
                        place_of_flag("seq-len", d), "shorten them, or set the rope scaling"});
  if (run.stops_at_scaler())
    findings.push_back({"fp16-trained",
                        "PyTorch's gradient scaler refuses trained parameters in fp16",
                        place_of_flag("precision", d), "bf16, or keep them in fp32"});
  if (run.method == Method::full) {
    std::string words = "weights are trained in " + std::string(name(run.weights));
    const bool is_adam = run.optimizer == OptimizerKind::adamw_fused ||
                         run.optimizer == OptimizerKind::adamw_foreach ||
                         run.optimizer == OptimizerKind::adamw_loop;
    const int bytes = run.weights == DType::fp32 ? 16 : 8;
    if (is_adam)
      words += ": " + std::to_string(bytes) +
               " bytes a parameter with its gradient and AdamW's states";
    words += bytes == 8 ? "; there is no fp32 copy, and small updates are rounded away" : "";
    findings.push_back({"weights-format", std::move(words), place_of_flag("precision", d), {}});
  }
  std::string words;
  for (const RunSetting& setting : plan.valid.settings)
    if (setting.from == From::trainer) words += " " + as_words(setting);
  if (!words.empty())
    findings.push_back({"trainer-defaults",
                        "what the file leaves to " + trainer + " " + version + ":" + words,
                        {},
                        {}});
}

}  // namespace qwenplan
