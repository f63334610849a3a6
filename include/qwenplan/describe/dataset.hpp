#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwenplan/base/evidence.hpp"
#include "qwenplan/base/quantity.hpp"
#include "qwenplan/base/range.hpp"
#include "qwenplan/describe/text_counts.hpp"

namespace qwenplan {

/// Lengths of sequences in tokens, in bounded memory: each length up to 32,767 on its own, longer
/// ones in 128 classes for each doubling, so that a percentile is off by 1 in 128 at most. Sums are
/// exact.
class Lengths {
 public:
  struct Class {
    std::int64_t length = 0;  ///< the longest of the class
    std::int64_t count = 0;
    std::int64_t sum = 0;
  };

  void add(std::int64_t length, std::int64_t count = 1) {
    if (length < 0 || count <= 0) return;
    const std::size_t place = place_of(length);
    if (place >= classes_.size()) classes_.resize(std::max(place + 1, std::min(kSingle, place * 2)));
    Class& at = classes_[place];
    at.count += count;
    at.sum = Saturating::add(at.sum, Saturating::multiply(length, count));
    at.length = std::max(at.length, length);
    count_ += count;
    sum_ = Saturating::add(sum_, Saturating::multiply(length, count));
    longest_ = std::max(longest_, length);
  }

  std::int64_t count() const { return count_; }
  Tokens total() const { return Tokens(sum_); }
  std::int64_t longest() const { return longest_; }
  double mean() const { return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_); }

  /// The length that `percent` of the sequences do not exceed: the nearest rank.
  std::int64_t percentile(double percent) const {
    const double wanted = percent / 100 * static_cast<double>(count_);
    std::int64_t seen = 0;
    for (const Class& each : classes_) {
      seen += each.count;
      if (each.count > 0 && static_cast<double>(seen) >= wanted) return each.length;
    }
    return longest_;
  }

  /// Calls `use` with every class that is not empty, the shortest first.
  template <class Use>
  void each(Use use) const {
    for (const Class& one : classes_)
      if (one.count > 0) use(one);
  }

 private:
  static constexpr std::size_t kSingle = 1 << 15;
  static constexpr int kSteps = 7;  ///< 2^7 classes for each doubling

  static std::size_t place_of(std::int64_t length) {
    const auto value = static_cast<std::uint64_t>(length);
    if (value < kSingle) return static_cast<std::size_t>(value);
    const auto doubling = static_cast<int>(std::bit_width(value)) - 1;
    const std::uint64_t step = (value >> (doubling - kSteps)) & ((1u << kSteps) - 1);
    return kSingle + (static_cast<std::size_t>(doubling - 15) << kSteps) + static_cast<std::size_t>(step);
  }

  std::vector<Class> classes_;
  std::int64_t count_ = 0, sum_ = 0, longest_ = 0;
};

/// How a file of examples is written.
enum class DataFormat : std::uint8_t { jsonl, json, csv, text };

constexpr std::string_view name(DataFormat format) {
  switch (format) {
    case DataFormat::jsonl: return "jsonl";
    case DataFormat::json: return "json";
    case DataFormat::csv: return "csv";
    case DataFormat::text: return "text";
  }
  return "text";
}

/// What an example of the file consists of.
enum class DataShape : std::uint8_t { text, alpaca, messages, sharegpt, prompt_completion, preference };

constexpr std::string_view name(DataShape shape) {
  switch (shape) {
    case DataShape::text: return "text";
    case DataShape::alpaca: return "alpaca";
    case DataShape::messages: return "messages";
    case DataShape::sharegpt: return "sharegpt";
    case DataShape::prompt_completion: return "prompt-completion";
    case DataShape::preference: return "preference";
  }
  return "text";
}

/// A part of the file that is no example, and why.
struct BadLine {
  std::int64_t line = 0;
  std::string why;
};

/// The examples of one file.
struct Dataset {
  std::string file;
  DataFormat format = DataFormat::jsonl;
  std::string format_reason;  ///< how the format was told
  bool is_gzip = false;
  DataShape shape = DataShape::text;
  std::vector<std::string> columns;  ///< the fields that were read
  Bytes file_bytes{};                ///< on the disk; compressed where it is
  Bytes read_bytes{};                ///< after decompression
  std::int64_t examples = 0;
  std::int64_t sequences = 0;  ///< two for each example of preference data
  std::int64_t empty = 0;      ///< examples without text; not counted in `examples`
  std::int64_t bad = 0;
  std::vector<BadLine> bad_lines;  ///< the first of them
  std::int64_t other_parts = 0;    ///< images and the like in messages; they are not counted
  TextCounts text;                 ///< of the examples, without the template
  Range<Lengths> lengths;          ///< with the template
  Range<Tokens> template_tokens{};
  Evidence evidence = Evidence::assumed;  ///< of the token counts
  std::string tokenizer;                  ///< whose tokens they are

  Range<Tokens> tokens() const { return {lengths.low.total(), lengths.likely.total(), lengths.high.total()}; }
};

}  // namespace qwenplan
