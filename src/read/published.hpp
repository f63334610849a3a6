#pragma once

#include <optional>
#include <string>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/result.hpp"
#include "read/plan_file.hpp"
#include "read/tables.hpp"

namespace qwenplan {

/// A run that somebody measured and published: a row of measurements.json.
struct PublishedRun {
  std::string id;
  std::string source;  ///< key of sources.json
  std::string repository;
  std::string path;
  std::string commit;
  std::string sitting;  ///< shared by the runs of one machine and software: else the file of `path`
  NamedSettings run;    ///< by the names of the flags
  std::optional<Bytes> allocated;
  std::optional<Bytes> reserved;
  std::optional<Bytes> device;
  std::optional<double> rate;  ///< tokens a second, padding included unless `inferred` says otherwise
  std::string inferred;  ///< what the source does not say, and what is taken instead; else empty
};

/// Every row, overlay applied, in the order of the table. Errors are of kind wrong, which only an
/// overlay can have.
Result<std::vector<PublishedRun>> read_published_runs(const Tables& tables);

}  // namespace qwenplan
