#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwenplan::test {

/// One line of a table, by the names of its columns.
class CsvRow {
 public:
  using Header = std::map<std::string, std::size_t, std::less<>>;
  CsvRow(std::shared_ptr<const Header> header, std::vector<std::string> cells)
      : header_(std::move(header)), cells_(std::move(cells)) {}

  bool has(std::string_view column) const { return header_->find(column) != header_->end(); }
  /// Empty where the table has no such column.
  std::string text(std::string_view column) const {
    const auto at = header_->find(column);
    return at == header_->end() || at->second >= cells_.size() ? std::string() : cells_[at->second];
  }
  /// 0 where the cell is empty.
  std::int64_t integer(std::string_view column) const { return std::atoll(text(column).c_str()); }
  double real(std::string_view column) const { return std::atof(text(column).c_str()); }

 private:
  std::shared_ptr<const Header> header_;
  std::vector<std::string> cells_;
};

/// The rows of a table with a header line. No cell of the reference tables holds a comma or a
/// quote.
inline std::vector<CsvRow> read_csv(const std::string& path) {
  std::vector<CsvRow> rows;
  std::ifstream file(path);
  std::shared_ptr<CsvRow::Header> header;
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> cells(1);
    for (const char c : line) {
      if (c == ',')
        cells.emplace_back();
      else
        cells.back().push_back(c);
    }
    if (header) {
      rows.emplace_back(header, std::move(cells));
      continue;
    }
    header = std::make_shared<CsvRow::Header>();
    for (std::size_t i = 0; i < cells.size(); ++i) header->emplace(cells[i], i);
  }
  return rows;
}

}  // namespace qwenplan::test
