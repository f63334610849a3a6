#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

#ifdef QWENPLAN_WRONG
auto sum = 4_GiB + 5;
#else
auto sum = 4_GiB + Bytes(5);
#endif
