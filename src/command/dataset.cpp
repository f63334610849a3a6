#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command/command.hpp"
#include "command/dataset_job.hpp"
#include "qwenplan/estimate/batching.hpp"
#include "read/tables.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

constexpr const char* kSchema = "qwenplan.dataset/1";

template <class T, class Of>
Range<T> each(const Range<Lengths>& lengths, Of of) {
  const T low = of(lengths.low), likely = of(lengths.likely), high = of(lengths.high);
  return {std::min({low, likely, high}), likely, std::max({low, likely, high})};
}

std::string words(const Range<std::int64_t>& range) {
  return range.low == range.high ? grouped(range.likely)
                                 : grouped(range.likely) + " (" + grouped(range.low) + " to " + grouped(range.high) + ")";
}
std::string words(const Range<Tokens>& range) {
  return words(Range<std::int64_t>{range.low.count(), range.likely.count(), range.high.count()});
}
/// "1 row", "2 rows".
std::string counted(const std::string& number, std::string_view of) {
  return number + " " + std::string(of) + (number == "1" ? "" : "s");
}
double share(Tokens part, Tokens all) {
  return all.count() == 0 ? 0 : static_cast<double>(part.count()) / static_cast<double>(all.count());
}

}  // namespace

Result<Answer> dataset(const Invocation& in) {
  if (in.uses_guide)
    return Error{Error::Kind::wrong, "the guide reads no data", "--estimator guide", "leave it out"};
  const auto length = in.whole("seq-len", 1, std::int64_t{1} << 24);
  if (!length) return length.error();
  const auto batch = in.whole("batch", 1, 1 << 20);
  if (!batch) return batch.error();
  const auto accumulated = in.whole("grad-accum", 1, 1 << 20);
  if (!accumulated) return accumulated.error();
  const auto gpus = in.whole("gpus", 1, 1 << 16);
  if (!gpus) return gpus.error();
  std::optional<FoundModel> model;
  Answer answer;
  answer.schema = kSchema;
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  answer.data_as_of = tables->as_of();
  if (const auto name = in.value("model")) {
    auto found = tables->model(*name);
    if (!found) return found.error();
    model = std::move(*found);
    answer.inputs.push_back({"model", Value(model->model.id), "flag"});
    if (!model->reading.empty()) answer.notes.push_back(model->reading);
  }
  auto job = read_dataset_job(in, in.words[0], model ? &model->model : nullptr);
  if (!job) return job.error();
  const Dataset& data = job->data;
  answer.inputs.insert(answer.inputs.end(), job->inputs.begin(), job->inputs.end());
  answer.notes.insert(answer.notes.end(), job->notes.begin(), job->notes.end());

  const std::int64_t l = length->value_or(2048), b = batch->value_or(1);
  const std::int64_t in_step = b * accumulated->value_or(1) * gpus->value_or(1);
  const auto shown = [&](const char* flag, const char* key, std::int64_t value) {
    answer.inputs.push_back({key, Value(value), in.has(flag) ? "flag" : "default"});
    if (!in.has(flag)) job->assumed.push_back("--" + std::string(flag) + " " + std::to_string(value));
  };
  shown("seq-len", "seq-len", l);
  shown("batch", "batch", b);
  shown("grad-accum", "grad-accum", accumulated->value_or(1));
  shown("gpus", "gpus", gpus->value_or(1));

  const Range<Tokens> all = data.tokens();
  const auto cut_sequences = each<std::int64_t>(data.lengths, [&](const Lengths& x) { return cut_at(x, l).sequences; });
  const auto cut_tokens = each<Tokens>(data.lengths, [&](const Lengths& x) { return cut_at(x, l).tokens; });
  const auto kept = each<Tokens>(data.lengths, [&](const Lengths& x) { return x.total() - cut_at(x, l).tokens; });
  const auto longest = each<Tokens>(data.lengths, [&](const Lengths& x) { return padded_to_longest(x, b, l); });
  const Tokens whole = padded_to_length(data.lengths.likely, l);
  const auto packed = each<std::int64_t>(data.lengths, [&](const Lengths& x) { return packed_rows(x, l); });
  const auto joined = each<std::int64_t>(data.lengths, [&](const Lengths& x) { return joined_rows(x, l); });
  const auto waste = [&](Tokens slots) { return std::max(0.0, 1 - share(kept.likely, slots)); };
  const auto steps = [&](std::int64_t rows) { return rows / in_step + (rows % in_step != 0 ? 1 : 0); };
  const auto packed_steps = Range<std::int64_t>{steps(packed.low), steps(packed.likely), steps(packed.high)};

  Value lines = Value::list();
  for (const BadLine& one : data.bad_lines) lines.push(Value::object({{"line", one.line}, {"why", one.why}}));
  Value columns = Value::list();
  for (const std::string& column : data.columns) columns.push(column);
  Value characters = Value::object();
  Value& json = answer.json;
  json.set("format", name(data.format));
  json.set("format_reason", data.format_reason);
  json.set("is_gzip", data.is_gzip);
  json.set("shape", name(data.shape));
  json.set("columns", std::move(columns));
  json.set("file_bytes", data.file_bytes);
  json.set("read_bytes", data.read_bytes);
  json.set("examples", data.examples);
  json.set("sequences", data.sequences);
  json.set("empty", data.empty);
  json.set("bad", Value::object({{"count", data.bad}, {"lines", std::move(lines)}}));
  for (std::size_t i = 0; i < kScripts; ++i)
    characters.set(std::string(name(static_cast<Script>(i))), data.text.characters[i]);
  json.set("text", Value::object({{"bytes", data.text.bytes}, {"characters", std::move(characters)}}));
  Value scripts = Value::list();
  using enum Column::Align;
  Table script_table{{{"script"}, {"characters", right}, {"tokens", right}, {"rate"}}, {}};
  for (std::size_t i = 0; job->rates && i < kScripts; ++i) {
    const std::int64_t n = data.text.characters[i];
    if (n == 0) continue;
    const Script script = static_cast<Script>(i);
    TextCounts alone;
    alone.characters[i] = n;
    const Range<double> made = tokens_of(alone, *job->rates);
    const Range<Tokens> tokens{Tokens(std::llround(made.low)), Tokens(std::llround(made.likely)),
                               Tokens(std::llround(made.high))};
    const std::string_view evidence = name(job->rates->evidence[i]);
    scripts.push(Value::object({{"script", name(script)}, {"characters", n}, {"tokens", tokens}, {"evidence", evidence}}));
    std::string words_of_name(name(script));
    std::replace(words_of_name.begin(), words_of_name.end(), '_', ' ');
    script_table.rows.push_back({words_of_name, grouped(n), words(tokens), std::string(evidence)});
  }
  json.set("tokens", Value::object({{"total", all},
                                    {"template", data.template_tokens},
                                    {"tokenizer", data.tokenizer},
                                    {"evidence", name(data.evidence)},
                                    {"scripts", std::move(scripts)}}));
  Value lengths = Value::object();
  lengths.set("mean", data.lengths.likely.mean());
  Table length_table{{{"length"}, {"tokens", right}}, {}};
  length_table.rows.push_back({"mean", fixed(data.lengths.likely.mean(), 1)});
  for (const int percent : {50, 90, 95, 99}) {
    const auto at = each<std::int64_t>(data.lengths, [&](const Lengths& x) { return x.percentile(percent); });
    lengths.set("p" + std::to_string(percent), at);
    length_table.rows.push_back({std::to_string(percent) + " % up to", words(at)});
  }
  const auto most = each<std::int64_t>(data.lengths, [](const Lengths& x) { return x.longest(); });
  lengths.set("max", most);
  length_table.rows.push_back({"longest", words(most)});
  json.set("lengths", std::move(lengths));
  const std::int64_t suggested = suggested_length(data.lengths);
  json.set("suggested_seq_len", suggested);
  json.set("cut", Value::object({{"seq_len", l},
                                 {"sequences", cut_sequences},
                                 {"tokens", cut_tokens},
                                 {"share_of_tokens", share(cut_tokens.likely, all.likely)}}));
  json.set("batching",
           Value::object({{"padded_to_longest", Value::object({{"tokens", longest}, {"waste", waste(longest.likely)}})},
                          {"padded_to_seq_len", Value::object({{"tokens", whole}, {"waste", waste(whole)}})},
                          {"packed", Value::object({{"rows", packed},
                                                    {"tokens", packed.likely * l},
                                                    {"waste", waste(Tokens(packed.likely * l))}})},
                          {"joined", Value::object({{"rows", joined}, {"tokens", joined.likely * l}})}}));
  json.set("epoch", Value::object({{"tokens", kept},
                                   {"steps", steps(data.sequences)},
                                   {"packed_steps", packed_steps}}));
  Value assumed = Value::list();
  std::string assumed_words;
  for (const std::string& one : job->assumed) {
    assumed.push(one);
    assumed_words += (assumed_words.empty() ? "" : ", ") + one;
  }
  json.set("assumed", std::move(assumed));

  const bool is_exact = data.evidence == Evidence::exact;
  answer.add(Headline{grouped(data.examples) + " examples, " + (is_exact ? "" : "about ") + short_count(all.likely.count()) +
                      " tokens" + (is_exact ? "" : " (" + short_count(all.low.count()) + " to " + short_count(all.high.count()) + ")")});
  std::string read = std::string(name(data.format)) + (data.is_gzip ? " in gzip" : "") + " (" + data.format_reason + "), " +
                     std::string(name(data.shape));
  for (std::size_t i = 0; i < data.columns.size(); ++i) read += (i ? ", " : ": ") + data.columns[i];
  read += "; " + text(data.file_bytes);
  answer.add(Paragraph{read});
  Table facts{{{""}, {"", right}}, {}};
  if (data.sequences != data.examples) facts.rows.push_back({"sequences", grouped(data.sequences)});
  facts.rows.push_back({"bad lines", grouped(data.bad)});
  if (data.empty > 0) facts.rows.push_back({"examples without text", grouped(data.empty)});
  facts.rows.push_back({"tokens", words(all)});
  facts.rows.push_back({"of the template", words(data.template_tokens)});
  facts.rows.push_back({"tokenizer", data.tokenizer + ", " + std::string(name(data.evidence))});
  answer.add(std::move(facts));
  if (job->rates) answer.add(std::move(script_table));
  answer.add(std::move(length_table));
  Table batching{{{"with --seq-len " + std::to_string(l) + " --batch " + std::to_string(b)}, {"tokens", right}, {"padding", right}}, {}};
  batching.rows.push_back({"padded to the longest of a batch", grouped(longest.likely.count()), text_percent(waste(longest.likely))});
  batching.rows.push_back({"padded to --seq-len", grouped(whole.count()), text_percent(waste(whole))});
  batching.rows.push_back({"packed whole, " + counted(grouped(packed.likely), "row"), grouped(packed.likely * l),
                           text_percent(waste(Tokens(packed.likely * l)))});
  answer.add(std::move(batching));
  answer.add(Paragraph{cut_sequences.high == 0
                           ? "nothing is cut at " + grouped(l) + " tokens"
                           : words(cut_sequences) + " sequences are cut at " + grouped(l) + " tokens, which loses " +
                                 words(cut_tokens) + " tokens, " + text_percent(share(cut_tokens.likely, all.likely))});
  answer.add(Paragraph{"--seq-len " + std::to_string(suggested) + " holds 99 of 100 sequences whole"});
  answer.add(Paragraph{"an epoch: " + words(kept) + " tokens, " + counted(grouped(steps(data.sequences)), "step") + " of " +
                       counted(grouped(in_step), "sequence") + ", " + words(packed_steps) + " if packed"});
  if (!assumed_words.empty()) answer.add(Paragraph{"assumed: " + assumed_words, Tone::faint});
  return answer;
}

}  // namespace qwenplan::command
