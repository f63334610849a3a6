#include <unistd.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "cli/run_flags.hpp"
#include "command/command.hpp"
#include "command/method_plans.hpp"
#include "command/subject.hpp"
#include "probe/disk.hpp"
#include "qwenplan/estimate/host.hpp"
#include "qwenplan/estimate/storage.hpp"
#include "render/quantity.hpp"

namespace qwenplan::command {
namespace {

/// Progress on stderr, since stdout has the answer: a line that changes on a terminal, else one for
/// each phase. With JSON a file or a pipe gets none, because an error there is one object alone.
class Progress {
 public:
  explicit Progress(const Invocation& in)
      : is_terminal_(isatty(STDERR_FILENO) == 1),
        is_quiet_(in.is_quiet || (in.format == Format::json && !is_terminal_)) {}

  void operator()(std::string_view phase, double done) {
    if (is_quiet_) return;
    const int percent = static_cast<int>(100 * done);
    if (phase == phase_ && (!is_terminal_ || percent == percent_)) return;
    const std::string words(phase);
    say(is_terminal_ ? "\r\x1b[K" + words + " " + std::to_string(percent) + " %"
                     : words + " ...\n");
    phase_ = words;
    percent_ = percent;
  }
  void finish() const {
    if (!is_quiet_ && is_terminal_) say("\r\x1b[K");
  }

 private:
  /// Nobody may be listening, and that is no reason to stop.
  static void say(const std::string& text) {
    if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;
  }
  bool is_terminal_;
  bool is_quiet_;
  std::string phase_;
  int percent_ = -1;
};

std::string per_second(double bytes) {
  return text(Bytes(static_cast<std::int64_t>(bytes))) + "/s";
}

/// What a job asks of the disk, and how long that takes here.
struct Needs {
  std::string name;
  Bytes model;       ///< read at the start
  Bytes checkpoint;  ///< written at each save
};

Result<Needs> needs_of(const Invocation& in) {
  const auto tables = Tables::open(in.data_directory);
  if (!tables) return tables.error();
  const auto subject = read_subject(in, *tables);
  if (!subject) return subject.error();
  auto draft = read_run(in);
  if (!draft) return draft.error();
  if (const auto error = not_emulated(*subject)) return *error;
  const Setup setup = setup_of(*subject);
  const auto jobs = method_plans(setup, *draft);
  if (!jobs) return jobs.error();
  const Model& model = setup.model();
  const Run& run = jobs->chosen().plan.valid.run;
  return Needs{name_of(jobs->chosen()) + " of " + model.id,
               Bytes(model_parameters(model).total().count()) * element_size(model.stored),
               checkpoint_size(model, run).likely};
}

double seconds_for(Bytes bytes, double rate) { return static_cast<double>(bytes.count()) / rate; }

}  // namespace

Result<Answer> storage_bench(const Invocation& in) {
  if (in.uses_guide)
    return Error{Error::Kind::unknown,
                 "the guide's benchmark measures the page cache, and is not done", "--estimator",
                 "leave it out"};
  DiskBench bench;
  bench.folder = in.words.empty() ? "." : in.words[0];
  const auto size = read_size(in, "size", Zero::refused);
  if (!size) return size.error();
  bench.most = size->value_or(bench.most);
  const auto seconds = in.number("seconds", 1, 3600);
  if (!seconds) return seconds.error();
  bench.seconds = seconds->value_or(bench.seconds);
  std::optional<Needs> needs;
  if (in.has("model")) {
    auto read = needs_of(in);
    if (!read) return read.error();
    needs = std::move(*read);
  }

  Progress progress(in);
  const auto speed =
      bench_disk(bench, [&](std::string_view phase, double done) { progress(phase, done); });
  progress.finish();
  if (!speed) return speed.error();

  Answer answer;
  answer.schema = "qwenplan.storage-bench/1";
  answer.inputs.push_back({"folder", Value(bench.folder), in.words.empty() ? "default" : "flag"});
  answer.inputs.push_back({"size_bytes", Value(bench.most), *size ? "flag" : "default"});
  answer.inputs.push_back({"seconds", Value(bench.seconds), *seconds ? "flag" : "default"});
  answer.notes = speed->notes;
  answer.json.set("sequential_read_bytes_per_second", speed->sequential_read);
  answer.json.set("sequential_write_bytes_per_second", speed->sequential_write);
  answer.json.set("random_read_iops", speed->random_read);
  answer.json.set("random_write_iops", speed->random_write);
  answer.json.set("direct", speed->is_direct);
  answer.json.set("file_system",
                  speed->space.file_system.empty() ? Value() : Value(speed->space.file_system));
  answer.json.set("is_memory", speed->space.is_memory);
  answer.json.set("file_bytes", speed->size);
  answer.json.set("available_bytes", speed->space.available);
  answer.json.set("elapsed_seconds", speed->seconds);

  answer.add(Headline{"reads " + per_second(speed->sequential_read) + ", writes " +
                      per_second(speed->sequential_write) +
                      (speed->is_direct         ? ", past the page cache"
                       : speed->space.is_memory ? ", in memory: this is no disk"
                                                : ", with fsync; the page cache may help")});
  Table table{{{""}, {"", Column::Align::right}}, {}};
  table.rows.push_back({"sequential read", per_second(speed->sequential_read)});
  table.rows.push_back({"sequential write, synced", per_second(speed->sequential_write)});
  table.rows.push_back(
      {"random read of 4 KiB", grouped(static_cast<std::int64_t>(speed->random_read)) + "/s"});
  table.rows.push_back({"random write of 4 KiB, synced",
                        grouped(static_cast<std::int64_t>(speed->random_write)) + "/s"});
  table.rows.push_back(
      {"file", text(speed->size) +
                   (speed->space.file_system.empty() ? "" : " on " + speed->space.file_system)});
  answer.add(std::move(table));

  // A shuffled epoch reads a page of token ids here and one there; this is the slowest that it can
  // be.
  const double tokens = speed->random_read * (4096.0 / static_cast<double>(host::kArrowPerToken));
  Value job;
  if (needs) {
    const double load = seconds_for(needs->model, speed->sequential_read);
    const double save = seconds_for(needs->checkpoint, speed->sequential_write);
    job = Value::object({{"job", needs->name},
                         {"model_bytes", needs->model},
                         {"load_seconds", load},
                         {"checkpoint_bytes", needs->checkpoint},
                         {"checkpoint_seconds", save},
                         {"dataloader_tokens_per_second", tokens}});
    Table times{{{needs->name}, {"", Column::Align::right}, {""}}, {}};
    times.rows.push_back({"load the model", text_duration(load), text(needs->model)});
    times.rows.push_back({"write a checkpoint", text_duration(save), text(needs->checkpoint)});
    times.rows.push_back({"feed the data loader",
                          grouped(static_cast<std::int64_t>(tokens)) + " tokens/s",
                          "at the least, in random order"});
    answer.add(std::move(times));
  }
  answer.json.set("job", std::move(job));
  return answer;
}

}  // namespace qwenplan::command
