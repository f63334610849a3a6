#pragma once

#include <cstdint>
#include <string>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"

namespace qwenplan {

// The only place that rounds. Every text has its unit.

std::string text(Bytes bytes);                 ///< "11.7 GiB", "812 MiB", "-1.5 GiB"
std::string text(const Range<Bytes>& bytes);   ///< "13.1 GiB (12.2 to 14.0)"; "13.1 GiB" if known
std::string grouped(std::int64_t count);       ///< "7,615,616,512"
std::string short_count(std::int64_t count);   ///< "7.62 B", "40.4 M"
std::string text_duration(double seconds);     ///< "3 h 20 min", "45 s"
std::string text_usd(double dollars);          ///< "$4.10"
std::string text_percent(double fraction);     ///< 0.123 as "12.3 %"
std::string fixed(double number, int digits);  ///< "2.50"
std::string plain(double number);              ///< the shortest that reads back the same

}  // namespace qwenplan
