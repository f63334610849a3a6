#include "command/subject.hpp"

#include <utility>
#include <variant>

#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "probe/nvml.hpp"
#include "qwenplan/describe/trainer_stack.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

/// The first card of this machine, found in the table by the driver's name for it.
Result<FoundGpu> this_card(const Tables& tables, Subject& subject) {
  const auto driver = probe_driver();
  if (!driver) return driver.error();
  const LiveGpu& live = driver->gpus.front();
  auto found = tables.gpu(live.name, live.total);
  if (!found)
    return Error{
        Error::Kind::unknown, "the table does not know this card, '" + live.name + "'",
        "--gpu this",
        "name its nearest kin with --gpu, and --vram " + std::to_string(live.total.count()) + "B"};
  if (driver->gpus.size() > 1)
    subject.notes.push_back("this machine has " + std::to_string(driver->gpus.size()) +
                            " GPUs; the answer is for the first, " + live.name);
  subject.vram = live.total;
  subject.in_use = live.used;
  return found;
}

Error no_memory(std::string where) {
  return {Error::Kind::wrong, "more is in use than there is", std::move(where),
          "--vram-in-use must be less than the GPU's memory"};
}

}  // namespace

Result<FoundGpu> listed_card(const Tables& tables, const std::string& name, const std::string& flag) {
  Subject unused;
  auto found = folded(name) == "this" ? this_card(tables, unused) : tables.gpu(name);
  if (!found) {
    Error error = found.error();
    if (error.where == "--gpu") error.where = flag;
    return error;
  }
  if (found->count > 1)
    return Error{Error::Kind::unknown, "a run on several GPUs is not modelled", flag + " " + name, "name one card"};
  return found;
}

Result<Subject> read_subject(const Invocation& in, const Tables& tables) {
  Subject subject;
  if (!in.data_directory.empty()) {
    subject.inputs.push_back({"data", Value(in.data_directory), in.data_from});
    std::string rows;
    for (const std::string& row : tables.overridden()) (rows += rows.empty() ? "" : ", ") += row;
    if (!rows.empty())
      subject.notes.push_back(in.data_directory + " stands over the tables: " + rows);
  }
  const auto name = in.value("model");
  if (!name)
    return Error{Error::Kind::wrong, "no model is given", "--model",
                 "such as --model 7b, --model Qwen/Qwen2.5-7B-Instruct, or a config.json"};
  auto model = tables.model(*name);
  if (!model) return model.error();
  subject.model = std::move(*model);
  subject.inputs.push_back({"model", Value(subject.model.model.id), "flag"});
  if (!subject.model.reading.empty()) {
    std::string note = subject.model.reading;
    for (std::size_t i = 0; i < subject.model.also.size() && i < 3; ++i)
      note += (i == 0 ? "; it could also be " : ", ") + subject.model.also[i];
    subject.notes.push_back(std::move(note));
  }

  if (const auto gpu = in.value("gpu")) {
    auto found = folded(*gpu) == "this" ? this_card(tables, subject) : tables.gpu(*gpu);
    if (!found) return found.error();
    subject.gpu = std::move(*found);
    subject.inputs.push_back({"gpu", Value(subject.gpu->gpu.id), "flag"});
    if (!subject.gpu->reading.empty()) subject.notes.push_back(subject.gpu->reading);
  }

  const auto vram = read_size(in, "vram", Zero::refused);
  if (!vram) return vram.error();
  if (*vram) {
    subject.vram = **vram;
    subject.inputs.push_back({"vram_bytes", Value(**vram), "flag"});
  }
  const auto in_use = read_size(in, "vram-in-use", Zero::allowed);
  if (!in_use) return in_use.error();
  if (*in_use) {
    subject.in_use = **in_use;
    subject.inputs.push_back({"vram_in_use_bytes", Value(**in_use), "flag"});
  }
  if (*in_use && !subject.vram && !subject.gpu)
    return Error{Error::Kind::wrong, "memory is in use of a GPU that is not named", "--vram-in-use",
                 "name it with --gpu, or its size with --vram"};
  const std::optional<Bytes> capacity = subject.vram  ? subject.vram
                                        : subject.gpu ? std::optional(subject.gpu->gpu.memory.value)
                                                      : std::nullopt;
  if (capacity && subject.in_use >= *capacity) return no_memory("--vram-in-use");

  const auto trainer = read_trainer(in);
  if (!trainer) return trainer.error();
  if (*trainer) subject.stack = stack_of(**trainer);
  const auto wanted = in.value("stack");
  if (wanted) {
    const auto stack = parse_stack(*wanted, subject.stack);
    if (!stack) return stack.error();
    subject.stack = *stack;
  }
  subject.inputs.push_back({"stack", Value(wanted.value_or(as_words(subject.stack))),
                            wanted     ? "flag"
                            : *trainer ? "trainer"
                                       : "default"});

  const auto options = in.value("alloc-conf");
  const std::string& text = options ? *options : in.environment.allocator_options;
  if (!text.empty()) {
    const auto allocator =
        parse_allocator(text, options ? "--alloc-conf" : "PYTORCH_CUDA_ALLOC_CONF");
    if (!allocator) return allocator.error();
    subject.allocator = *allocator;
    subject.inputs.push_back({"alloc-conf", Value(text), options ? "flag" : "env"});
  }
  return subject;
}

std::string as_words(const Stack& stack) {
  if (stack.name != "custom") return std::string(stack.name);
  return "torch=" + text(stack.torch) + ",transformers=" + text(stack.transformers) +
         ",peft=" + text(stack.peft) + ",accelerate=" + text(stack.accelerate) +
         ",bitsandbytes=" + text(stack.bitsandbytes);
}

Input as_input(const RunSetting& setting) {
  return {std::string(setting.flag),
          std::visit([](const auto& value) { return Value(value); }, setting.value),
          name(setting.from)};
}

std::string as_words(const RunSetting& setting) {
  struct Writer {
    std::string flag;
    std::string operator()(bool is) const { return is ? "--" + flag : "--no-" + flag; }
    std::string operator()(std::int64_t number) const {
      return "--" + flag + " " + std::to_string(number);
    }
    std::string operator()(double number) const { return "--" + flag + " " + plain(number); }
    std::string operator()(const std::string& text) const { return "--" + flag + " " + text; }
  };
  return std::visit(Writer{std::string(setting.flag)}, setting.value);
}

}  // namespace qwenplan
