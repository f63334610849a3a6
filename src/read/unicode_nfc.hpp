#pragma once

#include <string>
#include <string_view>

namespace qwenplan {

/// Whether valid UTF-8 text is surely in Unicode's normalization form C already.
bool is_surely_nfc(std::string_view text);

/// Valid UTF-8 text in normalization form C.
std::string to_nfc(std::string_view text);

}  // namespace qwenplan
