#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/invocation.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/emulate/caching_allocator.hpp"
#include "read/tables.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// What a question is about: the model, the card if there is one, the libraries.
struct Subject {
  FoundModel model;
  std::optional<FoundGpu> gpu;
  std::optional<Bytes> vram;  ///< --vram, or what the driver of this machine reports
  Bytes in_use{};             ///< --vram-in-use, or what the driver reports
  Stack stack = kLatest;
  AllocatorSettings allocator;  ///< --alloc-conf, else this shell's PYTORCH_CUDA_ALLOC_CONF
  std::vector<Input> inputs;
  std::vector<std::string> notes;

  const Gpu* card() const { return gpu ? &gpu->gpu : nullptr; }
  /// Without a card, an A100's kernels are taken.
  int compute_capability() const { return gpu ? gpu->gpu.compute_capability : 80; }
  /// The same on one card of the table.
  Subject on(const Gpu& other) const {
    Subject subject = *this;
    subject.gpu = FoundGpu{other, 1, {}, {}};
    return subject;
  }
};

/// Reads --model, --gpu, --vram, --vram-in-use, --stack and --alloc-conf, and asks the driver for
/// `--gpu this`.
Result<Subject> read_subject(const Invocation& invocation, const Tables& tables);

/// One card of a list, `this` among them; several cards at once are refused. Errors stand at `flag`.
Result<FoundGpu> listed_card(const Tables& tables, const std::string& name, const std::string& flag);

/// A stack as --stack takes it.
std::string as_words(const Stack& stack);

/// A setting as a value of `inputs`, and as words: "--seq-len 2048", "--no-padded".
Input as_input(const RunSetting& setting);
std::string as_words(const RunSetting& setting);

}  // namespace qwenplan
