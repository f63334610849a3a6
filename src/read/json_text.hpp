#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "qwenplan/base/result.hpp"

namespace qwenplan {

using Json = nlohmann::ordered_json;

/// A unit as a table writes it, and how many of the base unit it is.
struct Unit {
  std::string_view name;
  double factor = 1;
};

/// The reason in a message of nlohmann's, without its own code and position.
std::string json_reason(std::string_view message);

/// Parses JSON from outside. Beyond what JSON forbids, it refuses a key that occurs twice in an
/// object and more than 64 levels. `where` names the file; the error adds the line.
Result<Json> parse_json(std::string_view text, const std::string& where);

/// Reads the members of one object and keeps the first thing that is wrong with them, so that a
/// reader asks for all its members and then looks once. A member that is missing or null is none.
class Fields {
 public:
  /// `pointer` is the path of the object in its file, such as "/gpus/0", empty for the whole file.
  Fields(const Json& object, std::string where, std::string pointer = {})
      : object_(object), where_(std::move(where)), pointer_(std::move(pointer)) {}

  bool has(const char* key) const;  ///< present and not null
  std::optional<std::int64_t> whole(const char* key, std::int64_t least, std::int64_t most);
  std::optional<bool> boolean(const char* key);
  std::optional<std::string> text(const char* key);
  /// A number with its unit: {"GB/s", 1e9} reads "360 GB/s" as 3.6e11. `example` is for the error.
  std::optional<double> measure(const char* key, std::initializer_list<Unit> units,
                                const char* example);

  /// Notes that a member is not what was expected.
  void expected(const char* key, const std::string& what);
  void fail(Error::Kind kind, std::string what);
  const std::optional<Error>& error() const { return error_; }

 private:
  const Json* find(const char* key) const;

  const Json& object_;
  std::string where_;
  std::string pointer_;
  std::optional<Error> error_;
};

}  // namespace qwenplan
