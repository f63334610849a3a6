#pragma once

#include <optional>
#include <string_view>

#include "cli/invocation.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/describe/stack.hpp"
#include "qwenplan/emulate/caching_allocator.hpp"

namespace qwenplan {

/// The run that the flags describe, trainers' spellings included. Flags that contradict each other
/// are an error; what is possible is for `validated` to say.
Result<RunDraft> read_run(const Invocation& invocation);

/// The trainer of --trainer, as trl or trl@0.21; nothing without the flag.
Result<std::optional<TrainerRelease>> read_trainer(const Invocation& invocation);

/// The libraries of --stack: "latest", "2025-09", "2025-02", "2024-06", or versions that replace
/// those of `others`: "torch=2.6,transformers=4.49". Older ones than those of 2024-06 are an
/// error of kind unknown.
Result<Stack> parse_stack(std::string_view text, const Stack& others = kLatest);

/// The options of PyTorch's allocator, as PYTORCH_CUDA_ALLOC_CONF has them. Options that do not
/// change which memory is reserved are passed over; others that are not modelled are an error of
/// kind unknown.
Result<AllocatorSettings> parse_allocator(std::string_view text, std::string_view where);

/// The size given for a flag such as --vram, or nothing. Zero is refused unless `zero` is allowed.
enum class Zero : unsigned char { refused, allowed };
Result<std::optional<Bytes>> read_size(const Invocation& invocation, std::string_view flag,
                                       Zero zero);

}  // namespace qwenplan
