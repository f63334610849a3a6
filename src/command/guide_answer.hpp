#pragma once

#include <concepts>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/invocation.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// A result of the guide's functions as JSON has it: the guide's keys in the guide's order.
template <class T>
Value guide_value(const T& result);

namespace detail {

template <class T>
Value guide_leaf(const std::vector<T>& items) {
  Value list = Value::list();
  for (const T& item : items) list.push(guide_value(item));
  return list;
}
template <class T>
Value guide_leaf(const std::vector<std::pair<std::string, T>>& dict) {
  Value object = Value::object();
  for (const auto& [key, item] : dict) object.set(key, guide_value(item));
  return object;
}

}  // namespace detail

template <class T>
Value guide_value(const T& result) {
  if constexpr (std::convertible_to<const T&, Value>) {
    return Value(result);
  } else if constexpr (requires { detail::guide_leaf(result); }) {
    return detail::guide_leaf(result);
  } else {
    Value object = Value::object();
    for_each_field(result, [&](std::string_view key, const auto& item) {
      object.set(std::string(key), guide_value(item));
    });
    return object;
  }
}

/// An answer with the guide's own arithmetic: `guide`, `differs`, and both as text. `results` are
/// the guide's functions by name, or "rows" with a table of it.
Answer guide_answer(std::string schema, std::vector<std::pair<std::string, Value>> results,
                    std::initializer_list<guide::GuideSystem> systems);

/// A table of the guide as rows: one object for each, with the headings as keys.
Value guide_rows(const guide::Table& table);

/// An answer that is a table of the guide.
Answer guide_table(std::string schema, const guide::Table& table,
                   std::initializer_list<guide::GuideSystem> systems);

}  // namespace qwenplan
