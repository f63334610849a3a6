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

/// Without regard to the case of `text`; `start` is in small letters.
bool begins_with(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && std::equal(start.begin(), start.end(), text.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
         });
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

Result<TokenRates> token_rates(const Model& model) {
  const bool is_path = model.id.find('/') != std::string::npos;
  for (const embedded::Row& embedded : embedded::tokens().rows) {
    const auto row = parse_json(embedded.json, std::string(kFile));
    if (!row) return row.error();
    const Json sizes = row->value("vocabularies", Json::array());
    if (std::find(sizes.begin(), sizes.end(), Json(model.vocabulary)) == sizes.end()) continue;
    // Models of other families have vocabularies of the same size.
    Json names = row->value("aliases", Json::array());
    names.push_back(row->value("id", ""));
    for (const Json& name : names)
      if ((!is_path && begins_with(model.id, name.get<std::string>())) ||
          begins_with(model.architecture_name, name.get<std::string>()))
        return read_row(*row);
  }
  return Error{Error::Kind::unknown, "how the tokenizer of " + model.id + " cuts text is not known", "--model",
               "give --tokenizer FILE, the tokenizer.json beside its config.json"};
}

Result<TokenRates> usual_token_rates() {
  const auto row = parse_json(embedded::tokens().rows.front().json, std::string(kFile));
  return row ? read_row(*row) : row.error();
}

}  // namespace qwenplan
