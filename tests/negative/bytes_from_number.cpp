#include "qwenplan/base/literals.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"

using namespace qwenplan;
using namespace qwenplan::literals;

#ifdef QWENPLAN_WRONG
Bytes size = 5;
#else
Bytes size{5};
#endif
