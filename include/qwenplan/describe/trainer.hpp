#pragma once

#include <cstdint>
#include <string_view>

namespace qwenplan {

/// The programs that run fine-tuning, by whose defaults one file means different things.
enum class Trainer : std::uint8_t {
  transformers, peft, trl, llama_factory, axolotl, torchtune, ms_swift, unsloth, litgpt,
  deepspeed, accelerate, xtuner, verl, openrlhf
};
inline constexpr int kTrainers = 14;

constexpr std::string_view name(Trainer trainer) {
  constexpr std::string_view names[] = {"transformers", "peft",      "trl",        "llama-factory",
                                        "axolotl",      "torchtune", "ms-swift",   "unsloth",
                                        "litgpt",       "deepspeed", "accelerate", "xtuner",
                                        "verl",         "openrlhf"};
  return names[static_cast<int>(trainer)];
}

}  // namespace qwenplan
