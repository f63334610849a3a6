#include "read/json_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <vector>

namespace qwenplan {
namespace {

constexpr std::size_t kDeepest = 64;

std::string line_of(std::string_view text, std::size_t at) {
  return std::to_string(
      1 + std::count(text.begin(),
                     text.begin() + static_cast<std::ptrdiff_t>(std::min(at, text.size())), '\n'));
}

/// Where the text first goes deeper than allowed; npos if nowhere.
std::size_t too_deep(std::string_view text) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if ((c == '[' || c == '{') && ++depth > kDeepest) {
      return i;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return std::string_view::npos;
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 40) text = text.substr(0, 37) + "...";
  return text;
}

}  // namespace

std::string json_reason(std::string_view message) {
  const std::size_t column = message.find(", column ");
  const std::size_t colon = message.find(": ", column == std::string_view::npos ? 0 : column);
  if (colon != std::string_view::npos) message.remove_prefix(colon + 2);
  std::string text;
  for (const char c : message.substr(0, 160)) text += c >= ' ' && c != '\x7f' ? c : '?';
  return text;
}

Result<Json> parse_json(std::string_view text, const std::string& where) {
  const auto wrong = [&](std::string what, std::size_t at, std::string hint) {
    return Error{Error::Kind::wrong, std::move(what), where + ", line " + line_of(text, at),
                 std::move(hint)};
  };
  if (const std::size_t at = too_deep(text); at != std::string_view::npos)
    return wrong("nested more than " + std::to_string(kDeepest) + " levels deep", at,
                 "is this the right file?");

  std::vector<std::set<std::string>> keys;
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key &&
        !keys.back().insert(parsed.get_ref<const std::string&>()).second && twice.empty())
      twice = shown(parsed);
    return true;
  };
  try {
    Json json = Json::parse(text.begin(), text.end(), watch);
    if (twice.empty()) return json;
    return Error{Error::Kind::wrong, "the key " + twice + " occurs twice in one object", where,
                 "remove one of them"};
  } catch (const Json::parse_error& error) {
    return wrong("not JSON: " + json_reason(error.what()), error.byte == 0 ? 0 : error.byte - 1,
                 "correct the file");
  } catch (const Json::exception& error) {
    return wrong("not JSON: " + json_reason(error.what()), 0, "correct the file");
  }
}

const Json* Fields::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool Fields::has(const char* key) const { return find(key) != nullptr; }

void Fields::fail(Error::Kind kind, std::string what) {
  if (!error_) error_ = Error{kind, std::move(what), where_, "correct the file"};
}

void Fields::expected(const char* key, const std::string& what) {
  const Json* value = find(key);
  fail(Error::Kind::wrong, pointer_ + "/" + key + ": expected " + what + ", found " +
                               (value ? shown(*value) : "nothing"));
}

std::optional<std::int64_t> Fields::whole(const char* key, std::int64_t least, std::int64_t most) {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (value->is_number_integer()) {
    const bool is_huge = value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX;
    const std::int64_t number = is_huge ? INT64_MAX : value->get<std::int64_t>();
    if (number >= least && number <= most) return number;
  }
  expected(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return std::nullopt;
}

std::optional<bool> Fields::boolean(const char* key) {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  expected(key, "true or false");
  return std::nullopt;
}

std::optional<std::string> Fields::text(const char* key) {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  expected(key, "text");
  return std::nullopt;
}

std::optional<double> Fields::measure(const char* key, std::initializer_list<Unit> units,
                                      const char* example) {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (value->is_string()) {
    const std::string& text = value->get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    const std::size_t point = std::min(text.find('.'), space);
    const auto unit = std::find_if(units.begin(), units.end(), [&](const Unit& known) {
      return space != std::string::npos && std::string_view(text).substr(space + 1) == known.name;
    });
    // A decimal is read as a whole number over a power of ten, which no locale can change.
    std::string digits = text.substr(0, point);
    if (point < space && space != std::string::npos)
      digits += text.substr(point + 1, space - point - 1);
    std::int64_t number = 0;
    const auto [end, failed] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const bool is_number = !digits.empty() && digits[0] != '-' && digits.size() <= 15 &&
                           failed == std::errc() && end == digits.data() + digits.size();
    if (unit != units.end() && is_number)
      return static_cast<double>(number) * unit->factor /
             std::pow(10.0, static_cast<double>(digits.size() - point));
  }
  expected(key, std::string("a value such as \"") + example + "\"");
  return std::nullopt;
}

}  // namespace qwenplan
