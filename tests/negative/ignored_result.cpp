#include "qwenplan/base/result.hpp"

using namespace qwenplan;

Result<int> answer();

#ifdef QWENPLAN_WRONG
#pragma GCC diagnostic error "-Wunused-result"
void ask() { answer(); }
#else
bool ask() { return answer().ok(); }
#endif
