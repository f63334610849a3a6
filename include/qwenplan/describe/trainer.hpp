#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/nearest.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/stack.hpp"

namespace qwenplan {

/// The programs that run fine-tuning, by whose defaults one file means different things.
enum class Trainer : std::uint8_t {
  transformers, peft, trl, llama_factory, axolotl, torchtune, ms_swift, unsloth, litgpt,
  deepspeed, accelerate, xtuner, verl, openrlhf
};
inline constexpr int kTrainers = 14;
/// Of these the defaults are known: the ones before deepspeed.
inline constexpr int kTrainersWithDefaults = 9;

constexpr std::string_view name(Trainer trainer) {
  constexpr std::string_view names[] = {"transformers", "peft",      "trl",        "llama-factory",
                                        "axolotl",      "torchtune", "ms-swift",   "unsloth",
                                        "litgpt",       "deepspeed", "accelerate", "xtuner",
                                        "verl",         "openrlhf"};
  return names[static_cast<int>(trainer)];
}

/// The version of a trainer whose defaults are taken where nobody names one: the latest that is known.
constexpr Version latest_version(Trainer trainer) {
  constexpr Version versions[] = {{5, 24, 0},    {0, 21, 2}, {1, 16, 0}, {0, 9, 5},  {0, 19, 0},
                                  {0, 7, 0},     {4, 6, 0},  {2026, 10, 9}, {0, 5, 13}, {0, 19, 6},
                                  {1, 15, 0},    {0, 2, 0},  {0, 8, 0},  {0, 11, 0}};
  return versions[static_cast<int>(trainer)];
}

/// The oldest one: its libraries are those of mid 2024, and before them nothing was checked.
constexpr Version oldest_version(Trainer trainer) {
  constexpr Version versions[] = {{4, 41, 0}, {0, 11, 0}, {0, 9, 0},    {0, 8, 0}, {0, 4, 1},
                                  {0, 1, 1},  {2, 1, 0},  {2024, 6, 0}, {0, 4, 0}, {},
                                  {},         {},         {},           {}};
  return versions[static_cast<int>(trainer)];
}

/// A trainer in one version: its defaults and habits are those of that day.
struct TrainerRelease {
  Trainer trainer = Trainer::transformers;
  Version version{};
};

inline std::string text(const Version& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
         std::to_string(version.patch);
}

/// "trl 1.10.0".
inline std::string text(const TrainerRelease& release) {
  return std::string(name(release.trainer)) + " " + text(release.version);
}

/// "0.9.4", "v0.9.4.dev0", "1.10": what is no number ends it. Nothing if it does not begin with one.
constexpr std::optional<Version> version_of(std::string_view text) {
  int parts[3] = {0, 0, 0};
  if (text.starts_with('v')) text.remove_prefix(1);
  bool is_first = true;
  for (int& part : parts) {
    std::size_t digits = 0;
    for (; digits < text.size() && digits < 6 && text[digits] >= '0' && text[digits] <= '9';
         ++digits)
      part = part * 10 + (text[digits] - '0');
    if (digits == 0 && is_first) return std::nullopt;
    is_first = false;
    if (digits == 0 || digits == text.size() || text[digits] != '.') break;
    text.remove_prefix(digits + 1);
  }
  return Version{parts[0], parts[1], parts[2]};
}

/// NAME or NAME@VERSION; without a version, the latest that is known. Later ones than that, and
/// names of nobody, are `wrong`; what is older than anything that was checked is `unknown`.
inline Result<TrainerRelease> trainer_release(std::string_view written) {
  const std::string where = "--trainer";
  const std::size_t at = written.find('@');
  const std::string wanted(written.substr(0, at));
  std::optional<Trainer> trainer;
  std::vector<std::string> names;
  for (int i = 0; i < kTrainers; ++i) {
    const auto each = static_cast<Trainer>(i);
    names.emplace_back(name(each));
    if (name(each) == wanted) trainer = each;
  }
  if (wanted == "hf") trainer = Trainer::transformers;
  if (wanted == "llamafactory") trainer = Trainer::llama_factory;
  if (wanted == "swift") trainer = Trainer::ms_swift;
  if (!trainer) {
    const auto near = nearest(wanted, names);
    std::string known;
    for (int i = 0; i < kTrainersWithDefaults; ++i)
      known += (i > 0 ? ", " : "") + names[static_cast<std::size_t>(i)];
    return Error{Error::Kind::wrong, "no trainer is called '" + wanted + "'", where,
                 near.empty() ? "known: " + known : "did you mean '" + near[0] + "'?"};
  }
  const Version latest = latest_version(*trainer);
  if (at == std::string_view::npos) return TrainerRelease{*trainer, latest};
  const std::string after(written.substr(at + 1));
  const auto version = version_of(after);
  if (!version || Version{version->major, version->minor, 0} > Version{latest.major, latest.minor, 0})
    return Error{Error::Kind::wrong, "no version '" + after + "' of " + std::string(name(*trainer)) +
                 " is known", where, "the latest that is known is " + text(latest)};
  if (*version < oldest_version(*trainer))
    return Error{Error::Kind::unknown, text(TrainerRelease{*trainer, *version}) + " is not modelled",
                 where, "the oldest is " + text(oldest_version(*trainer))};
  return TrainerRelease{*trainer, *version};
}

}  // namespace qwenplan
