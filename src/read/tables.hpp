#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/gpu.hpp"
#include "qwenplan/describe/model.hpp"
#include "read/embedded.hpp"

namespace qwenplan {

/// A model by one of its names, and how the name was read.
struct FoundModel {
  Model model;                           ///< shape; counts that nobody knows are 0
  std::optional<Params> parameters;      ///< total that the table states; none for a file
  Evidence evidence = Evidence::vendor;  ///< of the shape; a file's is exact
  bool is_file = false;                  ///< read from a config.json, not from the table
  std::string reading;  ///< "'7b' is taken as qwen2.5-7b" where the name left a choice; else empty
  std::vector<std::string> also;  ///< ids of the rows that it could have meant besides
  std::string asked = {};         ///< the name that found the row
  std::int64_t instruct_positions = 0;  ///< of the instruct checkpoint where it has others; 0: the same
};

/// A GPU by one of its names, and how the name was read.
struct FoundGpu {
  Gpu gpu;
  std::int64_t count = 1;  ///< 2 in "2x rtx4090"
  std::string reading;     ///< "'rtx3060' is taken as rtx3060-12g" where the name left a choice
  std::vector<std::string> also;  ///< ids of other variants of that name: other sizes, laptops
};

/// The tables of GPUs and models in the program, under the user's overlay. Rows are parsed when
/// asked for, so that one question does not pay for the whole table.
class Tables {
 public:
  enum class Kind : std::uint8_t { gpus, models, sources, prices, machines, measurements, calibration };

  /// `overlay` is a folder with gpus.json or models.json of the same schema; empty: none. A row of
  /// it replaces the embedded row of its id field by field; a new id is a new row.
  static Result<Tables> open(const std::string& overlay = {});

  /// By id, name on the Hub (any case, with or without -Instruct, -Base, -Chat), alias, size alone
  /// ("7b"), or the path of a config.json or its folder.
  Result<FoundModel> model(std::string_view name) const;

  /// By id, unique prefix, alias or the driver's name ("NVIDIA GeForce RTX 3060"), after an
  /// optional "2x". `reported` is the memory that the driver states: it decides between variants of
  /// one name, and a card whose variants are all of another size is unknown.
  Result<FoundGpu> gpu(std::string_view name, std::optional<Bytes> reported = {}) const;

  /// Ids in the order of the table, new ones of the overlay last.
  std::vector<std::string> ids(Kind kind) const;

  /// A row as one line of JSON, overlay applied, by its exact id.
  Result<std::string> row(Kind kind, std::string_view id) const;

  /// The day of the oldest table: "2026-11-23".
  std::string as_of() const;

  /// What the overlay changed: "gpus/rtx3060-12g".
  const std::vector<std::string>& overridden() const;

 private:
  struct Overlay;
  struct Known;
  Tables();
  std::span<const embedded::Row> rows(Kind kind) const;
  Result<FoundModel> find_model(std::string_view name) const;
  Result<FoundGpu> find_gpu(std::string_view name, std::optional<Bytes> reported) const;

  std::shared_ptr<const Overlay> overlay_;  ///< null without one
  std::shared_ptr<Known> known_;            ///< rows found before, by the names that found them
};

}  // namespace qwenplan
