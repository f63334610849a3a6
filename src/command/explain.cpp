#include <string>
#include <vector>

#include "cli/spelling.hpp"
#include "command/command.hpp"
#include "command/terms.hpp"
#include "qwenplan/base/nearest.hpp"
#include "read/trainer/rules.hpp"

namespace qwenplan::command {
namespace {

/// Words that people use for a term.
constexpr std::pair<std::string_view, std::string_view> kSynonyms[] = {
    {"lora", "adapters"},
    {"states", "optimizer"},
    {"loss", "logits"},
    {"gradient", "gradients"},
    {"cuda-context", "context"},
    {"verdict", "fits"},
    {"tight", "fits"},
    {"exceeds", "fits"},
    {"fit", "fits"},
    {"cache", "reserved"},
    {"flush", "flushes"},
    {"device-bytes", "device"},
    {"allocated-bytes", "allocated"},
    {"reserved-bytes", "reserved"},
    {"usable-bytes", "usable"},
    {"at-capacity", "flushes"},
    {"cost", "job-usd"},
    {"breakeven-jobs", "breakeven"},
    {"breakeven-months", "breakeven"},
    {"break-even", "breakeven"},
    {"budget", "deadline"},
    {"meets", "deadline"},
    {"misses", "deadline"},
    {"spot", "spot-hours"},
    {"interruptions", "spot-hours"}};

Value as_json(const TermEntry& entry) {
  return Value::object({{"term", entry.name},
                        {"meaning", entry.meaning},
                        {"mechanism", entry.mechanism},
                        {"inputs", entry.inputs},
                        {"evidence", entry.evidence},
                        {"source", entry.source}});
}

Value as_json(const Rule& rule) {
  return Value::object({{"rule", rule.id},
                        {"severity", name(rule.severity)},
                        {"meaning", rule.meaning},
                        {"explanation", rule.explanation},
                        {"fix", rule.fix},
                        {"source", rule.source}});
}

/// Every rule of `check`; as Markdown this is docs/rules.md.
Answer explained_rules(bool is_page) {
  Answer answer;
  answer.schema = "qwenplan.explain/1";
  answer.add(Headline{"What qwenplan check finds; 'qwenplan explain RULE' tells more of one."});
  Value rows = Value::list();
  Table table{{{"rule"}, {"severity"}, {"meaning"}}, {}};
  for (const Rule& rule : kRules) {
    rows.push(as_json(rule));
    table.rows.push_back(
        {std::string(rule.id), std::string(name(rule.severity)), std::string(rule.meaning)});
  }
  if (is_page) {
    table.columns.insert(table.columns.end(), {{"why"}, {"fix"}, {"source"}});
    for (std::size_t i = 0; i < kRuleCount; ++i)
      for (const std::string_view cell :
           {kRules[i].explanation, kRules[i].fix, kRules[i].source})
        table.rows[i].emplace_back(cell);
  }
  answer.add(std::move(table));
  answer.json.set("rules", rows);
  answer.rows = std::move(rows);
  return answer;
}

Answer explained(const Rule& rule) {
  Answer answer;
  answer.schema = "qwenplan.explain/1";
  answer.inputs.push_back({"rule", Value(rule.id), "flag"});
  answer.json = as_json(rule);
  answer.add(Headline{std::string(rule.id) + " (" + std::string(name(rule.severity)) +
                      "): " + std::string(rule.meaning)});
  answer.add(Paragraph{"why: " + std::string(rule.explanation)});
  answer.add(Paragraph{"fix: " + std::string(rule.fix)});
  answer.add(Paragraph{"source: " + std::string(rule.source)});
  return answer;
}

}  // namespace

Result<Answer> explain(const Invocation& in) {
  Answer answer;
  answer.schema = "qwenplan.explain/1";
  Value rows = Value::list();
  if (in.words.empty()) {
    Table table{{{"term"}, {"meaning"}}, {}};
    for (const TermEntry& entry : terms()) {
      rows.push(as_json(entry));
      table.rows.push_back({std::string(entry.name), std::string(entry.meaning)});
    }
    answer.add(Headline{"Terms of the answers; 'qwenplan explain TERM' tells how each is found."});
    answer.add(std::move(table));
    if (in.format == Format::markdown)
      for (const TermEntry& entry : terms())
        answer.add(Paragraph{std::string(entry.name) + ": " + std::string(entry.mechanism) +
                             ". Depends on: " + std::string(entry.inputs) +
                             ". Evidence: " + std::string(entry.evidence) +
                             ". Source: " + std::string(entry.source) + "."});
    answer.json.set("terms", rows);
    answer.rows = std::move(rows);
    return answer;
  }

  std::string wanted = folded(in.words[0]);
  if (wanted == "rules") return explained_rules(in.format == Format::markdown);
  if (const auto rule = rule_index(wanted)) return explained(kRules[*rule]);
  for (const auto& [synonym, term] : kSynonyms)
    if (wanted == synonym) wanted = term;
  std::vector<std::string> names;
  for (const TermEntry& entry : terms()) {
    names.emplace_back(entry.name);
    if (entry.name != wanted) continue;
    answer.inputs.push_back({"term", Value(entry.name), "flag"});
    answer.json = as_json(entry);
    answer.add(Headline{std::string(entry.name) + ": " + std::string(entry.meaning)});
    answer.add(Paragraph{"how: " + std::string(entry.mechanism)});
    answer.add(Paragraph{"from: " + std::string(entry.inputs)});
    answer.add(Paragraph{"evidence: " + std::string(entry.evidence) +
                         "; source: " + std::string(entry.source)});
    return answer;
  }
  for (const Rule& rule : kRules) names.emplace_back(rule.id);
  const auto near = nearest(wanted, names);
  return Error{Error::Kind::wrong, "unknown term '" + in.words[0] + "'", "explain",
               near.empty() ? "qwenplan explain lists them, and qwenplan explain rules the rules" : "did you mean '" + near[0] + "'?"};
}

}  // namespace qwenplan::command
