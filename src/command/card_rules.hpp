#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "command/planning.hpp"
#include "qwenplan/describe/model.hpp"
#include "read/trainer/train_file.hpp"

namespace qwenplan {

/// What a card makes of a run, whichever file it stands in. `flag` is the setting that it is about.
struct CardRule {
  RuleId rule;
  std::string_view flag;
  std::string message;
  std::string fix;

  /// The finding at the place where a file has that setting.
  Finding finding_in(const RunDraft& draft) const;
};

/// Where a file has the setting of a flag such as --seq-len; no place if the file does not say it.
Place place_of_flag(std::string_view flag, const RunDraft& draft);

/// Settings that waste a card on which the run fits. Each is emulated without the waste.
std::vector<CardRule> card_rules(const Setup& setup, const Plan& plan,
                                 const AllocatorSettings& allocator);

/// Whether it fits, with the change that helps most.
void add_memory_rule(Trainer trainer, const std::string& headline, const std::vector<Advice>& advice,
                     const Plan& plan, std::vector<Finding>& findings);

/// What the trainer puts in for a missing length or batch, and who decides how many GPUs there are.
/// `draft` has the trainer's defaults.
void add_default_rules(const TrainFile& file, const RunDraft& draft, const Model& model,
                       std::vector<Finding>& findings);

/// What a complete run is, beside its memory: defaults, formats, lengths, evaluations.
void add_run_rules(const std::string& trainer, const std::string& version, const Plan& plan,
                   const Model& model, std::vector<Finding>& findings);

/// "13.1 GiB"
std::string text_of_need(const Plan& plan);

}  // namespace qwenplan
