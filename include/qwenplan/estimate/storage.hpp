#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/dtype.hpp"
#include "qwenplan/describe/model.hpp"
#include "qwenplan/describe/run.hpp"
#include "qwenplan/estimate/parameters.hpp"
#include "qwenplan/estimate/text.hpp"

namespace qwenplan {

/// What disk space is for.
enum class DiskTerm : std::uint8_t {
  base_model,    ///< the checkpoint from the Hub
  dataset,       ///< the text, as it came and as Arrow
  tokenized,     ///< Arrow files of token ids
  checkpoints,   ///< those that are kept, and the one being written
  final_model,   ///< the adapter, or the whole model where all of it is trained
  merged_model,  ///< base and adapter in one
  logs,
  environment  ///< Python packages
};

constexpr std::string_view name(DiskTerm term) {
  constexpr std::string_view names[] = {"base_model",  "dataset",      "tokenized", "checkpoints",
                                        "final_model", "merged_model", "logs",      "environment"};
  return names[static_cast<int>(term)];
}

struct DiskOptions {
  Range<Tokens> tokens{};
  Bytes text{};           ///< size of the text
  std::int64_t kept = 2;  ///< checkpoints: save_total_limit
  bool merges = true;     ///< writes a merged model in the end, where there are adapters
};

namespace disk {

constexpr Bytes mb(std::int64_t count) { return Bytes(1'000'000) * count; }

/// Tokenizer, configuration, state of the trainer and of its random numbers: tokenizer.json alone
/// is 7.0 MB (Qwen2.5) and 11.4 MB (Qwen3). The rest is assumed.
inline constexpr Range<Bytes> kSmallFiles{mb(8), mb(16), mb(25)};
/// Event files grow with steps; without a profiler they stay small. Assumed.
inline constexpr Range<Bytes> kLogs{mb(1), mb(50), mb(1000)};
/// 6.1 GB for torch 2.15 with CUDA 13.2, transformers, PEFT and bitsandbytes (`du` of the
/// environment that data/measurements/host was made with); with flash-attn, vLLM or DeepSpeed it
/// grows: assumed.
inline constexpr Range<Bytes> kEnvironment{mb(5500), mb(6100), mb(12000)};

/// Arrow bytes of a token: ids and mask alone, with labels, and with a second, packed copy.
inline constexpr Range<Bytes> kTokenized{Bytes(5), Bytes(13), Bytes(26)};

}  // namespace disk

/// Weights of the embedding and of a head of its own.
inline std::int64_t outside_of_layers(const Model& m) {
  return m.vocabulary * m.hidden * (m.ties_embeddings ? 1 : 2);
}

/// Values that GaLore and APOLLO keep of the layers' matrices: two moments along the longer side, and a
/// projection along the shorter one.
inline std::int64_t projected(const Model& m, std::int64_t rank) {
  std::int64_t sides = 0;
  const auto add = [&](std::int64_t rows, std::int64_t columns, std::int64_t times) {
    sides += times * (2 * std::max(rows, columns) + std::min(rows, columns));
  };
  add(m.query_size(), m.hidden, 2), add(m.kv_size(), m.hidden, 2), add(m.ffn, m.hidden, 3);
  return sides * rank * m.layers;
}

/// Bytes of an optimizer's states as torch.save writes them.
inline Bytes optimizer_states(const Model& m, const Run& run) {
  const std::int64_t n = updated_parameters(m, run).count();
  const DType dtype = run.has_adapters() ? run.adapter : run.weights;
  constexpr std::int64_t kBlock = 256;  // bitsandbytes: one fp32 scale for so many 8-bit values
  if (const auto states = bitsandbytes_states(run.optimizer); states.copies > 0)
    return states.is_8bit ? (Bytes(n) + Bytes((n + kBlock - 1) / kBlock) * 4) * states.copies
                          : Bytes(n) * 4 * states.copies;
  switch (run.optimizer) {
    case OptimizerKind::adamw_fused:
    case OptimizerKind::adamw_foreach:
    case OptimizerKind::adamw_loop:
      return Bytes(n) * element_size(dtype) * 2;
    case OptimizerKind::schedule_free_adamw:
      return Bytes(n) * element_size(dtype) * 2;
    case OptimizerKind::adamw_anyprecision:
      return Bytes(n) * 8;
    case OptimizerKind::adamw_torchao_8bit:
      return (Bytes(n) + Bytes(n / kBlock) * 4) * 2;
    case OptimizerKind::adamw_torchao_4bit:
      return Bytes(n) + Bytes(n / kBlock) * 8;
    case OptimizerKind::muon:
    case OptimizerKind::adam_mini:  // and AdamW's second moment, or one for each row
      return (Bytes(n) + (run.optimizer == OptimizerKind::muon ? Bytes(outside_of_layers(m)) : Bytes())) * element_size(dtype);
    case OptimizerKind::galore:
    case OptimizerKind::apollo:
      return (Bytes(outside_of_layers(m)) * 2 + Bytes(projected(m, run.optimizer_rank))) * element_size(dtype);
    case OptimizerKind::sgd_momentum:
    case OptimizerKind::adagrad:
    case OptimizerKind::rmsprop:
      return Bytes(n) * element_size(dtype);
    default:  // none, or Adafactor's rows and columns, a thousandth of the weights
      return Bytes();
  }
}

/// One checkpoint: weights, optimizer, and small files.
inline Range<Bytes> checkpoint_size(const Model& m, const Run& run) {
  return Range<Bytes>::exactly(saved_weights(m, run) + optimizer_states(m, run)) +
         disk::kSmallFiles;
}

struct DiskUse {
  DiskTerm term;
  Range<Bytes> bytes;
  Evidence evidence = Evidence::assumed;
};

/// Disk space of a job at its fullest.
///
///   checkpoints = (kept + 1) * (saved weights + optimizer states + small files)
///
/// The trainer writes a new checkpoint before it deletes the oldest one.
inline std::vector<DiskUse> disk_space(const Model& m, const Run& run, const DiskOptions& o) {
  using namespace disk;
  const Params published = model_parameters(m).total() + (m.vision ? tower_parameters(m) : Params());
  const Bytes base = Bytes(published.count()) * element_size(m.stored);
  const Range<Bytes> one = checkpoint_size(m, run);
  const std::int64_t checkpoints = o.kept + 1;
  std::vector<DiskUse> uses;
  uses.push_back(
      {DiskTerm::base_model, Range<Bytes>::exactly(base) + kSmallFiles, Evidence::exact});
  // The download, its Arrow copy, and one more for each step that rewrites the text.
  uses.push_back({DiskTerm::dataset, {o.text, o.text * 2, o.text * 3}, Evidence::assumed});
  uses.push_back(
      {DiskTerm::tokenized,
       {kTokenized.low * o.tokens.low.count(), kTokenized.likely * o.tokens.likely.count(),
        kTokenized.high * o.tokens.high.count()},
       Evidence::assumed});
  uses.push_back({DiskTerm::checkpoints,
                  {one.low * checkpoints, one.likely * checkpoints, one.high * checkpoints},
                  Evidence::exact});
  uses.push_back({DiskTerm::final_model,
                  Range<Bytes>::exactly(saved_weights(m, run)) + kSmallFiles, Evidence::exact});
  if (run.has_adapters() && o.merges)
    uses.push_back(
        {DiskTerm::merged_model, Range<Bytes>::exactly(base) + kSmallFiles, Evidence::exact});
  uses.push_back({DiskTerm::logs, kLogs, Evidence::assumed});
  uses.push_back({DiskTerm::environment, kEnvironment, Evidence::measured});
  return uses;
}

// ---- layouts

/// A folder of a layout; the folders inside it share its size.
struct Folder {
  std::string_view path;
  Bytes size;
  std::string_view holds;
};

/// The guide's trees. Where it gives away the whole disk, a tenth is left here for the file system
/// and the Python environment; and each has a temp/.
struct Layout {
  std::string_view name;
  Bytes disk;
  std::span<const Folder> folders;
};

namespace disk {

constexpr Bytes gb(std::int64_t count) { return mb(1000) * count; }

inline constexpr std::array<Folder, 11> kBudget = {{
    {"models", gb(180), ""},
    {"models/base_models", gb(90), "checkpoints from the Hub"},
    {"models/fine_tuned", gb(90), "adapters and merged models"},
    {"datasets", gb(120), ""},
    {"datasets/raw", gb(40), "text as it came"},
    {"datasets/processed", gb(40), "text as it is trained"},
    {"datasets/cache", gb(40), "Arrow files"},
    {"training", gb(110), ""},
    {"training/checkpoints", gb(100), "one of a 7B trained in full, or many adapters"},
    {"training/logs", gb(10), "event files"},
    {"temp", gb(40), "what may be deleted"},
}};
inline constexpr std::array<Folder, 11> kRecommended = {{
    {"models", gb(380), ""},
    {"models/base_models", gb(190), "checkpoints from the Hub"},
    {"models/fine_tuned", gb(190), "adapters and merged models"},
    {"datasets", gb(240), ""},
    {"datasets/raw", gb(80), "text as it came"},
    {"datasets/processed", gb(80), "text as it is trained"},
    {"datasets/cache", gb(80), "Arrow files"},
    {"training", gb(190), ""},
    {"training/checkpoints", gb(170), "checkpoints of several experiments"},
    {"training/logs", gb(20), "event files"},
    {"temp", gb(90), "what may be deleted"},
}};
inline constexpr std::array<Folder, 14> kProfessional = {{
    {"models", gb(720), ""},
    {"models/base_models", gb(300), "checkpoints from the Hub"},
    {"models/fine_tuned", gb(270), "adapters and merged models"},
    {"models/experiments", gb(150), "models that are tried out"},
    {"datasets", gb(500), ""},
    {"datasets/raw", gb(180), "text as it came"},
    {"datasets/processed", gb(160), "text as it is trained"},
    {"datasets/augmented", gb(80), "text made from other text"},
    {"datasets/cache", gb(80), "Arrow files"},
    {"training", gb(360), ""},
    {"training/checkpoints", gb(330), "checkpoints of several experiments"},
    {"training/logs", gb(30), "event files"},
    {"backup", gb(120), "copies on the same disk: no backup against its loss"},
    {"temp", gb(100), "what may be deleted"},
}};

}  // namespace disk

inline constexpr std::array<Layout, 3> kLayouts = {
    {{"budget", disk::gb(500), disk::kBudget},
     {"recommended", disk::gb(1000), disk::kRecommended},
     {"professional", disk::gb(2000), disk::kProfessional}}};

/// Null where no layout has that name.
constexpr const Layout* layout_named(std::string_view name) {
  for (const Layout& layout : kLayouts)
    if (layout.name == name) return &layout;
  return nullptr;
}

/// Whether a folder is on the top level of its layout.
constexpr bool is_top(const Folder& folder) {
  return folder.path.find('/') == std::string_view::npos;
}

/// What the folders of the top level share out.
constexpr Bytes assigned(const Layout& layout) {
  Bytes sum;
  for (const Folder& folder : layout.folders)
    if (is_top(folder)) sum += folder.size;
  return sum;
}

/// The folder that a term belongs into; empty where it is outside of the tree.
constexpr std::string_view folder_of(DiskTerm term) {
  switch (term) {
    case DiskTerm::base_model:
      return "models/base_models";
    case DiskTerm::final_model:
    case DiskTerm::merged_model:
      return "models/fine_tuned";
    case DiskTerm::dataset:
      return "datasets/raw";
    case DiskTerm::tokenized:
      return "datasets/cache";
    case DiskTerm::checkpoints:
      return "training/checkpoints";
    case DiskTerm::logs:
      return "training/logs";
    case DiskTerm::environment:
      break;
  }
  return {};
}

/// What a job puts into a folder or below it.
inline Range<Bytes> needed_in(std::string_view folder, std::span<const DiskUse> uses) {
  Range<Bytes> sum{};
  for (const DiskUse& use : uses) {
    const std::string_view path = folder_of(use.term);
    const bool is_below =
        path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
    if (path == folder || is_below) sum = sum + use.bytes;
  }
  return sum;
}

inline Range<Bytes> total(std::span<const DiskUse> uses) {
  Range<Bytes> sum{};
  for (const DiskUse& use : uses) sum = sum + use.bytes;
  return sum;
}

}  // namespace qwenplan
