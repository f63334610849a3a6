#include <string>

#include "render/render.hpp"

namespace qwenplan {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : harmless(text)) {
    if (c == '|' || c == '*' || c == '_' || c == '`' || c == '<' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string row(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const std::string& cell : cells) out += " " + escaped(cell) + " |";
  return out + "\n";
}

struct Writer {
  std::string operator()(const Headline& line) const { return "**" + escaped(line.text) + "**\n"; }
  std::string operator()(const Paragraph& paragraph) const {
    return escaped(paragraph.text) + "\n";
  }
  std::string operator()(const Verbatim& block) const { return "```\n" + block.text + "\n```\n"; }
  std::string operator()(const Table& table) const {
    std::vector<std::string> titles;
    std::string rule = "|";
    for (const Column& column : table.columns) {
      titles.push_back(column.title);
      rule += column.align == Column::Align::right ? " ---: |" : " --- |";
    }
    std::string out = row(titles) + rule + "\n";
    for (const auto& cells : table.rows) out += row(cells);
    return out;
  }
  std::string operator()(const Bars& bars) const {
    Table table{
        {{"", Column::Align::left}, {"amount", Column::Align::right}, {"", Column::Align::left}},
        {}};
    for (const Bars::Bar& bar : bars.bars)
      table.rows.push_back({bar.label, bar.amount, bar.remark});
    return (*this)(table);
  }
};

}  // namespace

std::string to_markdown(const Answer& answer) {
  std::string out;
  for (const Block& block : answer.blocks) {
    if (!out.empty()) out += "\n";
    out += std::visit(Writer{}, block);
  }
  return out;
}

}  // namespace qwenplan
