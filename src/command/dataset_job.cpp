#include "command/dataset_job.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "read/dataset_file.hpp"
#include "read/token_rates.hpp"
#include "render/progress.hpp"
#include "render/quantity.hpp"

namespace qwenplan {
namespace {

constexpr std::pair<std::string_view, ChatTemplate> kTemplates[] = {
    {"none", ChatTemplate::none},   {"chatml", ChatTemplate::chatml}, {"qwen2.5", ChatTemplate::qwen2_5},
    {"qwen3", ChatTemplate::qwen3}, {"llama3", ChatTemplate::llama3}, {"alpaca", ChatTemplate::alpaca}};

std::string_view name(ChatTemplate written_by) {
  for (const auto& [name, each] : kTemplates)
    if (each == written_by) return name;
  return "none";
}

/// The template that a model's own tokenizer_config.json has.
ChatTemplate usual_template(const Model* model) {
  if (!model) return ChatTemplate::chatml;
  switch (model->architecture) {
    case Architecture::qwen2: return model->id.find("qwen2.5") != std::string::npos ? ChatTemplate::qwen2_5 : ChatTemplate::chatml;
    case Architecture::qwen3:
    case Architecture::qwen3_moe: return ChatTemplate::qwen3;
    case Architecture::llama: return model->vocabulary == 128256 ? ChatTemplate::llama3 : ChatTemplate::chatml;
    default: return ChatTemplate::chatml;
  }
}

}  // namespace

Result<DatasetJob> read_dataset_job(const Invocation& in, const std::string& file, const Model* model) {
  DatasetJob job;
  DatasetQuestion question;
  question.file = file;
  job.inputs.push_back({"dataset", Value(file), "flag"});
  if (const auto columns = in.value("column")) {
    std::size_t from = 0;
    while (from <= columns->size()) {
      const std::size_t comma = std::min(columns->find(',', from), columns->size());
      if (comma > from) question.columns.push_back(columns->substr(from, comma - from));
      from = comma + 1;
    }
    if (question.columns.empty())
      return Error{Error::Kind::wrong, "no column is named", "--column", "write --column text"};
    job.inputs.push_back({"column", Value(*columns), "flag"});
  }
  if (const auto format = in.value("file-format"))
    for (const DataFormat each : {DataFormat::jsonl, DataFormat::json, DataFormat::csv, DataFormat::text})
      if (qwenplan::name(each) == *format) question.format = each;
  question.by_paragraph = in.value("example") == "paragraph";
  question.usual = usual_template(model);
  if (const auto given = in.value("template"))
    for (const auto& [name, each] : kTemplates)
      if (name == *given) question.written_by = each;

  auto rates = token_rates(model ? model->vocabulary : 0);
  if (!rates) return rates.error();
  if (!model) {
    // Without a model the answer is for Qwen2.5 and Qwen3, which is what most are asked about.
    rates = token_rates(151936);
    if (!rates) return rates.error();
  }
  question.rates = *rates;
  std::optional<Tokenizer> tokenizer;
  if (const auto path = in.value("tokenizer")) {
    auto opened = Tokenizer::open(*path);
    if (!opened) return opened.error();
    tokenizer = std::move(*opened);
    question.tokenizer = &*tokenizer;
    question.rates.name = *path;
    job.inputs.push_back({"tokenizer", Value(*path), "flag"});
  } else {
    job.inputs.push_back({"tokenizer", Value(question.rates.id), model ? "table" : "default"});
    if (!model) job.assumed.push_back("the tokenizer of Qwen2.5 and Qwen3 (--model)");
    else if (question.rates.name.ends_with("assumed"))
      job.assumed.push_back("the tokenizer of " + model->id + " cuts as Qwen2.5's, or twice as fine");
  }

  Progress progress("reading " + file);
  question.progress = [&](std::int64_t done, std::optional<std::int64_t> all) { progress.show(done, all); };
  auto data = read_dataset(question);
  if (!data) return data.error();
  job.data = std::move(*data);

  const bool is_talk = job.data.shape == DataShape::messages || job.data.shape == DataShape::sharegpt ||
                       job.data.shape == DataShape::alpaca;
  const ChatTemplate used = question.written_by.value_or(is_talk ? question.usual : ChatTemplate::none);
  job.inputs.push_back({"template", Value(name(used)), question.written_by ? "flag" : "default"});
  if (!question.written_by && is_talk) job.assumed.push_back("template " + std::string(name(used)) + " (--template)");
  if (job.data.bad > 0) {
    std::string note = grouped(job.data.bad) + (job.data.bad == 1 ? " bad line was" : " bad lines were") + " left out";
    for (const BadLine& each : job.data.bad_lines) note += "; line " + grouped(each.line) + ": " + each.why;
    job.notes.push_back(std::move(note));
  }
  if (job.data.other_parts > 0)
    job.notes.push_back(grouped(job.data.other_parts) + " parts of messages are no text, such as images; their tokens are not counted");
  return job;
}

}  // namespace qwenplan
