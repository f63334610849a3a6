#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "qwenplan/base/place.hpp"

namespace qwenplan {

/// What went wrong and what to do about it: the three lines that a user sees.
struct Error {
  enum class Kind {
    wrong,    ///< the question is wrong: exit status 2
    unknown,  ///< it cannot be told here, or is not modelled: exit status 3
  };
  Kind kind = Kind::wrong;
  std::string what;   ///< lower case, no full stop: "unknown gpu 'rtx-3600'"
  std::string where;  ///< flag, file and line, or JSON pointer: "--gpu"
  std::string hint;   ///< what to do: "did you mean 'rtx3060-12g'?"
  Place place = {};   ///< where `where` is a place of a text file
};

/// A value or the reason why there is none. The library does not throw.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit on purpose

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  const T& value() const& { return std::get<0>(state_); }
  T& value() & { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

}  // namespace qwenplan
