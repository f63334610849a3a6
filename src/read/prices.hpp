#pragma once

#include <string_view>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/price.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// Every offer of prices.json, overlay applied, in the order of the table.
Result<std::vector<Offer>> read_offers(const Tables& tables);

/// Every machine of machines.json, overlay applied.
Result<std::vector<Machine>> read_machines(const Tables& tables);

/// The machine by its id, name or alias; case and '-', '_' and blanks do not matter. Nothing if none
/// has it.
Result<const Machine*> machine_named(const Tables& tables, const std::vector<Machine>& machines,
                                     std::string_view name);

}  // namespace qwenplan
