#include "cli/flags.hpp"
#include "command/command.hpp"

// How to add a command:
//   1. write src/command/NAME.cpp with `Result<Answer> NAME(const Invocation&)` in namespace
//      qwenplan::command (CMake finds the file); it fills an Answer (render/answer.hpp) or returns an Error;
//   2. declare it below and name it in its line of the table, with the sets of flags that it takes;
//   3. a flag of its own is a line in its table in src/cli/flags.cpp.
// Parsing, help, spelling, --format, --quiet, errors and the exit status come from there.

namespace qwenplan {
namespace command {
Result<Answer> batch(const Invocation&);
Result<Answer> bench(const Invocation&);
Result<Answer> build(const Invocation&);
Result<Answer> cloud_budget(const Invocation&);
Result<Answer> cloud_compare(const Invocation&);
Result<Answer> cloud_script(const Invocation&);
Result<Answer> cloud_strategy(const Invocation&);
Result<Answer> cpu(const Invocation&);
Result<Answer> calibrate(const Invocation&);
Result<Answer> check(const Invocation&);
Result<Answer> data_check(const Invocation&);
Result<Answer> data_list(const Invocation&);
Result<Answer> data_show(const Invocation&);
Result<Answer> dataset(const Invocation&);
Result<Answer> doctor(const Invocation&);
Result<Answer> explain(const Invocation&);
Result<Answer> gpus(const Invocation&);
Result<Answer> roi(const Invocation&);
Result<Answer> specs(const Invocation&);
Result<Answer> plan(const Invocation&);
Result<Answer> ram(const Invocation&);
Result<Answer> storage_bench(const Invocation&);
Result<Answer> storage_clean(const Invocation&);
Result<Answer> storage_env(const Invocation&);
Result<Answer> storage_init(const Invocation&);
Result<Answer> storage_layout(const Invocation&);
Result<Answer> storage_plan(const Invocation&);
Result<Answer> validate(const Invocation&);
Result<Answer> time(const Invocation&);
Result<Answer> vram(const Invocation&);
Result<Answer> matrix(const Invocation&);
Result<Answer> monitor(const Invocation&);
Result<Answer> recommend(const Invocation&);
}  // namespace command

namespace {

constexpr Words kNoWords{};

const std::array kCommands = {
    Command{"vram", "does this run fit this GPU, and where its memory goes", command::vram,
            {subject_flags(), run_flags(), parallel_flags(), vram_flags()}, kNoWords,
            "qwenplan vram --model 7b --gpu rtx3060"},
    Command{"ram", "host memory of the same run", command::ram,
            {subject_flags(), run_flags(), parallel_flags(), data_flags(), ram_flags()}, kNoWords,
            "qwenplan ram --model 7b --gpu rtx3060 --workers 4"},
    Command{"matrix", "models x GPUs: the best method of each pair", command::matrix,
            {run_flags(), matrix_flags()}, kNoWords, "qwenplan matrix --against guide"},
    Command{"specs", "minimum, recommended and optimal machine for a job", command::specs,
            {subject_flags(), run_flags()}, kNoWords},
    Command{"gpus", "GPUs compared: memory, bandwidth, rate, price", command::gpus, {subject_flags(), run_flags(), gpus_flags()}, kNoWords},
    Command{"recommend", "the best configuration for a model on a GPU", command::recommend,
            {subject_flags(), run_flags(), parallel_flags(), recommend_flags()}, kNoWords,
            "qwenplan recommend --preset rtx3060-7b"},
    Command{"check", "a trainer's own configuration: fits, or what is wrong", command::check,
            {subject_flags(), check_flags(), data_flags()}, {"FILE...", 1, -1},
            "qwenplan check train.yaml --gpu rtx3060"},
    Command{"batch", "the largest batch, length or rank that fits", command::batch,
            {subject_flags(), run_flags(), parallel_flags(), batch_flags()}, kNoWords,
            "qwenplan batch --model 3b --gpu rtx3060 --method qlora"},
    Command{"time", "tokens per second, hours per epoch, energy", command::time,
            {subject_flags(), run_flags(), parallel_flags(), data_flags(), loop_flags(), time_flags()}, kNoWords,
            "qwenplan time --model 7b --gpu rtx3060 --method qlora --examples 10000"},
    Command{"dataset", "tokens of a file of examples: lengths, cuts, padding", command::dataset,
            {dataset_flags(), reading_flags()},
            {"FILE", 1, 1}, "qwenplan dataset train.jsonl --model 7b --seq-len 2048"},
    Command{"bench", "measure load, inference and a training step", command::bench,
            {subject_flags(), run_flags(), bench_flags()}, kNoWords,
            "qwenplan bench --script --model 3b --method lora >bench.py"},
    Command{"storage plan", "disk space of a job", command::storage_plan,
            {subject_flags(), run_flags(), data_flags(), storage_plan_flags()}, kNoWords,
            "qwenplan storage plan --model 7b --method lora --dataset-size 2GB"},
    Command{"storage layout", "the three layouts of folders", command::storage_layout,
            {subject_flags(), run_flags(), data_flags(), storage_plan_flags()}, {"[NAME]", 0, 1},
            "qwenplan storage layout recommended"},
    Command{"storage init", "make the folders of a layout", command::storage_init, {layout_flags()}, {"DIR", 1, 1}},
    Command{"storage bench", "real speed of a disk", command::storage_bench,
            {subject_flags(), run_flags(), storage_bench_flags()}, {"[DIR]", 0, 1}},
    Command{"storage env", "cache variables for a folder", command::storage_env, {no_flags()}, {"DIR", 1, 1}},
    Command{"storage clean", "find old temporary files", command::storage_clean, {clean_flags()}, {"DIR", 1, 1}},
    Command{"cpu", "threads, workers and environment", command::cpu, {cpu_flags()}, kNoWords, "qwenplan cpu --shell"},
    Command{"monitor", "live memory beside the prediction", command::monitor,
            {subject_flags(), run_flags(), monitor_flags()}, {"[-- CMD...]"},
            "qwenplan monitor --plan plan.json -- python train.py"},
    Command{"build", "parts lists", command::build, {subject_flags(), run_flags(), data_flags(), loop_flags(), build_flags()},
            {"[NAME]", 0, 1}, "qwenplan build --for-job --model 7b --tokens 20000000 --deadline 12h"},
    Command{"roi", "buy or rent", command::roi, {subject_flags(), run_flags(), data_flags(), loop_flags(), roi_flags()}, kNoWords,
            "qwenplan roi --hardware-cost 1500 --gpu rtx3090 --tokens 20000000 --jobs-per-month 8"},
    Command{"cloud compare", "offers and their prices", command::cloud_compare,
            {subject_flags(), run_flags(), data_flags(), loop_flags(), cloud_compare_flags()}, kNoWords,
            "qwenplan cloud compare --model 7b --tokens 20000000 --deadline 8h"},
    Command{"cloud strategy", "on demand, spot or reserved", command::cloud_strategy,
            {subject_flags(), run_flags(), data_flags(), loop_flags(), cloud_strategy_flags()}, kNoWords,
            "qwenplan cloud strategy --model 7b --tokens 20000000 --deadline 12h"},
    Command{"cloud budget", "what a month costs, or what can be trained for a sum", command::cloud_budget,
            {subject_flags(), run_flags(), data_flags(), loop_flags(), cloud_budget_flags()}, kNoWords,
            "qwenplan cloud budget --budget 50 --tokens 20000000"},
    Command{"cloud script", "a set-up that runs", command::cloud_script,
            {subject_flags(), run_flags(), cloud_script_flags()}, {"[PLATFORM]", 0, 1}},
    Command{"plan", "the whole answer on one screen", command::plan,
            {subject_flags(), run_flags(), data_flags(), loop_flags(), plan_flags()}, kNoWords,
            "qwenplan plan --model 7b --gpu rtx3060 --dataset train.jsonl"},
    Command{"emit", "a ready launch for an engine", nullptr,
            {subject_flags(), run_flags(), parallel_flags()}, {"ENGINE", 1, 1}},
    Command{"explain", "a term of the answers, or a rule of check", command::explain, {no_flags()}, {"[TERM]", 0, 1},
            "qwenplan explain logits"},
    Command{"doctor", "what this machine is, and what is missing", command::doctor, {no_flags()}, kNoWords},
    Command{"data list", "the tables and their age", command::data_list, {no_flags()}, {"[TABLE]", 0, 1}, "qwenplan data list gpus"},
    Command{"data show", "one row, with its sources", command::data_show, {no_flags()}, {"ID", 1, 1}, "qwenplan data show rtx3060"},
    Command{"data check", "check the tables and an overlay", command::data_check, {no_flags()}, kNoWords},
    Command{"validate", "estimates against measurements", command::validate, {validate_flags()}, {"[FILE...]", 0, -1},
            "qwenplan validate --source fitcheck"},
    Command{"calibrate", "what your own measurements say of a card's speed", command::calibrate,
            {subject_flags(), run_flags(), calibrate_flags()}, {"[FILE...]", 0, -1},
            "qwenplan calibrate run.json --out overlay"},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace qwenplan
