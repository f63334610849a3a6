#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

#ifdef QWENPLAN_WRONG
auto area = 4_GiB * 4_GiB;
#else
auto area = 4_GiB * 2;
#endif
