#pragma once

#include <utility>

#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/describe/trainer_defaults.hpp"

namespace qwenplan {

/// Decides every setting of a run: what a flag or a file gave, else the default of the trainer that
/// the draft names, else that of transformers with PEFT on this stack and GPU (without one, an
/// A100). Errors: `wrong` for what is impossible or out of range, `unknown` for what is possible
/// but not modelled, named.
inline Result<ValidRun> validated(RunDraft draft, const Model& model, const Stack& stack,
                                  const Gpu* gpu) {
  if (draft.trainer) fill_defaults(draft.trainer->value, model, gpu, draft);
  return decided(draft, model, stack, gpu);
}

}  // namespace qwenplan
