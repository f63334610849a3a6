#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/spelling.hpp"
#include "command/cloud_script_text.hpp"
#include "command/command.hpp"
#include "command/job.hpp"
#include "command/method_plans.hpp"
#include "command/money.hpp"
#include "qwenplan/base/nearest.hpp"
#include "qwenplan/estimate/cost.hpp"
#include "read/prices.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr double kDefaultHours = 24;
constexpr double kMostHours = 672;  // SageMaker ends a job after 28 days
constexpr double kTimeReserve = 1.25;
/// The data set that the guide means, under the owner that has it.
constexpr const char* kDataset = "ClusterlabAi/InstAr-500k";

enum class Platform : std::uint8_t { colab, sagemaker, skypilot, slurm, docker };
constexpr std::string_view kPlatforms[] = {"colab", "sagemaker", "skypilot", "slurm", "docker"};

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

Result<Platform> read_platform(const Invocation& in) {
  const std::string all = "one of: colab, sagemaker, skypilot, slurm, docker";
  const auto flag = in.value("platform");
  if (in.words.empty() && !flag) return wrong("no platform is named", "cloud script", all);
  if (!in.words.empty() && flag && folded(in.words[0]) != folded(*flag))
    return wrong("two platforms are named", "--platform", "give one of them");
  const std::string wanted = folded(flag ? *flag : in.words[0]);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::size(kPlatforms); ++i) {
    if (kPlatforms[i] == wanted) return static_cast<Platform>(i);
    names.emplace_back(kPlatforms[i]);
  }
  const auto near = nearest(wanted, names);
  return wrong("unknown platform '" + wanted.substr(0, 40) + "'", "cloud script",
               near.empty() ? all : "did you mean '" + near[0] + "'?");
}

/// A name that a script may have between quotes, as the Hub and file systems have them.
bool is_plain(std::string_view name) {
  return !name.empty() && name.size() < 200 && name.front() != '-' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") ==
             std::string_view::npos;
}

Result<std::string> read_dataset(const Invocation& in, std::vector<std::string>& assumed) {
  const auto given = in.value("dataset");
  if (!given) {
    assumed.push_back("the data are " + std::string(kDataset));
    return std::string(kDataset);
  }
  if (!is_plain(*given))
    return wrong("a data set of that name cannot be put into a script", "--dataset",
                 "use letters, digits and . _ - /, such as owner/name or data.jsonl");
  return *given;
}

/// The model's name for from_pretrained: as typed where it is a name on the Hub, since that says whether
/// the base or an instruct model is meant.
Result<std::string> model_name(const Invocation& in, const Job& job) {
  const std::string typed = in.value("model").value_or("");
  std::error_code ignored;
  const bool is_hub_name = std::count(typed.begin(), typed.end(), '/') == 1 && is_plain(typed) &&
                           !job.subject.model.is_file && !std::filesystem::exists(typed, ignored);
  const std::string& name = is_hub_name ? typed : job.subject.model.model.hub_id;
  if (is_plain(name)) return name;
  return Error{Error::Kind::wrong, "the model has no name on the Hub", "--model",
               "a script needs one: name it as owner/model"};
}

/// A card that the script is for: the one on which the run fits for least money.
struct Place {
  std::optional<Gpu> gpu;
  MethodPlan plan;
  std::string instance;
  std::optional<Offer> offer;
};

/// Names of accelerators as SkyPilot has them.
constexpr std::pair<std::string_view, std::string_view> kAccelerators[] = {
    {"t4", "T4"}, {"l4-24g", "L4"}, {"a10-24g", "A10"}, {"a10g-24g", "A10G"}, {"l40s-48g", "L40S"}, {"l40-48g", "L40"},
    {"rtxa6000-48g", "RTXA6000"}, {"rtx3090-24g", "RTX3090"}, {"rtx4090-24g", "RTX4090"}, {"rtx6000ada-48g", "RTX6000-Ada"},
    {"a100-40g-sxm", "A100"}, {"a100-80g-sxm", "A100-80GB"}, {"h100-80g-sxm", "H100"}, {"h200-141g-sxm", "H200"},
    {"b200-180g-sxm", "B200"}};

/// What Colab offers, in the order of price, with the name in its menu.
constexpr std::pair<std::string_view, std::string_view> kColab[] = {
    {"t4", "T4 GPU"}, {"l4-24g", "L4 GPU"}, {"a100-40g-sxm", "A100 GPU"}};

/// Families of EC2 that SageMaker trains on, each under "ml.".
bool is_sagemaker_family(std::string_view instance) {
  constexpr std::string_view kFamilies[] = {"g4dn.", "g5.", "g6.", "g6e.", "p4d.", "p4de.", "p5.", "p5en."};
  return std::any_of(std::begin(kFamilies), std::end(kFamilies),
                     [&](std::string_view family) { return instance.starts_with(family); });
}

std::string dtype(DType type) {
  switch (type) {
    case DType::bf16: return "torch.bfloat16";
    case DType::fp16: return "torch.float16";
    default: return "torch.float32";
  }
}

std::string truth(bool is) { return is ? "True" : "False"; }

/// An optimizer as transformers' `optim` has it.
std::string optimizer_name(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::adamw_fused: return "adamw_torch_fused";
    case OptimizerKind::adamw_foreach:
    case OptimizerKind::adamw_loop: return "adamw_torch";
    case OptimizerKind::adamw_8bit: return "adamw_bnb_8bit";
    case OptimizerKind::paged_adamw: return "paged_adamw_32bit";
    case OptimizerKind::paged_adamw_8bit: return "paged_adamw_8bit";
    case OptimizerKind::sgd:
    case OptimizerKind::sgd_momentum: return "sgd";
    case OptimizerKind::adafactor: return "adafactor";
    case OptimizerKind::adagrad: return "adagrad";
    case OptimizerKind::lion: return "lion_32bit";
    case OptimizerKind::lion_8bit: return "lion_8bit";
    case OptimizerKind::paged_lion: return "paged_lion_32bit";
    case OptimizerKind::paged_lion_8bit: return "paged_lion_8bit";
    case OptimizerKind::ademamix: return "ademamix";
    case OptimizerKind::ademamix_8bit: return "ademamix_8bit";
    case OptimizerKind::paged_ademamix: return "paged_ademamix_32bit";
    case OptimizerKind::paged_ademamix_8bit: return "paged_ademamix_8bit";
    case OptimizerKind::rmsprop: return "rmsprop";
    case OptimizerKind::rmsprop_bnb: return "rmsprop_bnb_32bit";
    case OptimizerKind::rmsprop_8bit: return "rmsprop_bnb_8bit";
    case OptimizerKind::adamw_anyprecision: return "adamw_anyprecision";
    case OptimizerKind::adamw_torchao_8bit: return "adamw_torch_8bit";
    case OptimizerKind::adamw_torchao_4bit: return "adamw_torch_4bit";
    case OptimizerKind::schedule_free_adamw: return "schedule_free_adamw";
    case OptimizerKind::muon:
    case OptimizerKind::galore:
    case OptimizerKind::apollo:
    case OptimizerKind::adam_mini: break;  // LLaMA-Factory's own
  }
  return "adamw_torch";
}

/// PEFT's target_modules.
std::string target_modules(ModuleSet set, const Model& model) {
  if (set == (kEveryLinear & modules_of(model, ModelCode::transformers))) return "\"all-linear\"";
  std::string list;
  for (const auto& [known, module] : named_modules(set, model))
    list += (list.empty() ? "\"" : ", \"") + std::string(known) + "\"";
  return "[" + list + "]";
}

std::string quantize_code(const Run& run) {
  if (!run.is_quantized()) return "";
  std::string code = "\n    from transformers import BitsAndBytesConfig\n\n    options[\"device_map\"] = {\"\": 0}\n"
                     "    options[\"quantization_config\"] = BitsAndBytesConfig(";
  if (run.quantization == Quantization::int8) return code + "load_in_8bit=True)";
  return code + "\n        load_in_4bit=True, bnb_4bit_quant_type=\"" + std::string(name(run.quantization)) +
         "\",\n        bnb_4bit_use_double_quant=" + truth(run.double_quantizes) + ", bnb_4bit_compute_dtype=" + dtype(run.half) + ")";
}

std::string adapt_code(const Run& run, const RunDraft& draft, const Model& model) {
  if (!run.has_adapters()) return "";
  std::string code = "\n    from peft import LoraConfig, get_peft_model";
  if (run.upcasts_for_kbit) code += ", prepare_model_for_kbit_training";
  code += "\n\n";
  if (run.upcasts_for_kbit)
    code += "    model = prepare_model_for_kbit_training(\n        model, use_gradient_checkpointing=" + truth(run.checkpoints) +
            ",\n        gradient_checkpointing_kwargs={\"use_reentrant\": " + truth(run.checkpoints_reentrant) + "})\n";
  else if (run.checkpoints)
    code += "    model.enable_input_require_grads()\n";
  const double alpha = draft.lora_alpha ? draft.lora_alpha->value : 2.0 * static_cast<double>(run.lora_rank);
  code += "    lora = LoraConfig(task_type=\"CAUSAL_LM\", r=" + std::to_string(run.lora_rank) + ", lora_alpha=" + plain(alpha) +
          ", lora_dropout=" + plain(run.lora_dropout) + ",\n                      target_modules=" + target_modules(run.lora_targets, model);
  if (run.modules_to_save) {
    std::string saved;
    if (run.modules_to_save & lm_head) saved += "\"lm_head\"";
    if (run.modules_to_save & embed_tokens) saved += saved.empty() ? "\"embed_tokens\"" : ", \"embed_tokens\"";
    code += ", modules_to_save=[" + saved + "]";
  }
  return code + ")\n    model = get_peft_model(model, lora, autocast_adapter_dtype=" + truth(run.adapter == DType::fp32) + ")";
}

std::string pinned(const char* package, const Version& version) {
  return std::string(package) + "==" + std::to_string(version.major) + "." + std::to_string(version.minor) + ".*";
}

/// What pip installs beside torch.
std::vector<std::string> packages(const Run& run, const Stack& stack) {
  std::vector<std::string> list = {pinned("transformers", stack.transformers), pinned("accelerate", stack.accelerate), "datasets"};
  if (run.has_adapters()) list.push_back(pinned("peft", stack.peft));
  const bool uses_bitsandbytes = run.is_quantized() || bitsandbytes_states(run.optimizer).copies > 0;
  if (uses_bitsandbytes) list.push_back(pinned("bitsandbytes", stack.bitsandbytes));
  return list;
}

/// The package of torch: PyPI's wheels are built with CUDA 13, which has no Volta and Pascal any more;
/// PyTorch's index for CUDA 12.6 has wheels for them.
std::string torch_package(const Stack& stack, const std::optional<Gpu>& gpu) {
  if (gpu && gpu->compute_capability < 75) return "torch --index-url https://download.pytorch.org/whl/cu126";
  return "'" + pinned("torch", stack.torch) + "'";
}

std::string joined(const std::vector<std::string>& items, const char* before, const char* after, const char* between) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : between) + std::string(before) + item + after;
  return text;
}

std::string slurm_time(double hours) {
  const auto minutes = static_cast<std::int64_t>(std::ceil(hours * 60));
  const std::string rest = std::to_string(minutes % 60);
  return std::to_string(minutes / 60) + ":" + (rest.size() < 2 ? "0" : "") + rest + ":00";
}

/// The cheapest of the places where the run fits; nothing where it fits nowhere.
Result<std::optional<Place>> find_place(const Invocation& in, const Tables& tables, const Job& job, Platform platform,
                                        const std::vector<Offer>& offers, std::vector<std::string>& assumed) {
  CardFits fits(job);
  std::optional<Gpu> wanted;
  if (const auto text = in.value("gpu")) {
    const auto found = tables.gpu(*text);
    if (!found) return found.error();
    wanted = found->gpu;
  }
  const auto place_on = [&](const Gpu& gpu) -> std::optional<Place> {
    const auto& fit = fits.on(gpu);
    if (!fit || !fit->fits(in.is_strict)) return std::nullopt;
    return Place{gpu, fit->best(), "", std::nullopt};
  };
  if (platform == Platform::colab) {
    for (const auto& [id, menu] : kColab) {
      const auto gpu = tables.gpu(id);
      if (!gpu) return gpu.error();
      if (wanted && wanted->id != gpu->gpu.id) continue;
      if (auto place = place_on(gpu->gpu)) {
        place->instance = menu;
        return place;
      }
    }
    return std::optional<Place>{};
  }
  if (platform == Platform::sagemaker) {
    std::optional<Place> best;
    for (const Offer& offer : offers) {
      if (offer.provider != "aws" || offer.gpus != 1.0 || !offer.on_demand || !offer.is_available ||
          !is_sagemaker_family(offer.instance) || (wanted && wanted->id != offer.gpu))
        continue;
      const auto gpu = tables.gpu(offer.gpu);
      if (!gpu || gpu->gpu.id != offer.gpu) continue;
      auto place = place_on(gpu->gpu);
      if (!place) continue;
      place->instance = "ml." + offer.instance;
      place->offer = offer;
      // A card on which the run needs no step down from the defaults goes before a cheaper one.
      const auto rank = [](const Place& each) {
        return std::pair(!each.plan.rung.empty(), *each.offer->on_demand);
      };
      if (!best || rank(*place) < rank(*best)) best = std::move(place);
    }
    return best;
  }
  if (platform == Platform::skypilot) {
    std::optional<Place> best;
    for (const bool has_bf16 : {true, false}) {
      std::string names;
      for (const auto& [id, accelerator] : kAccelerators) {
        const auto gpu = tables.gpu(id);
        if (!gpu) return gpu.error();
        if ((wanted && wanted->id != gpu->gpu.id) || gpu->gpu.has_bf16 != has_bf16) continue;
        auto place = place_on(gpu->gpu);
        // One script runs on all of them: they must run the same method in the same way.
        if (!place || (best && (place->plan.method != best->plan.method || place->plan.rung != best->plan.rung))) continue;
        names += (names.empty() ? "" : ", ") + std::string(accelerator) + ": 1";
        if (!best) best = std::move(place);
      }
      if (best) {
        best->instance = names;
        return best;
      }
    }
    return best;
  }
  if (wanted) return place_on(*wanted);
  if (!job.draft.method && !job.draft.quantization)
    assumed.push_back("the method that needs least; --gpu names a card, for which the best is chosen");
  // No card is named: the run as given, or the method that needs least.
  const Setup setup = setup_of(job.subject);
  auto plans = method_plans(setup, job.draft);
  if (!plans) return plans.error();
  return std::optional<Place>(Place{std::nullopt, std::move(plans->plans[plans->best]), "", std::nullopt});
}

}  // namespace

Result<Answer> cloud_script(const Invocation& in) {
  if (in.uses_guide)
    return Error{Error::Kind::unknown, "the guide's scripts do not run and are not repeated", "--estimator",
                 "leave it out; 'qwenplan cloud compare --estimator guide' has the guide's table"};
  const auto platform = read_platform(in);
  if (!platform) return platform.error();
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto offers = read_offers(*tables);
  if (!offers) return offers.error();
  const auto given_hours = in.number("hours", 0.01, kMostHours);
  if (!given_hours) return given_hours.error();

  Answer answer;
  answer.schema = "qwenplan.cloud-script/1";
  answer.data_as_of = tables->as_of();
  std::vector<std::string> assumed;
  const auto job = read_job(in, *tables, assumed);
  if (!job) return job.error();
  const auto dataset = read_dataset(in, assumed);
  if (!dataset) return dataset.error();
  const auto model = model_name(in, *job);
  if (!model) return model.error();
  answer.inputs = job->subject.inputs;
  answer.notes = job->subject.notes;
  const std::string platform_name(kPlatforms[static_cast<std::size_t>(*platform)]);
  answer.inputs.push_back({"platform", Value(platform_name), "flag"});
  answer.inputs.push_back({"dataset", Value(*dataset), in.has("dataset") ? "flag" : "default"});
  answer.json.set("platform", platform_name);

  const auto found = find_place(in, *tables, *job, *platform, *offers, assumed);
  if (!found) return found.error();
  if (!*found) {
    answer.status = kNo;
    answer.json.set("script", Value());
    answer.add(Headline{job->words() + " fits no single GPU " + (in.has("gpu") ? "of that kind" : "that " + platform_name + " has"), Tone::bad});
    answer.json.set("assumed", Value::list());
    return answer;
  }
  const Place& place = **found;
  const Plan& plan = place.plan.plan;
  const Run& run = plan.valid.run;
  const Model& shape = job->subject.model.model;
  const Stack& stack = job->subject.stack;
  const double hours = given_hours->value_or(kDefaultHours) * kTimeReserve;
  if (!*given_hours) assumed.push_back("it may run for 30 hours; --hours says how long it takes, to which a quarter is added");

  const bool has_dtype = stack.transformers >= Version{4, 56, 0};
  const std::string attention = run.attention == Attention::eager ? "eager" : run.attention == Attention::fa2 ? "flash_attention_2" : "sdpa";
  const Interruptions interruptions{24, checkpoint_hours(shape, run), 10.0 / 60};
  const double save = std::max(60.0, std::round(checkpoint_interval(interruptions) * 3600));
  const std::string words = std::string(name(run.method)) + (run.is_quantized() ? " in " + std::string(name(run.quantization)) : "") + ", " +
                            std::string(name(run.precision)) + ", length " + std::to_string(run.length) + ", batch " +
                            std::to_string(run.micro_batch) + (run.accumulation > 1 ? " x " + std::to_string(run.accumulation) : "");
  Places places = {{"MODEL", *model},
                   {"DATASET", *dataset},
                   {"WORDS", words},
                   {"NEED", text(plan.estimate.device)},
                   {"NEED_BYTES", std::to_string(plan.estimate.device.likely.count())},
                   {"LENGTH", std::to_string(run.length)},
                   {"SAVE_SECONDS", std::to_string(static_cast<std::int64_t>(save))},
                   {"LOAD_OPTIONS", (has_dtype ? "\"dtype\": " : "\"torch_dtype\": ") + dtype(run.weights) +
                                        ", \"attn_implementation\": \"" + attention + "\""},
                   {"QUANTIZE", quantize_code(run)},
                   {"ADAPT", adapt_code(run, plan.draft, shape)},
                   {"BATCH", std::to_string(run.micro_batch)},
                   {"ACCUMULATION", std::to_string(run.accumulation)},
                   {"CHECKPOINTING", truth(run.checkpoints)},
                   {"REENTRANT", truth(run.checkpoints_reentrant)},
                   {"BF16", truth(run.precision == Precision::bf16_mixed)},
                   {"FP16", truth(run.precision == Precision::fp16_mixed)},
                   {"OPTIM", optimizer_name(run.optimizer)},
                   {"RATE", run.has_adapters() ? "1e-4" : "2e-5"}};
  std::string train = filled(train_template(), places);
  train.pop_back();  // the templates end its last line

  std::string slug = shape.id + "-" + std::string(name(run.method));
  for (char& c : slug)
    if (c == '.' || c == '/' || c == '_') c = '-';
  if (slug.size() > 40 || !is_plain(slug)) slug = "qwenplan-job";
  const std::vector<std::string> wanted = packages(run, stack);
  const HostNeed need = host_need(shape, run, stack);
  // As much again as the job itself needs, for the data.
  const std::int64_t disk = need.disk.high.count() / 1'000'000'000 * 2 + 1;
  // Half as much again, and 8 GiB at least: a scheduler kills what exceeds its share.
  const std::int64_t ram = std::max<std::int64_t>(8, need.job_ram.high.count() / (1024 * 1024 * 1024) * 3 / 2 + 1);
  places.insert(places.end(),
                {{"TRAIN", std::move(train)},
                 {"NAME", slug},
                 {"TORCH", torch_package(stack, place.gpu)},
                 {"PACKAGES", joined(wanted, "'", "'", " ")},
                 {"PACKAGES_LIST", joined(wanted, "\"", "\"", ", ")},
                 {"PACKAGES_LINES", joined(wanted, "", "", "\n")},
                 {"RUNTIME", place.instance},
                 {"INSTANCE", place.instance},
                 {"ACCELERATORS", place.instance},
                 {"GPU", place.gpu ? "one " + place.gpu->name : ""},
                 {"PRICE", place.offer ? "EC2 asks " + text_rate(*place.offer->on_demand) + " for the same machine (" +
                                             place.offer->as_of + "), SageMaker more" : ""},
                 {"GRES", "gpu:1"},
                 {"RAM", std::to_string(ram)},
                 {"DISK", std::to_string(disk)},
                 {"SLURM_TIME", slurm_time(hours)},
                 {"RUN_SECONDS", std::to_string(static_cast<std::int64_t>(std::ceil(hours * 3600)))},
                 {"WAIT_SECONDS", std::to_string(static_cast<std::int64_t>(std::ceil(hours * 7200)))}});
  constexpr std::array<std::string_view (*)(), 5> kTemplates = {colab_template, sagemaker_template, skypilot_template,
                                                                slurm_template, docker_template};
  std::string script = filled(kTemplates[static_cast<std::size_t>(*platform)](), places);

  for (const RunSetting& setting : plan.valid.settings) answer.inputs.push_back(as_input(setting));
  answer.notes.insert(answer.notes.end(), plan.valid.notes.begin(), plan.valid.notes.end());
  answer.json.set("gpu", place.gpu ? Value(place.gpu->id) : Value());
  answer.json.set("instance", place.instance.empty() ? Value() : Value(place.instance));
  answer.json.set("ec2_usd_per_hour", place.offer ? Value(place.offer->on_demand) : Value());
  answer.json.set("fit", plan.fit ? Value(name(*plan.fit)) : Value());
  answer.json.set("device_bytes", plan.estimate.device);
  answer.json.set("script", script);
  Value& list = answer.json.set("assumed", Value::list());
  for (const std::string& each : assumed) {
    list.push(each);
    answer.notes.push_back("assumed: " + each);
  }
  if (*platform == Platform::sagemaker)
    answer.notes.push_back("the image's torch is 2.9, not the " + std::to_string(stack.torch.major) + "." +
                           std::to_string(stack.torch.minor) + " that the memory is counted for");
  answer.raw = std::move(script);
  return answer;
}

}  // namespace qwenplan::command
