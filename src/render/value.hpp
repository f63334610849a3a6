#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"

namespace qwenplan {

/// A tree of values that keeps its order: what JSON is written from. Null means not known.
class Value {
 public:
  using Member = std::pair<std::string, Value>;
  using List = std::vector<Value>;
  using Object = std::vector<Member>;
  using Data = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, List, Object>;

  Value() = default;
  Value(std::nullptr_t) {}
  Value(bool is) : data_(is) {}
  template <std::integral Integer>
  Value(Integer number) : data_(static_cast<std::int64_t>(number)) {}
  Value(double number) : data_(number) {}
  Value(std::string text) : data_(std::move(text)) {}
  Value(std::string_view text) : data_(std::string(text)) {}
  Value(const char* text) : data_(std::string(text)) {}
  template <class Tag>
  Value(Quantity<Tag> quantity) : data_(quantity.count()) {}
  template <class T>
  Value(const Range<T>& range)
      : data_(Object{{"low", range.low}, {"likely", range.likely}, {"high", range.high}}) {}
  template <class T>
  Value(const std::optional<T>& value) {
    if (value) *this = Value(*value);
  }

  static Value object(std::initializer_list<Member> members = {}) {
    Value value;
    value.data_ = Object(members);
    return value;
  }
  static Value list(List items = {}) {
    Value value;
    value.data_ = std::move(items);
    return value;
  }

  /// Adds a member to an object, behind the ones that it has; returns the new member.
  Value& set(std::string key, Value value) {
    Object& members = std::get<Object>(data_);
    members.emplace_back(std::move(key), std::move(value));
    return members.back().second;
  }
  /// Adds an item to a list and returns it.
  Value& push(Value value) {
    List& items = std::get<List>(data_);
    items.push_back(std::move(value));
    return items.back();
  }
  /// The member of an object, or nothing.
  const Value* find(std::string_view key) const {
    if (const Object* members = std::get_if<Object>(&data_))
      for (const Member& member : *members)
        if (member.first == key) return &member.second;
    return nullptr;
  }

  const Data& data() const { return data_; }
  const List* as_list() const { return std::get_if<List>(&data_); }
  const Object* as_object() const { return std::get_if<Object>(&data_); }
  bool is_leaf() const { return as_list() == nullptr && as_object() == nullptr; }

 private:
  Data data_ = nullptr;
};

}  // namespace qwenplan
