#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwenplan/base/result.hpp"
#include "qwenplan/describe/run.hpp"

namespace qwenplan::guide {

/// A table as the guide prints it, less its bold marks: text cells, row by row behind the headings.
struct Table {
  std::string_view title;
  std::size_t width;
  std::span<const std::string_view> cells;

  constexpr std::span<const std::string_view> columns() const { return cells.first(width); }
  constexpr std::size_t rows() const { return cells.size() / width - 1; }
  constexpr std::span<const std::string_view> row(std::size_t index) const {
    return cells.subspan((index + 1) * width, width);
  }
};

// One line is one row of the guide.
// clang-format off
inline constexpr std::array<std::string_view, 28> kSpecsCells = {
    "Component", "Minimum", "Recommended", "Optimal",
    "GPU", "RTX 3060 12GB", "RTX 4070 Ti 12GB", "RTX 4090 24GB",
    "VRAM", "12GB", "16GB", "24GB+",
    "System RAM", "16GB", "32GB", "64GB",
    "Storage", "500GB SSD", "1TB NVMe SSD", "2TB NVMe SSD",
    "CPU", "6-core", "8-core", "12+ core",
    "PSU", "650W", "750W", "850W+",
};
/// What a machine for this needs.
inline constexpr Table kSpecs = {"Minimum vs Recommended Specifications", 4, kSpecsCells};

inline constexpr std::array<std::string_view, 36> kMatrixCells = {
    "Model Size", "RTX 3060 12GB", "RTX 4070 12GB", "RTX 4070 Ti 12GB", "RTX 4080 16GB", "RTX 4090 24GB",
    "Qwen2.5-3B", "✅ Full", "✅ Full", "✅ Full", "✅ Full", "✅ Full",
    "Qwen3-1.7B", "✅ Full", "✅ Full", "✅ Full", "✅ Full", "✅ Full",
    "Qwen2.5-7B", "⚠️ QLoRA Only", "✅ QLoRA/LoRA", "✅ Full", "✅ Full", "✅ Full",
    "Qwen2.5-14B", "❌ Not Feasible", "⚠️ QLoRA Only", "⚠️ QLoRA Only", "✅ QLoRA/LoRA", "✅ Full",
    "Qwen2.5-32B", "❌ Not Feasible", "❌ Not Feasible", "❌ Not Feasible", "⚠️ QLoRA Only", "✅ QLoRA/LoRA",
};
/// Which model can be trained how on which card.
inline constexpr Table kMatrix = {"Hardware Compatibility Matrix", 6, kMatrixCells};

inline constexpr std::array<std::string_view, 49> kGpusCells = {
    "GPU Model", "VRAM", "Memory Bandwidth", "CUDA Cores", "Tensor Cores", "Price Range", "Performance Score",
    "RTX 3060 12GB", "12GB", "360 GB/s", "3584", "112 (2nd gen)", "$300-400", "7/10",
    "RTX 4060 Ti 16GB", "16GB", "288 GB/s", "4352", "136 (3rd gen)", "$500-600", "8/10",
    "RTX 4070 12GB", "12GB", "504 GB/s", "5888", "184 (3rd gen)", "$600-700", "8.5/10",
    "RTX 4070 Ti 12GB", "12GB", "504 GB/s", "7680", "240 (3rd gen)", "$700-800", "9/10",
    "RTX 4080 16GB", "16GB", "717 GB/s", "9728", "304 (3rd gen)", "$1000-1200", "9.5/10",
    "RTX 4090 24GB", "24GB", "1008 GB/s", "16384", "512 (3rd gen)", "$1500-2000", "10/10",
};
/// Six cards compared.
inline constexpr Table kGpus = {"GPU Performance Comparison", 7, kGpusCells};

inline constexpr std::array<std::string_view, 28> kStoragePlanCells = {
    "Component", "Size Range", "Description", "Recommended Type",
    "Base Models", "2-50GB", "Original model weights", "NVMe SSD",
    "Datasets", "1-100GB", "Training data", "SATA SSD",
    "Checkpoints", "2-50GB each", "Training snapshots", "NVMe SSD",
    "Logs & Metrics", "100MB-1GB", "Training logs", "Any SSD",
    "Fine-tuned Models", "2-50GB each", "Final outputs", "NVMe SSD",
    "Cache & Temp", "10-50GB", "Temporary files", "NVMe SSD",
};
/// How much disk each kind of file takes.
inline constexpr Table kStoragePlan = {"Storage Capacity Planning", 4, kStoragePlanCells};

inline constexpr std::array<std::string_view, 25> kCpuTiersCells = {
    "CPU Tier", "Cores/Threads", "Examples", "Training Impact", "Recommended Use",
    "Budget", "6C/12T", "Ryzen 5 5600X, i5-12400", "Basic preprocessing", "Small datasets",
    "Mainstream", "8C/16T", "Ryzen 7 5700X, i7-12700", "Good performance", "Most use cases",
    "High-End", "12C/24T+", "Ryzen 9 5900X, i9-12900K", "Optimal performance", "Large datasets",
    "Workstation", "16C/32T+", "Threadripper, Xeon", "Maximum throughput", "Production",
};
/// Processors by tier.
inline constexpr Table kCpuTiers = {"CPU Performance Impact", 5, kCpuTiersCells};

inline constexpr std::array<std::string_view, 35> kSpeedCells = {
    "Model", "Method", "Batch Size", "Seq Length", "Tokens/sec", "Time/Epoch", "Memory Usage",
    "Qwen2.5-3B", "Full FT", "4", "2048", "1,200", "45 min", "10.5GB",
    "Qwen2.5-3B", "LoRA", "8", "2048", "2,000", "28 min", "8.2GB",
    "Qwen2.5-7B", "QLoRA", "2", "1024", "800", "75 min", "11.8GB",
    "Qwen2.5-7B", "QLoRA", "4", "512", "1,400", "42 min", "11.2GB",
};
/// Training speed on an RTX 3060 12GB.
inline constexpr Table kSpeed = {"RTX 3060 12GB Performance", 7, kSpeedCells};

inline constexpr std::array<std::string_view, 36> kComparativeCells = {
    "GPU", "Model", "Method", "Relative Speed", "Memory Efficiency", "Cost/Performance",
    "RTX 3060 12GB", "Qwen2.5-3B", "Full FT", "1.0x", "Good", "Excellent",
    "RTX 4070 12GB", "Qwen2.5-3B", "Full FT", "1.4x", "Good", "Good",
    "RTX 4070 Ti 12GB", "Qwen2.5-7B", "Full FT", "2.1x", "Excellent", "Good",
    "RTX 4080 16GB", "Qwen2.5-7B", "Full FT", "2.8x", "Excellent", "Fair",
    "RTX 4090 24GB", "Qwen2.5-14B", "Full FT", "4.2x", "Excellent", "Poor",
};
/// Speed of five cards relative to the RTX 3060.
inline constexpr Table kComparative = {
    "Comparative Performance (Different GPUs)", 6, kComparativeCells};

inline constexpr std::array<std::string_view, 48> kCloudCells = {
    "Platform", "Instance Type", "GPU", "VRAM", "Cost/Hour", "Best For",
    "Google Colab Pro+", "-", "A100", "40GB", "$50/month", "Experimentation",
    "AWS SageMaker", "ml.p3.2xlarge", "V100", "16GB", "$3.06/hour", "Production",
    "Google Cloud", "n1-standard-4 + V100", "V100", "16GB", "$2.48/hour", "Cost-effective",
    "Azure ML", "Standard_NC6s_v3", "V100", "16GB", "$3.06/hour", "Enterprise",
    "Lambda Labs", "gpu_1x_a100_sxm4", "A100", "40GB", "$1.10/hour", "Best value",
    "RunPod", "RTX 4090", "RTX 4090", "24GB", "$0.50/hour", "Budget",
    "Vast.ai", "Various", "Various", "Various", "$0.20-2.00/hour", "Flexible",
};
/// Where to rent.
inline constexpr Table kCloud = {"Cloud Platform Comparison", 6, kCloudCells};

inline constexpr std::array<std::string_view, 36> kBudgetLayoutCells = {
    "Folder", "Size", "Contents",
    "models/", "200GB", "",
    "models/base_models/", "100GB", "2-3 base models",
    "models/fine_tuned/", "100GB", "2-3 fine-tuned models",
    "datasets/", "150GB", "",
    "datasets/raw/", "50GB", "Original datasets",
    "datasets/processed/", "50GB", "Preprocessed data",
    "datasets/cache/", "50GB", "HuggingFace cache",
    "training/", "100GB", "",
    "training/checkpoints/", "80GB", "Training checkpoints",
    "training/logs/", "20GB", "Training logs",
    "temp/", "50GB", "Temporary files",
};
/// Folders of a 500 GB disk; paths are spelt out.
inline constexpr Table kBudgetLayout = {
    "Storage Layout - Budget (500GB NVMe SSD)", 3, kBudgetLayoutCells};

inline constexpr std::array<std::string_view, 36> kRecommendedLayoutCells = {
    "Folder", "Size", "Contents",
    "models/", "400GB", "",
    "models/base_models/", "200GB", "5-6 base models",
    "models/fine_tuned/", "200GB", "5-6 fine-tuned models",
    "datasets/", "300GB", "",
    "datasets/raw/", "100GB", "Multiple datasets",
    "datasets/processed/", "100GB", "Preprocessed variants",
    "datasets/cache/", "100GB", "Extended cache",
    "training/", "200GB", "",
    "training/checkpoints/", "150GB", "Multiple experiments",
    "training/logs/", "50GB", "Detailed logs",
    "temp/", "100GB", "Large temporary files",
};
/// Folders of a 1 TB disk.
inline constexpr Table kRecommendedLayout = {
    "Storage Layout - Recommended (1TB NVMe SSD)", 3, kRecommendedLayoutCells};

inline constexpr std::array<std::string_view, 42> kProfessionalLayoutCells = {
    "Folder", "Size", "Contents",
    "models/", "800GB", "",
    "models/base_models/", "300GB", "Complete model collection",
    "models/fine_tuned/", "300GB", "Multiple variants",
    "models/experiments/", "200GB", "Experimental models",
    "datasets/", "600GB", "",
    "datasets/raw/", "200GB", "Large dataset collection",
    "datasets/processed/", "200GB", "Multiple preprocessing",
    "datasets/augmented/", "100GB", "Data augmentation",
    "datasets/cache/", "100GB", "Full cache",
    "training/", "400GB", "",
    "training/checkpoints/", "300GB", "Comprehensive experiments",
    "training/logs/", "100GB", "Detailed analytics",
    "backup/", "200GB", "Local backups",
};
/// Folders of a 2 TB disk.
inline constexpr Table kProfessionalLayout = {
    "Storage Layout - Professional (2TB NVMe SSD)", 3, kProfessionalLayoutCells};

inline constexpr std::array<std::string_view, 27> kEntryPartsCells = {
    "Part", "Model", "Price",
    "GPU", "RTX 3060 12GB", "$350",
    "CPU", "Ryzen 5 5600X", "$150",
    "RAM", "16GB DDR4-3200", "$60",
    "Storage", "500GB NVMe SSD", "$50",
    "Motherboard", "B450/B550", "$80",
    "PSU", "650W 80+ Gold", "$70",
    "Case + Cooling", "", "$100",
    "Total", "", "~$860",
};
/// The cheapest of three machines.
inline constexpr Table kEntryParts = {"Entry Level Arabic Qwen Setup", 3, kEntryPartsCells};

inline constexpr std::array<std::string_view, 4> kEntryAbilities = {
    "✅ Qwen2.5-3B full fine-tuning",
    "✅ Qwen2.5-7B QLoRA fine-tuning",
    "⚠️ Limited to smaller datasets",
    "❌ Cannot handle 14B+ models",
};

inline constexpr std::array<std::string_view, 27> kMainstreamPartsCells = {
    "Part", "Model", "Price",
    "GPU", "RTX 4070 12GB", "$600",
    "CPU", "Ryzen 7 5700X", "$200",
    "RAM", "32GB DDR4-3200", "$120",
    "Storage", "1TB NVMe SSD", "$80",
    "Motherboard", "B550/X570", "$120",
    "PSU", "750W 80+ Gold", "$90",
    "Case + Cooling", "", "$150",
    "Total", "", "~$1,360",
};
/// The machine between.
inline constexpr Table kMainstreamParts = {
    "Mainstream Arabic Qwen Setup", 3, kMainstreamPartsCells};

inline constexpr std::array<std::string_view, 4> kMainstreamAbilities = {
    "✅ All models up to 7B full fine-tuning",
    "✅ Qwen2.5-14B QLoRA fine-tuning",
    "✅ Large dataset processing",
    "✅ Multiple concurrent experiments",
};

inline constexpr std::array<std::string_view, 27> kHighEndPartsCells = {
    "Part", "Model", "Price",
    "GPU", "RTX 4080 16GB", "$1,100",
    "CPU", "Ryzen 9 5900X", "$300",
    "RAM", "64GB DDR4-3200", "$240",
    "Storage", "2TB NVMe SSD", "$160",
    "Motherboard", "X570", "$150",
    "PSU", "850W 80+ Gold", "$120",
    "Case + Cooling", "", "$200",
    "Total", "", "~$2,270",
};
/// The dearest machine.
inline constexpr Table kHighEndParts = {"High-End Arabic Qwen Setup", 3, kHighEndPartsCells};

inline constexpr std::array<std::string_view, 4> kHighEndAbilities = {
    "✅ All models up to 14B full fine-tuning",
    "✅ Production-ready performance",
    "✅ Multiple large datasets",
    "✅ Advanced experimentation",
};
// clang-format on

/// The cards and models of the matrix by our ids, in the order of its columns and rows.
inline constexpr std::array<std::string_view, 5> kMatrixGpus = {
    "rtx3060-12g", "rtx4070-12g", "rtx4070ti-12g", "rtx4080-16g", "rtx4090-24g"};
inline constexpr std::array<std::string_view, 5> kMatrixModels = {
    "qwen2.5-3b", "qwen3-1.7b", "qwen2.5-7b", "qwen2.5-14b", "qwen2.5-32b"};

/// The best method that a cell of the matrix claims, or nothing where it says that none fits.
constexpr std::optional<Method> best_method(std::string_view cell) {
  if (cell.ends_with("QLoRA Only")) return Method::qlora;
  if (cell.ends_with("QLoRA/LoRA")) return Method::lora;
  if (cell.ends_with("Full")) return Method::full;
  return std::nullopt;
}

/// A storage layout by the name that the command line has for it.
struct Layout {
  std::string_view name;
  const Table* folders;
};
inline constexpr std::array<Layout, 3> kLayouts = {{{"budget", &kBudgetLayout},
                                                    {"recommended", &kRecommendedLayout},
                                                    {"professional", &kProfessionalLayout}}};

/// One of the guide's three machines: parts, and what it says that the machine can do.
struct Build {
  std::string_view name;
  std::string_view heading;
  const Table* parts;
  std::span<const std::string_view> capabilities;
};
inline constexpr std::array<Build, 3> kBuilds = {
    {{"entry", "Entry Level ($800-1200)", &kEntryParts, kEntryAbilities},
     {"mainstream", "Mainstream ($1200-1800)", &kMainstreamParts, kMainstreamAbilities},
     {"high-end", "High-End ($1800-2500)", &kHighEndParts, kHighEndAbilities}}};

/// Nothing where no layout or build has that name.
constexpr const Table* layout(std::string_view name) {
  for (const Layout& entry : kLayouts)
    if (entry.name == name) return entry.folders;
  return nullptr;
}
constexpr const Build* build(std::string_view name) {
  for (const Build& entry : kBuilds)
    if (entry.name == name) return &entry;
  return nullptr;
}

struct LoraConfig {
  std::int64_t r = 0;
  std::int64_t lora_alpha = 0;
  std::vector<std::string> target_modules;
  double lora_dropout = 0;
};

template <class Visit>
void for_each_field(const LoraConfig& config, Visit&& visit) {
  visit("r", config.r);
  visit("lora_alpha", config.lora_alpha);
  visit("target_modules", config.target_modules);
  visit("lora_dropout", config.lora_dropout);
}

struct MemoryOptimization {
  bool gradient_checkpointing = false;
  bool dataloader_pin_memory = false;
  std::int64_t empty_cache_steps = 0;
  std::optional<bool> cpu_offload;
};

/// Visits only what is there: `cpu_offload` is left out where the guide does not have it.
template <class Visit>
void for_each_field(const MemoryOptimization& settings, Visit&& visit) {
  visit("gradient_checkpointing", settings.gradient_checkpointing);
  visit("dataloader_pin_memory", settings.dataloader_pin_memory);
  visit("empty_cache_steps", settings.empty_cache_steps);
  if (settings.cpu_offload) visit("cpu_offload", *settings.cpu_offload);
}

/// One entry of the guide's RTX_3060_CONFIGS.
struct TrainingConfig {
  std::string method;
  std::string precision;
  std::int64_t batch_size = 0;
  std::int64_t gradient_accumulation_steps = 0;
  std::int64_t max_seq_length = 0;
  double learning_rate = 0;
  std::optional<LoraConfig> lora_config;
  MemoryOptimization memory_optimization;
};

/// Visits only what is there: `lora_config` is left out where the guide does not have it.
template <class Visit>
void for_each_field(const TrainingConfig& config, Visit&& visit) {
  visit("method", config.method);
  visit("precision", config.precision);
  visit("batch_size", config.batch_size);
  visit("gradient_accumulation_steps", config.gradient_accumulation_steps);
  visit("max_seq_length", config.max_seq_length);
  visit("learning_rate", config.learning_rate);
  if (config.lora_config) visit("lora_config", *config.lora_config);
  visit("memory_optimization", config.memory_optimization);
}

/// The guide's training configuration of that name: its own (qwen2.5-3b, qwen2.5-7b), or that of
/// the command line (rtx3060-3b, rtx3060-7b).
inline Result<TrainingConfig> training_config(std::string_view name) {
  if (name == "qwen2.5-3b" || name == "rtx3060-3b")
    return TrainingConfig{"full_finetuning",
                          "fp16",
                          4,
                          4,
                          2048,
                          2e-5,
                          std::nullopt,
                          {true, false, 100, std::nullopt}};
  if (name == "qwen2.5-7b" || name == "rtx3060-7b")
    return TrainingConfig{"qlora",
                          "4bit",
                          2,
                          8,
                          1024,
                          1e-4,
                          LoraConfig{16, 32, {"q_proj", "v_proj", "k_proj", "o_proj"}, 0.1},
                          {true, false, 50, true}};
  return Error{Error::Kind::wrong,
               "the guide has no configuration '" + std::string(name.substr(0, 40)) + "'",
               "--preset", "rtx3060-3b or rtx3060-7b"};
}

}  // namespace qwenplan::guide
