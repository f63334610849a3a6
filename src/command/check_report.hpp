#pragma once

#include <string>
#include <vector>

#include "command/checking.hpp"
#include "render/answer.hpp"

namespace qwenplan {

/// A file as an item of `files[]`.
Value checked_json(const CheckedFile& file);
/// A row for each finding, and one for a file without any.
Value checked_rows(const std::vector<CheckedFile>& files);
/// What a person reads: each file with its findings, as lines or in a table, and a count at the end.
void show_checked(const std::vector<CheckedFile>& files, bool has_tables, Answer& answer);

/// SARIF 2.1.0 with what GitHub's code scanning asks for. Ignored findings are suppressed results.
std::string sarif_report(const std::vector<CheckedFile>& files);
/// JUnit's XML: a test case for each file; a no is a failure, an invalid file an error, and what
/// cannot be told is skipped.
std::string junit_report(const std::vector<CheckedFile>& files);
/// Workflow commands of GitHub's runner, which it shows as annotations.
std::string github_report(const std::vector<CheckedFile>& files);

}  // namespace qwenplan
