#include "command/dataset_job.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>

#include "cli/run_flags.hpp"
#include "qwenplan/estimate/batching.hpp"
#include "qwenplan/estimate/text.hpp"
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
  if (model->id.starts_with("llama3")) return ChatTemplate::llama3;
  switch (model->architecture) {
    case Architecture::qwen2: return model->id.starts_with("qwen2.5") ? ChatTemplate::qwen2_5 : ChatTemplate::chatml;
    case Architecture::qwen3:
    case Architecture::qwen3_moe: return ChatTemplate::qwen3;
    default: return ChatTemplate::chatml;
  }
}

/// A mark that the template begins a message with; empty where it has none.
std::string_view mark_of(ChatTemplate written_by) {
  switch (written_by) {
    case ChatTemplate::chatml:
    case ChatTemplate::qwen2_5:
    case ChatTemplate::qwen3: return "<|im_start|>";
    case ChatTemplate::llama3: return "<|start_header_id|>";
    case ChatTemplate::none:
    case ChatTemplate::alpaca: return {};
  }
  return {};
}

bool has_marks(const Tokenizer& tokenizer, ChatTemplate written_by) {
  const std::string_view mark = mark_of(written_by);
  return mark.empty() || tokenizer.has_token(mark);
}

/// The first of the templates whose marks the tokenizer has.
ChatTemplate usual_template(const Tokenizer& tokenizer, ChatTemplate of_model) {
  for (const ChatTemplate each : {of_model, ChatTemplate::chatml, ChatTemplate::llama3})
    if (has_marks(tokenizer, each)) return each;
  return ChatTemplate::none;
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

  std::optional<Tokenizer> tokenizer;
  if (const auto path = in.value("tokenizer")) {
    auto opened = Tokenizer::open(*path);
    if (!opened) return opened.error();
    tokenizer = std::move(*opened);
    question.tokenizer = &*tokenizer;
    question.rates.name = *path;
    question.usual = usual_template(*tokenizer, question.usual);
    job.inputs.push_back({"tokenizer", Value(*path), "flag"});
    if (question.written_by && !has_marks(*tokenizer, *question.written_by))
      job.notes.push_back("the tokenizer has no token " + std::string(mark_of(*question.written_by)) +
                          ": the marks of the template are counted as text");
  } else {
    auto rates = model ? token_rates(*model) : usual_token_rates();
    if (!rates) return rates.error();
    question.rates = *rates;
    job.rates = std::move(*rates);
    job.inputs.push_back({"tokenizer", Value(question.rates.id), model ? "table" : "default"});
    if (!model) job.assumed.push_back("the tokenizer of Qwen2.5 and Qwen3 (--model)");
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

Result<std::optional<TextJob>> read_text_job(const Invocation& in, const Model& model,
                                             const std::optional<TextJob>* known) {
  if (known) return *known;
  const auto file = in.value("dataset");
  const auto tokens = in.whole("tokens", 1, std::int64_t{1} << 50);
  if (!tokens) return tokens.error();
  const auto size = read_size(in, "dataset-size", Zero::allowed);
  if (!size) return size.error();
  if (int{file.has_value()} + int{tokens->has_value()} + int{size->has_value()} > 1)
    return Error{Error::Kind::wrong, "--dataset, --tokens and --dataset-size say the same thing",
                 "--dataset, --tokens, --dataset-size", "give one of them"};
  TextJob text;
  if (file) {
    auto job = read_dataset_job(in, *file, &model);
    if (!job) return job.error();
    text.tokens = job->data.tokens();
    text.text = job->data.read_bytes;
    text.inputs = job->inputs;
    text.assumed = job->assumed;
    text.notes = job->notes;
    text.job = std::move(*job);
  } else {
    for (const char* flag : {"column", "tokenizer", "template", "file-format", "example"})
      if (in.has(flag))
        return Error{Error::Kind::wrong, "no file is read for --" + std::string(flag), "--" + std::string(flag),
                     "give --dataset FILE too, or leave it out"};
    if (*tokens) {
      text.tokens = Range<Tokens>::exactly(Tokens(**tokens));
      text.text = Bytes(**tokens * 46 / 10);
    } else if (*size) {
      text.tokens = tokens_of_text(**size);
      text.text = **size;
      text.assumed.push_back("4.6 bytes of text a token");
    } else {
      return std::optional<TextJob>();
    }
  }
  return std::optional(std::move(text));
}

Epoch epoch_of(const Range<Lengths>& lengths, std::int64_t length, std::int64_t batch, bool packs) {
  const auto rows_tokens = [&](const Lengths& each) {
    return packs ? static_cast<double>(packed_rows(each, length)) * static_cast<double>(length)
                 : static_cast<double>(padded_to_longest(each, batch, length).count());
  };
  Epoch epoch;
  epoch.tokens = {rows_tokens(lengths.low), rows_tokens(lengths.likely), rows_tokens(lengths.high)};
  const Cut cut = cut_at(lengths.likely, length);
  epoch.cut = cut.sequences;
  epoch.rows = packs ? packed_rows(lengths.likely, length) : lengths.likely.count();
  if (epoch.rows > 0)
    epoch.length = std::max<std::int64_t>(1, std::llround(epoch.tokens.likely / static_cast<double>(epoch.rows)));
  const auto kept = static_cast<double>((lengths.likely.total() - cut.tokens).count());
  if (epoch.tokens.likely > 0) epoch.padding = std::max(0.0, 1 - kept / epoch.tokens.likely);
  return epoch;
}

std::int64_t suggested_length(const Range<Lengths>& lengths) {
  return std::max<std::int64_t>(1, (lengths.likely.percentile(99) + 63) / 64) * 64;
}

}  // namespace qwenplan
