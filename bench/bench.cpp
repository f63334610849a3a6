// What an answer costs: whole processes of qwenplan, the parts of one emulation by size of the
// model, and their growth with the number of layers. Prints medians and the fastest tenth; on a
// machine with other work, CPU time says more than the time on the wall.

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "qwenplan/describe/run_draft.hpp"
#include "qwenplan/emulate/step.hpp"
#include "qwenplan/estimate/memory.hpp"
#include "read/tables.hpp"

extern char** environ;

namespace {

using namespace qwenplan;

double milliseconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

/// Times of equal runs, in milliseconds.
class Times {
 public:
  void add(double time) { times_.push_back(time); }
  double median() { return at(times_.size() / 2); }
  double tenth() { return at(times_.size() / 10); }

 private:
  double at(std::size_t rank) {
    const auto place = times_.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(times_.begin(), place, times_.end());
    return *place;
  }
  std::vector<double> times_;
};

/// Runs a command with its output thrown away; gives its CPU time, or stops the benchmark.
double run(const std::vector<std::string>& command) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed = posix_spawn(&child, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  rusage use{};
  if (failed != 0 || wait4(child, &status, 0, &use) != child || !WIFEXITED(status) ||
      WEXITSTATUS(status) > 1) {
    std::fprintf(stderr, "error: '%s' did not answer\n", words[0]);
    std::exit(2);
  }
  const auto ms = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  };
  return ms(use.ru_utime) + ms(use.ru_stime);
}

void whole_processes(const std::string& program, int runs) {
  const std::vector<std::vector<std::string>> questions = {
      {"--version"},
      {"vram", "--model", "7b", "--method", "qlora", "--json"},
      {"vram", "--model", "7b", "--gpu", "rtx4090", "--method", "qlora", "--json"},
      {"vram", "--model", "7b", "--gpu", "rtx3060", "--method", "qlora", "--json"},
      {"vram", "--model", "7b", "--gpu", "rtx3060"},
      {"vram", "--model", "72b", "--gpu", "rtx3060"},
  };
  std::printf("whole process, ms (%d runs)                                  CPU median  tenth   wall median  tenth\n",
              runs);
  for (const std::vector<std::string>& question : questions) {
    std::vector<std::string> command{program};
    std::string words;
    for (const std::string& word : question) {
      command.push_back(word);
      words += (words.empty() ? "" : " ") + word;
    }
    Times cpu, wall;
    for (int i = 0; i < runs; ++i) {
      const double before = milliseconds(CLOCK_MONOTONIC);
      cpu.add(run(command));
      wall.add(milliseconds(CLOCK_MONOTONIC) - before);
    }
    std::printf("%-60s %8.2f %8.2f %10.2f %8.2f\n", words.c_str(), cpu.median(), cpu.tenth(), wall.median(),
                wall.tenth());
  }
}

/// `check` of a thousand files, all of them different runs or sixty runs with other names and rates.
void a_thousand_files(const std::string& program) {
  namespace fs = std::filesystem;
  constexpr int kFiles = 1000;
  const fs::path folder = fs::temp_directory_path() / ("qwenplan-bench-" + std::to_string(getpid()));
  std::printf("\ncheck of %d files, ms\n", kFiles);
  for (const int runs : {kFiles, 60}) {
    fs::create_directories(folder);
    for (int i = 0; i < kFiles; ++i) {
      const int run = i % runs;
      std::ofstream(folder / ("run" + std::to_string(i) + ".yaml"))
          << "model_name_or_path: Qwen/Qwen2.5-" << (run % 2 == 0 ? "7B" : "3B")
          << "-Instruct\nstage: sft\ndo_train: true\nfinetuning_type: lora\ndataset: d" << i
          << "\ntemplate: qwen\ncutoff_len: " << 1024 + 8 * (run / 4)
          << "\nper_device_train_batch_size: " << 1 + run % 4
          << "\nbf16: true\nlearning_rate: 1.0e-4\noutput_dir: out" << i
          << (run % 3 == 0 ? "\nquantization_bit: 4\n" : "\n");
    }
    const double cpu = run({program, "check", folder.string(), "--gpu", "rtx4090", "--json", "--fail-on", "never"});
    std::printf("%4d different runs %8.0f\n", runs, cpu);
    fs::remove_all(folder);
  }
}

/// `dataset` of a file of chats in Arabic, English and code: megabytes a second of one core.
void a_large_dataset(const std::string& program) {
  constexpr std::size_t kBytes = std::size_t{200} << 20;
  const std::string path =
      (std::filesystem::temp_directory_path() / ("qwenplan-bench-" + std::to_string(getpid()) + ".jsonl")).string();
  const std::string texts[] = {"يحتاج تدريب النموذج إلى وقت وذاكرة، وذاكرة البطاقة هي التي توقف أكثر عمليات التدريب. ",
                               "Training a model takes time and memory; the card's memory ends most of the trainings. ",
                               "for (int i = 0; i < n; ++i) {\\n  total += values[i];\\n}\\n"};
  std::string lines;
  for (int i = 0; i < 300; ++i) {
    std::string answer;
    for (int n = 0; n <= i % 20; ++n) answer += texts[(i + n / 8) % 3];
    lines += "{\"messages\": [{\"role\": \"user\", \"content\": \"" + texts[i % 2] +
             "\"}, {\"role\": \"assistant\", \"content\": \"" + answer + "\"}]}\n";
  }
  {
    std::ofstream out(path, std::ios::binary);
    for (std::size_t written = 0; written < kBytes; written += lines.size()) out << lines;
  }
  const auto size = static_cast<double>(std::filesystem::file_size(path));
  const double cpu = run({program, "dataset", path, "--json"});
  std::filesystem::remove(path);
  std::printf("\ndataset of %.0f MB: %.0f MB/s of CPU time\n", size / 1e6, size / 1e3 / cpu);
}

/// CPU milliseconds of each part of one emulation: half a trace is a step.
void emulation(const std::string& label, const Model& model, const Run& settings, int runs) {
  Times step, count, replay;
  std::size_t events = 0;
  for (int i = 0; i < runs; ++i) {
    const double start = milliseconds(CLOCK_THREAD_CPUTIME_ID);
    const Trace steps = trace(model, settings, kLatest, 86);
    const double traced = milliseconds(CLOCK_THREAD_CPUTIME_ID);
    const Footprint footprint_of_steps = footprint(steps);
    const double counted = milliseconds(CLOCK_THREAD_CPUTIME_ID);
    const Reserved reserved = reserve(steps);
    const double replayed = milliseconds(CLOCK_THREAD_CPUTIME_ID);
    if (footprint_of_steps.allocated > reserved.peak_reserved) std::abort();  // also: nothing is left out
    step.add((traced - start) / 2);
    count.add(counted - traced);
    replay.add(replayed - counted);
    events = steps.events.size();
  }
  const double whole = 2 * step.median() + count.median() + replay.median();
  std::printf("%-18s %-6s %6lld %8zu %8.3f %8.3f %8.3f %8.3f %8.4f\n", label.c_str(),
              std::string(name(settings.method)).c_str(), static_cast<long long>(model.layers), events,
              step.median(), count.median(), replay.median(), whole,
              whole / static_cast<double>(model.layers));
}

/// The run of a method with its usual settings.
Run settings_of(Method method) {
  Run run;
  run.method = method;
  if (method == Method::full) run.weights = DType::fp32;
  if (method == Method::qlora) {
    run.quantization = Quantization::nf4;
    run.upcasts_for_kbit = true;
  }
  return run;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s PROGRAM [RUNS]\n", argv[0]);
    return 2;
  }
  const int runs = argc > 2 ? std::max(1, std::atoi(argv[2])) : 40;
  whole_processes(argv[1], runs);
  a_thousand_files(argv[1]);
  a_large_dataset(argv[1]);

  const auto tables = Tables::open();
  if (!tables) return 2;
  std::printf("\nemulation, CPU ms, medians (%d runs)\n", runs);
  std::printf("model              method layers   events   a step    count   replay      all  a layer\n");
  for (const char* id : {"qwen2.5-0.5b", "qwen2.5-7b", "qwen2.5-32b", "qwen2.5-72b"}) {
    const auto found = tables->model(id);
    if (!found) return 2;
    for (const Method method : {Method::full, Method::lora, Method::qlora})
      emulation(id, found->model, settings_of(method), runs);
  }
  std::printf("\nthe same of qwen2.5-7b with other numbers of layers: a layer must cost the same\n");
  const auto found = tables->model("qwen2.5-7b");
  if (!found) return 2;
  Model model = found->model;
  for (const std::int64_t layers : {7, 14, 28, 56, 112, 224}) {
    model.layers = layers;
    emulation("qwen2.5-7b", model, settings_of(Method::qlora), runs);
  }
  return 0;
}
