#include "read/token_rates.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "read/embedded.hpp"
#include "read/json_text.hpp"

namespace qwenplan {
namespace {

constexpr std::string_view kFile = "tokens.json";

Error wrong(std::string what) {
  return {Error::Kind::wrong, std::move(what), std::string(kFile), "the program was built with a damaged table"};
}

Evidence evidence_named(std::string_view word) {
  for (const Evidence each : {Evidence::exact, Evidence::measured, Evidence::literature, Evidence::assumed})
    if (word == name(each)) return each;
  return Evidence::assumed;
}

Result<TokenRates> read_row(const Json& row) {
  TokenRates rates;
  rates.id = row.value("id", "");
  rates.name = row.value("name", "");
  for (std::size_t i = 0; i < kScripts; ++i) {
    const std::string key(name(static_cast<Script>(i)));
    const Json rate = row.value(key, Json::object());
    const Json range = rate.value("tokens_per_character", Json::array());
    if (range.size() != 3) return wrong(rates.id + " has no " + key);
    rates.rates[i] = {range[0].get<double>(), range[1].get<double>(), range[2].get<double>()};
    rates.evidence[i] = evidence_named(rate.value("evidence", "assumed"));
  }
  return rates;
}

}  // namespace

Result<TokenRates> token_rates(std::int64_t vocabulary) {
  Json first;
  for (const embedded::Row& embedded : embedded::tokens().rows) {
    const auto row = parse_json(embedded.json, std::string(kFile));
    if (!row) return row.error();
    if (first.is_null()) first = *row;
    for (const Json& size : row->value("vocabularies", Json::array()))
      if (size == vocabulary) return read_row(*row);
  }
  auto rates = read_row(first);
  if (!rates) return rates.error();
  rates->name += ", assumed";
  rates->evidence.fill(Evidence::assumed);
  for (auto& each : rates->rates) each.high *= 2;
  return rates;
}

}  // namespace qwenplan
