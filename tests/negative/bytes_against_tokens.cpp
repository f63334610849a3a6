#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

#ifdef QWENPLAN_WRONG
bool is = 4_GiB < Tokens(5);
#else
bool is = 4_GiB < 5_GiB;
#endif
