#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

#ifdef QWENPLAN_WRONG
auto sum = 4_GiB + Tokens(2);
#else
auto sum = 4_GiB + 2_MiB;
#endif
