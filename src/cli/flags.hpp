#pragma once

#include <span>

#include "cli/flag.hpp"

namespace qwenplan {

/// Every flag of every command, by what it is about. A command names the sets that it takes.
std::span<const Flag> common_flags();    ///< output, tables: every command has them
std::span<const Flag> subject_flags();   ///< which model, which GPU
std::span<const Flag> run_flags();       ///< the fine-tuning run, trainers' spellings included
std::span<const Flag> parallel_flags();  ///< several GPUs
std::span<const Flag> no_flags();

std::span<const Flag> vram_flags();
std::span<const Flag> ram_flags();
std::span<const Flag> matrix_flags();
std::span<const Flag> recommend_flags();
std::span<const Flag> check_flags();
std::span<const Flag> batch_flags();
std::span<const Flag> loop_flags();  ///< epochs, and what happens between the steps
std::span<const Flag> time_flags();
std::span<const Flag> dataset_flags();
std::span<const Flag> reading_flags();  ///< how a file of examples is read
std::span<const Flag> calibrate_flags();
std::span<const Flag> bench_flags();
std::span<const Flag> data_flags();  ///< how much text a run reads; holds `reading_flags`
std::span<const Flag> plan_flags();
std::span<const Flag> storage_plan_flags();
std::span<const Flag> layout_flags();
std::span<const Flag> storage_bench_flags();
std::span<const Flag> clean_flags();
std::span<const Flag> cpu_flags();
std::span<const Flag> monitor_flags();
std::span<const Flag> build_flags();
std::span<const Flag> gpus_flags();
std::span<const Flag> roi_flags();
std::span<const Flag> cloud_compare_flags();
std::span<const Flag> cloud_strategy_flags();
std::span<const Flag> cloud_budget_flags();
std::span<const Flag> cloud_script_flags();
std::span<const Flag> validate_flags();

}  // namespace qwenplan
