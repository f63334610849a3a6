#include <algorithm>
#include <cmath>
#include <string>

#include "render/render.hpp"

namespace qwenplan {
namespace {

std::string blanks(int count) {
  return std::string(static_cast<std::size_t>(std::max(count, 0)), ' ');
}

std::string padded(const std::string& cell, int width, Column::Align align) {
  const std::string space = blanks(width - display_width(cell));
  return align == Column::Align::right ? space + cell : cell + space;
}

std::string without_trailing_blanks(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

struct Writer {
  const Style& style;
  std::string operator()(const Headline& line) const {
    return paint(wrap(harmless(line.text), style.width), line.tone, style) + "\n";
  }
  std::string operator()(const Paragraph& paragraph) const {
    return paint(wrap(harmless(paragraph.text), style.width, 2), paragraph.tone, style) + "\n";
  }
  std::string operator()(const Verbatim& block) const { return block.text + "\n"; }
  std::string operator()(const Table& table) const { return layout(table, style); }
  std::string operator()(const Bars& bars) const { return layout(bars, style); }
};

}  // namespace

std::string layout(const Table& table, const Style& style) {
  std::vector<int> widths;
  bool has_head = false;
  for (const Column& column : table.columns) {
    widths.push_back(display_width(column.title));
    has_head = has_head || !column.title.empty();
  }
  for (const auto& row : table.rows)
    for (std::size_t i = 0; i < row.size() && i < widths.size(); ++i)
      widths[i] = std::max(widths[i], display_width(harmless(row[i])));

  // A table that is too wide gives up room in its widest columns, down to a word or two.
  constexpr int kNarrowest = 16;
  int excess = -style.width;
  for (const int width : widths) excess += width + 2;
  while (excess > 0) {
    int& widest = *std::max_element(widths.begin(), widths.end());
    if (widest <= kNarrowest) break;
    --widest;
    --excess;
  }

  std::string out;
  const auto add_row = [&](const std::vector<std::string>& cells) {
    std::vector<std::vector<std::string>> lines(std::min(cells.size(), widths.size()));
    std::size_t height = 1;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string wrapped = wrap(harmless(cells[i]), widths[i]);
      for (std::size_t at = 0; at <= wrapped.size();) {
        const std::size_t end = std::min(wrapped.find('\n', at), wrapped.size());
        lines[i].push_back(wrapped.substr(at, end - at));
        at = end + 1;
      }
      height = std::max(height, lines[i].size());
    }
    for (std::size_t y = 0; y < height; ++y) {
      std::string line;
      for (std::size_t i = 0; i < lines.size(); ++i)
        line += "  " +
                padded(y < lines[i].size() ? lines[i][y] : "", widths[i], table.columns[i].align);
      out += without_trailing_blanks(line) + "\n";
    }
  };
  if (has_head) {
    std::vector<std::string> titles;
    for (const Column& column : table.columns) titles.push_back(column.title);
    add_row(titles);
  }
  for (const auto& row : table.rows) add_row(row);
  return out;
}

std::string layout(const Bars& bars, const Style& style) {
  int label_width = 0, amount_width = 0, remark_width = 0;
  double longest = bars.limit.value_or(0);
  for (const Bars::Bar& bar : bars.bars) {
    label_width = std::max(label_width, display_width(bar.label));
    amount_width = std::max(amount_width, display_width(bar.amount));
    remark_width = std::max(remark_width, display_width(bar.remark));
    longest = std::max(longest, bar.value);
  }
  const int room = std::clamp(style.width - label_width - amount_width - remark_width - 8, 10, 40);
  const auto cells = [&](double value) {
    if (longest <= 0 || value <= 0) return 0;
    return std::clamp(static_cast<int>(std::lround(value / longest * room)), 1, room);
  };
  const int limit = bars.limit ? cells(*bars.limit) : -1;
  const std::string full = style.uses_utf8 ? "█" : "#";
  const std::string mark = style.uses_utf8 ? "│" : "|";

  std::string out;
  for (const Bars::Bar& bar : bars.bars) {
    const int length = cells(bar.value);
    std::string picture;
    for (int i = 0; i < room; ++i) {
      if (i == limit) picture += mark;
      picture += i < length ? full : " ";
    }
    if (limit == room) picture += mark;
    if (limit < 0) picture += " ";
    std::string line = "  " + padded(bar.label, label_width, Column::Align::left) + "  " +
                       paint(picture, bar.tone, style) + " " +
                       padded(bar.amount, amount_width, Column::Align::right);
    if (!bar.remark.empty()) line += "  " + bar.remark;
    out += without_trailing_blanks(line) + "\n";
  }
  return out;
}

std::string to_text(const Answer& answer, const Style& style) {
  std::string out;
  for (const Block& block : answer.blocks) {
    if (!out.empty()) out += "\n";
    out += std::visit(Writer{style}, block);
  }
  return out;
}

std::string render(const Answer& answer, Format format, const Style& style) {
  if (answer.raw && format != Format::json) return *answer.raw;
  switch (format) {
    case Format::json:
      return to_json(answer);
    case Format::csv:
      return to_csv(answer);
    case Format::markdown:
      return to_markdown(answer);
    case Format::text:
      break;
  }
  return to_text(answer, style);
}

}  // namespace qwenplan
