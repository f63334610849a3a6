#pragma once

/// The arithmetic and the tables of the guide "Hardware Requirements for Arabic Qwen Fine-tuning",
/// kept as they are for comparison, and where they are wrong. Functions have the guide's names and
/// results its keys: `for_each_field(result, visit)` calls `visit(key, value)` for each in the
/// guide's order; a value is a bool, int64, double, string, vector, Dict or again such a result.
/// Doubles agree with CPython to 3.11 to the last bit on machines that round each double operation
/// (not x87); no formula here needs -ffp-contract=off.
#include "qwenplan/estimate/guide/cost.hpp"
#include "qwenplan/estimate/guide/differs.hpp"
#include "qwenplan/estimate/guide/host.hpp"
#include "qwenplan/estimate/guide/memory.hpp"
#include "qwenplan/estimate/guide/tables.hpp"
