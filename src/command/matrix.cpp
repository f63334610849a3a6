#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_flags.hpp"
#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/guide_answer.hpp"
#include "command/method_plans.hpp"
#include "command/verdict.hpp"
#include "qwenplan/estimate/guide.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// One model on one card: what each method needs, and the best one.
struct Cell {
  std::string model;
  std::string gpu;
  Bytes usable{};
  std::vector<MethodPlan> methods;
  std::optional<std::size_t> best;  ///< of `methods`; none where nothing fits
  std::vector<std::string> left_out;  ///< methods that are not modelled, and why
  std::optional<Error> error;       ///< why it cannot be told
};

Cell cell_of(const Subject& subject, const RunDraft& given, bool is_strict) {
  Cell cell{subject.model.model.id, subject.gpu->gpu.id, {}, {}, {}, {}, not_emulated(subject)};
  if (cell.error) return cell;
  const Setup setup = setup_of(subject);
  cell.usable = setup.device.usable->value;
  auto found = given.method ? best_rungs(setup, given, {&given.method->value, 1}) : best_rungs(setup, given);
  if (!found) {
    cell.error = found.error();
    return cell;
  }
  if (is_yes(*found->chosen().plan.fit, is_strict)) cell.best = found->best;
  cell.methods = std::move(found->plans);
  cell.left_out = std::move(found->left_out);
  return cell;
}

/// "full needs 24.9 GiB (24.1 to 26.3) of 12.0 GiB with --precision bf16-true"
std::string need(const Cell& cell, const MethodPlan& each) {
  return std::string(name(each.method)) + " needs " + text(each.plan.estimate.device) + " of " + text(cell.usable) +
         (each.rung.empty() ? "" : " with " + each.rung);
}

/// What the guide says of a cell, and whether the engine agrees.
struct GuideCell {
  std::string says;
  bool agrees = false;
  std::string why;
};

std::optional<GuideCell> guide_cell(const Cell& cell, bool is_strict) {
  const auto at = [](const auto& ids, const std::string& id) {
    return static_cast<std::size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
  };
  const std::size_t row = at(guide::kMatrixModels, cell.model), column = at(guide::kMatrixGpus, cell.gpu);
  if (row == guide::kMatrixModels.size() || column == guide::kMatrixGpus.size() || cell.methods.empty())
    return std::nullopt;
  const std::string_view text = guide::kMatrix.row(row)[column + 1];
  const auto claimed = guide::best_method(text);
  GuideCell result;
  result.says = claimed ? std::string(name(*claimed)) : "none";
  if (!claimed) {
    result.agrees = !cell.best;
    result.why = need(cell, cell.methods[cell.best.value_or(best_of(cell.methods))]);
    return result;
  }
  for (const MethodPlan& each : cell.methods) {
    if (each.method != *claimed) continue;
    result.agrees = is_yes(*each.plan.fit, is_strict);
    result.why = need(cell, each);
    if (each.plan.fit == Fit::tight) result.why += ": tight";
  }
  if (cell.best && cell.methods[*cell.best].method < *claimed)
    result.why += "; " + need(cell, cell.methods[*cell.best]) + " as well";
  return result;
}

std::vector<std::string> listed(const Invocation& in, std::string_view flag, std::span<const std::string_view> otherwise) {
  const auto given = in.value(flag);
  if (!given) return {otherwise.begin(), otherwise.end()};
  return items_of(*given);
}

std::string shown(const Cell& cell) {
  if (cell.error || cell.methods.empty()) return "unknown";
  if (!cell.best) return "none";
  const MethodPlan& best = cell.methods[*cell.best];
  return std::string(name(best.method)) + (best.plan.fit == Fit::tight ? " (tight)" : "");
}

Value methods_json(const Cell& cell) {
  Value list = Value::list();
  for (const MethodPlan& each : cell.methods)
    list.push(Value::object({{"method", name(each.method)},
                             {"fit", each.plan.fit ? Value(name(*each.plan.fit)) : Value()},
                             {"rung", each.rung.empty() ? "defaults" : each.rung},
                             {"device_bytes", each.plan.estimate.device}}));
  return list;
}

}  // namespace

Result<Answer> matrix(const Invocation& in) {
  if (in.uses_guide) return guide_table("qwenplan.matrix/1", guide::kMatrix, {guide::GuideSystem::matrix});
  if (const auto against = in.value("against"); against && *against != "guide")
    return Error{Error::Kind::wrong, "there is nothing called '" + *against + "' to compare with", "--against",
                 "write --against guide"};
  const bool compares = in.has("against");
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  Invocation of_run = in;
  of_run.given.erase("gpus");  // here the cards, not how many of them a run has
  const auto given = read_run(of_run);
  if (!given) return given.error();
  const auto stack = parse_stack(in.value("stack").value_or("latest"));
  if (!stack) return stack.error();

  Answer answer;
  answer.schema = "qwenplan.matrix/1";
  answer.data_as_of = tables->as_of();
  std::vector<Subject> models;
  for (const std::string& name : listed(in, "models", guide::kMatrixModels)) {
    auto model = tables->model(name);
    if (!model) {
      Error error = model.error();
      if (error.where == "--model") error.where = "--models";
      return error;
    }
    Subject subject;
    subject.model = std::move(*model);
    subject.stack = *stack;
    models.push_back(std::move(subject));
  }
  std::vector<FoundGpu> gpus;
  for (const std::string& name : listed(in, "gpus", guide::kMatrixGpus)) {
    auto gpu = listed_card(*tables, name, "--gpus");
    if (!gpu) return gpu.error();
    gpus.push_back(std::move(*gpu));
  }
  if (models.empty() || gpus.empty())
    return Error{Error::Kind::wrong, "the list is empty", models.empty() ? "--models" : "--gpus",
                 "write names with commas between them"};
  const auto names = [](const auto& items, const auto& id_of) {
    Value list = Value::list();
    for (const auto& item : items) list.push(id_of(item));
    return list;
  };
  answer.inputs.push_back({"models", names(models, [](const Subject& s) { return s.model.model.id; }),
                           in.has("models") ? "flag" : "default"});
  answer.inputs.push_back(
      {"gpus", names(gpus, [](const FoundGpu& g) { return g.gpu.id; }), in.has("gpus") ? "flag" : "default"});

  Table table{{{"model"}}, {}}, wrong{{{"model"}, {"GPU"}, {"guide"}, {"qwenplan"}, {"because"}}, {}};
  for (const FoundGpu& gpu : gpus) table.columns.push_back({gpu.gpu.id});
  Value rows = Value::list(), flat = Value::list();
  std::int64_t right_cells = 0, wrong_cells = 0;
  std::set<std::string> said;
  bool has_settings = false;
  for (Subject& subject : models) {
    std::vector<std::string> line{subject.model.model.id};
    for (const FoundGpu& gpu : gpus) {
      subject.gpu = gpu;
      const Cell cell = cell_of(subject, *given, in.is_strict);
      if (cell.error && said.insert(cell.error->what).second)
        answer.notes.push_back(cell.model + " on " + cell.gpu + " cannot be told: " + cell.error->what);
      for (const std::string& each : cell.left_out)
        if (said.insert(each).second) answer.notes.push_back(each);
      if (!has_settings && !cell.methods.empty()) {
        has_settings = true;
        for (const RunSetting& setting : cell.methods.front().plan.valid.settings)
          if (setting.flag == "seq-len" || setting.flag == "batch" || setting.flag == "checkpointing")
            answer.inputs.push_back(as_input(setting));
      }
      const bool is_known = !cell.error && !cell.methods.empty();
      const std::string best = !is_known ? "" : cell.best ? std::string(name(cell.methods[*cell.best].method)) : "none";
      Value& row = rows.push(Value::object({{"model", cell.model},
                                            {"gpu", cell.gpu},
                                            {"best", is_known ? Value(best) : Value()},
                                            {"usable_bytes", is_known ? Value(cell.usable) : Value()},
                                            {"methods", methods_json(cell)}}));
      Value& flat_row = flat.push(Value::object({{"model", cell.model}, {"gpu", cell.gpu}, {"best", best}}));
      for (const MethodPlan& each : cell.methods)
        flat_row.set(std::string(name(each.method)) + "_bytes", each.plan.estimate.device.likely);
      line.push_back(shown(cell));
      if (!compares) continue;
      const auto cited = guide_cell(cell, in.is_strict);
      row.set("guide", cited ? Value::object({{"says", cited->says}, {"agrees", cited->agrees}, {"why", cited->why}})
                             : Value());
      flat_row.set("guide_says", cited ? Value(cited->says) : Value());
      flat_row.set("guide_agrees", cited ? Value(cited->agrees) : Value());
      if (!cited) continue;
      ++(cited->agrees ? right_cells : wrong_cells);
      if (cited->agrees) continue;
      line.back() += ", not " + cited->says;
      wrong.rows.push_back({cell.model, cell.gpu, cited->says, shown(cell), cited->why});
    }
    table.rows.push_back(std::move(line));
  }
  answer.json.set("rows", std::move(rows));
  answer.rows = std::move(flat);
  if (compares) {
    answer.json.set("cells_right", right_cells);
    answer.json.set("cells_wrong", wrong_cells);
    answer.add(Headline{"the guide is right in " + std::to_string(right_cells) + " and wrong in " +
                            std::to_string(wrong_cells) + " of its cells here",
                        wrong_cells > 0 ? Tone::warning : Tone::good});
  } else {
    answer.add(Headline{"the best method that fits, of full, lora and qlora"});
  }
  answer.add(std::move(table));
  if (!wrong.rows.empty()) answer.add(std::move(wrong));
  answer.add(Paragraph{"each method by its defaults, else in 16 bits throughout, else with paged 8-bit AdamW besides; "
                       "qwenplan vram tells more of a pair",
                       Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
