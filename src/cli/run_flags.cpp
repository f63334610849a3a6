#include "cli/run_flags.hpp"

#include <cctype>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/base/nearest.hpp"
#include "qwenplan/base/parse.hpp"

namespace qwenplan {
namespace {

Error wrong(std::string what, std::string where, std::string hint) {
  return {Error::Kind::wrong, std::move(what), std::move(where), std::move(hint)};
}

std::vector<std::string> listed(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of(", ");
    if (end != 0) items.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return items;
}

/// Several flags may say one thing; they must say the same.
template <class T>
class Said {
 public:
  void say(std::string flag, T value) {
    if (value_ && *value_ != value && !error_)
      error_ = wrong(flag_ + " and " + flag + " contradict each other", flag_ + ", " + flag,
                     "give one of them");
    if (!value_) {
      value_ = value;
      flag_ = std::move(flag);
    }
  }
  const std::optional<T>& value() const { return value_; }
  const std::optional<Error>& error() const { return error_; }

 private:
  std::optional<T> value_;
  std::string flag_;
  std::optional<Error> error_;
};

template <class T>
void give(std::optional<Given<T>>& setting, const std::optional<T>& value) {
  if (value) setting = Given<T>{*value, From::flag};
}

std::optional<Error> read_numbers(const Invocation& in, RunDraft& d) {
  struct Whole {
    const char* flag;
    RunDraft::Maybe<std::int64_t>& setting;
    std::int64_t most;
  };
  const Whole wholes[] = {{"seq-len", d.length, kMostLength},
                          {"batch", d.micro_batch, kMostBatch},
                          {"grad-accum", d.accumulation, kMostAccumulation},
                          {"lora-r", d.lora_rank, kMostRank},
                          {"freeze-layers", d.trained_layers, kMostLayers},
                          {"gpus", d.gpus, 1 << 20}};
  for (const auto& [flag, setting, most] : wholes) {
    const auto number = in.whole(flag, 1, most);
    if (!number) return number.error();
    give(setting, *number);
  }
  const auto dropout = in.number("lora-dropout", 0.0, 1.0);
  if (!dropout) return dropout.error();
  give(d.lora_dropout, *dropout);
  const auto alpha = in.number("lora-alpha", 0.0, 1e9);
  if (!alpha) return alpha.error();
  give(d.lora_alpha, *alpha);
  const auto noise = in.number("neftune-alpha", 0.0, 1e9);
  if (!noise) return noise.error();
  give(d.neftune_alpha, *noise);
  return std::nullopt;
}

std::optional<Error> read_precision(const Invocation& in, RunDraft& d) {
  Said<Precision> said;
  if (const auto text = in.value("precision"))
    said.say("--precision " + *text, *draft::by_name<Precision>(*text, 5));
  if (in.switched("bf16") == true) said.say("--bf16", Precision::bf16_mixed);
  if (in.switched("fp16") == true) said.say("--fp16", Precision::fp16_mixed);
  if (in.switched("pure-bf16") == true) said.say("--pure-bf16", Precision::bf16_true);
  // A trainer that is told not to use bf16, and nothing else, computes in fp32.
  if (!said.value() && in.switched("bf16") == false) said.say("--bf16 false", Precision::fp32);
  give(d.precision, said.value());
  return said.error();
}

std::optional<Error> read_quantization(const Invocation& in, RunDraft& d) {
  Said<Quantization> said;
  if (const auto text = in.value("quant"))
    said.say("--quant " + *text, *draft::by_name<Quantization>(*text, 6));
  if (in.switched("load-in-4bit") == true && said.value() != Quantization::fp4)
    said.say("--load-in-4bit", Quantization::nf4);
  if (in.switched("load-in-8bit") == true) said.say("--load-in-8bit", Quantization::int8);
  if (const auto bits = in.value("quantization-bit")) {
    if (*bits != "4" && *bits != "8")
      return Error{Error::Kind::unknown, "a base of " + *bits + " bits is not modelled",
                   "--quantization-bit", "modelled: 4 and 8"};
    said.say("--quantization-bit " + *bits, *bits == "4" ? Quantization::nf4 : Quantization::int8);
  }
  give(d.quantization, said.value());
  return said.error();
}

std::optional<Error> read_loss(const Invocation& in, RunDraft& d) {
  Said<Loss> said;
  if (const auto text = in.value("loss"))
    said.say("--loss " + *text, *draft::by_name<Loss>(*text, 3));
  if (in.switched("use-liger-kernel") == true) {
    said.say("--use-liger-kernel", Loss::fused);
    // What transformers turns on with it.
    for (auto* kernel : {&d.liger_rope, &d.liger_rms_norm, &d.liger_glu}) give(*kernel, std::optional(true));
  }
  give(d.loss, said.value());
  return said.error();
}

DType dtype_named(std::string_view text) {
  return text == "bf16" ? DType::bf16 : text == "fp16" ? DType::fp16 : DType::fp32;
}

/// "4.49" or "4.49.1"; build tags such as "+cu128" are dropped.
std::optional<Version> parse_version(std::string_view text) {
  text = text.substr(0, text.find('+'));
  int parts[3] = {0, 0, 0};
  for (int& part : parts) {
    const std::string_view digits = text.substr(0, text.find('.'));
    if (digits.empty() || digits.size() > 6) return std::nullopt;
    for (const char c : digits) {
      if (c < '0' || c > '9') return std::nullopt;
      part = part * 10 + (c - '0');
    }
    if (digits.size() == text.size()) return Version{parts[0], parts[1], parts[2]};
    text.remove_prefix(digits.size() + 1);
  }
  return std::nullopt;
}

}  // namespace

Result<RunDraft> read_run(const Invocation& in) {
  RunDraft d;
  if (const auto text = in.value("method")) give(d.method, draft::by_name<Method>(*text, 4));
  if (const auto text = in.value("objective"))
    give(d.objective, draft::by_name<Objective>(*text, 13));
  for (const auto& error :
       {read_numbers(in, d), read_precision(in, d), read_quantization(in, d), read_loss(in, d)})
    if (error) return *error;

  give(d.double_quantizes, in.switched("double-quant"));
  give(d.autocasts, in.switched("autocast"));
  give(d.upcasts_for_kbit, in.switched("kbit-upcast"));
  give(d.is_padded, in.switched("padded"));
  give(d.keeps_outputs, in.switched("keep-outputs"));
  give(d.checkpoints, in.switched("checkpointing"));
  give(d.checkpoints_reentrant, in.switched("reentrant"));
  give(d.offloads_checkpoints, in.switched("offload-checkpoints"));
  give(d.offloads_activations, in.switched("offload-activations"));
  give(d.packs, in.switched("packing"));
  give(d.is_padding_free, in.switched("padding-free"));
  give(d.optimizer_in_backward, in.switched("optimizer-in-backward"));
  for (auto* const kernel : {&d.lora_mlp_kernel, &d.lora_qkv_kernel, &d.lora_o_kernel})
    give(*kernel, in.switched("lora-kernels"));
  give(d.uses_dora, in.switched("dora"));
  give(d.attention, in.value("attention"));
  give(d.optimizer, in.value("optimizer"));
  const auto trainer = read_trainer(in);
  if (!trainer) return trainer.error();
  give(d.trainer, *trainer);
  give(d.zero, in.value("zero"));
  give(d.fsdp, in.value("fsdp"));
  give(d.offload, in.value("offload"));
  if (const auto text = in.value("weights"); text && *text != "auto")
    d.weights = Given<DType>{dtype_named(*text), From::flag};
  if (const auto text = in.value("adapter-dtype"))
    d.adapter = Given<DType>{dtype_named(*text), From::flag};
  if (const auto text = in.value("lora-targets"))
    d.lora_targets = Given<std::vector<std::string>>{listed(*text), From::flag};
  if (const auto text = in.value("modules-to-save"))
    d.modules_to_save = Given<std::vector<std::string>>{listed(*text), From::flag};
  return d;
}

Result<std::optional<TrainerRelease>> read_trainer(const Invocation& in) {
  auto written = in.value("trainer");
  if (!written) return std::optional<TrainerRelease>{};
  for (char& c : *written)
    c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto release = trainer_release(*written);
  if (!release) return release.error();
  return std::optional<TrainerRelease>{*release};
}

Result<Stack> parse_stack(std::string_view text, const Stack& others) {
  const std::string where = "--stack";
  for (const Stack& stack : {kLatest, kLate2025, kEarly2025, kMid2024})
    if (text == stack.name) return stack;
  if (text.find('=') == std::string_view::npos)
    return wrong("unknown stack '" + std::string(text) + "'", where,
                 "known: latest, 2025-09, 2025-02, 2024-06, or versions such as "
                 "torch=2.6,transformers=4.49");

  Stack stack = others;
  stack.name = "custom";
  struct Library {
    std::string_view name;
    Version* version;
    Version oldest;
  };
  // The oldest are those of the oldest stack: before it nothing was checked.
  const Library libraries[] = {{"torch", &stack.torch, kMid2024.torch},
                               {"transformers", &stack.transformers, kMid2024.transformers},
                               {"peft", &stack.peft, kMid2024.peft},
                               {"accelerate", &stack.accelerate, kMid2024.accelerate},
                               {"bitsandbytes", &stack.bitsandbytes, kMid2024.bitsandbytes},
                               {"liger", &stack.liger, kMid2024.liger}};
  for (const std::string& item : listed(text)) {
    const std::string_view name = std::string_view(item).substr(0, item.find('='));
    const Library* library = nullptr;
    std::vector<std::string> names;
    for (const Library& each : libraries) {
      names.emplace_back(each.name);
      if (each.name == name) library = &each;
    }
    if (!library) {
      const auto near = nearest(name, names);
      return wrong("unknown library '" + std::string(name) + "'", where,
                   near.empty() ? "known: torch, transformers, peft, accelerate, bitsandbytes, liger"
                                : "did you mean '" + near[0] + "'?");
    }
    const auto version =
        parse_version(std::string_view(item).substr(std::min(item.size(), name.size() + 1)));
    if (!version)
      return wrong("'" + item + "' names no version", where,
                   "write " + std::string(name) + "=2.6 or =2.6.0");
    if (*version < Version{library->oldest.major, library->oldest.minor, 0})
      return Error{Error::Kind::unknown, "'" + item + "' is not modelled", where,
                   "the oldest is " + std::string(name) + "=" +
                       std::to_string(library->oldest.major) + "." +
                       std::to_string(library->oldest.minor)};
    *library->version = *version;
  }
  return stack;
}

Result<AllocatorSettings> parse_allocator(std::string_view text, std::string_view where) {
  AllocatorSettings settings;
  for (const std::string& item : listed(text)) {
    const std::size_t colon = item.find(':');
    const std::string key = item.substr(0, colon);
    const std::string value = colon == std::string::npos ? "" : item.substr(colon + 1);
    if (key == "expandable_segments" && (value == "True" || value == "False")) {
      settings.expandable_segments = value == "True";
    } else if (key == "max_split_size_mb") {
      const auto size = parse_whole(value, where, 21, 1 << 20);
      if (!size) return size.error();
      settings.max_split_size = Bytes(1024 * 1024) * *size;
    } else if (key == "garbage_collection_threshold") {
      const auto threshold = parse_number(value, where, 0.0, 1.0);
      if (!threshold) return threshold.error();
      settings.garbage_collection_threshold = *threshold;
    } else if (key == "roundup_power2_divisions" ||
               (key == "backend" && value == "cudaMallocAsync")) {
      return Error{
          Error::Kind::unknown, "the allocator's option '" + item + "' is not modelled",
          std::string(where),
          "modelled: expandable_segments, max_split_size_mb, garbage_collection_threshold"};
    } else if (key != "backend" && !key.starts_with("pinned_") &&
               key != "release_lock_on_cudamalloc") {
      return wrong("unknown option '" + item + "'", std::string(where),
                   "write it as PyTorch reads it, such as expandable_segments:True");
    }
  }
  return settings;
}

Result<std::optional<Bytes>> read_size(const Invocation& invocation, std::string_view flag,
                                       Zero zero) {
  const auto text = invocation.value(flag);
  if (!text) return std::optional<Bytes>{};
  const std::string where = "--" + std::string(flag);
  const auto size = parse_bytes(*text, where);
  if (!size) return size.error();
  if (zero == Zero::refused && size->count() == 0)
    return wrong("a size of nothing", where, "write a size such as '24 GiB'");
  return std::optional<Bytes>{*size};
}

}  // namespace qwenplan
