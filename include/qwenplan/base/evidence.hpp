#pragma once

#include <string_view>

namespace qwenplan {

/// How a number came to be known, strongest first. Combining two keeps the weaker.
enum class Evidence {
  exact,       ///< follows from the model's shape
  emulated,    ///< counted by running the step's code on shapes, checked against PyTorch's own count
  measured,    ///< read from a published or own measurement
  vendor,      ///< from a data sheet
  literature,  ///< from a paper or a public table
  fitted,      ///< a coefficient fitted to measurements
  assumed      ///< nobody has checked it, and the answer says so
};

constexpr Evidence weaker(Evidence a, Evidence b) { return a < b ? b : a; }

constexpr std::string_view name(Evidence evidence) {
  switch (evidence) {
    case Evidence::exact: return "exact";
    case Evidence::emulated: return "emulated";
    case Evidence::measured: return "measured";
    case Evidence::vendor: return "vendor";
    case Evidence::literature: return "literature";
    case Evidence::fitted: return "fitted";
    case Evidence::assumed: return "assumed";
  }
  return "assumed";
}

}  // namespace qwenplan
