#include "command/vram_guide.hpp"

#include <optional>
#include <string>
#include <string_view>

#include "command/guide_answer.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "read/tables.hpp"

namespace qwenplan::command {
namespace {

/// "7B", "1.5b", "500M" in 10^9.
Result<double> parse_billions(const std::string& text) {
  const std::string where = "--params";
  const char unit = text.empty() ? ' ' : text.back();
  const bool is_billions = unit == 'B' || unit == 'b';
  if (!is_billions && unit != 'M' && unit != 'm')
    return Error{Error::Kind::wrong, "'" + text + "' has no unit", where, "write 7B, or 500M"};
  const auto number =
      parse_number(std::string_view(text).substr(0, text.size() - 1), where, 0, 1e6);
  if (!number) return number.error();
  return is_billions ? *number : *number / 1000;
}

}  // namespace

Result<Answer> vram_guide(const Invocation& in) {
  const auto text = in.value("params");
  const auto name = in.value("model");
  if (!text && !name)
    return Error{Error::Kind::wrong, "the guide's calculator needs a size", "--params",
                 "such as --params 7B"};

  double billions = 0;
  std::string as_of;
  if (text) {
    const auto given = parse_billions(*text);
    if (!given) return given.error();
    billions = *given;
  } else {
    const auto tables = Tables::open(in.data_directory);
    if (!tables) return tables.error();
    const auto found = tables->model(*name);
    if (!found) return found.error();
    const Params total = found->parameters.value_or(model_parameters(found->model).total());
    billions = static_cast<double>(total.count()) / 1e9;
    as_of = tables->as_of();
  }
  const std::string precision = in.value("precision").value_or("fp16");
  const auto memory = guide::calculate_model_memory(billions, precision);
  if (!memory) return memory.error();

  Answer answer = guide_answer(
      "qwenplan.vram/1",
      {{"calculate_model_memory", guide_value(*memory)},
       {"recommend_optimization", guide_value(guide::recommend_optimization(billions))}},
      {guide::GuideSystem::memory_calculator, guide::GuideSystem::optimization});
  answer.data_as_of = as_of;
  answer.inputs.push_back({"params_billions", Value(billions), text ? "flag" : "table"});
  answer.inputs.push_back(
      {"precision", Value(precision), in.has("precision") ? "flag" : "default"});
  return answer;
}

}  // namespace qwenplan::command
