#include "read/tokenizer_file.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>

#include "read/json_cursor.hpp"
#include "read/json_text.hpp"
#include "read/text_file.hpp"
#include "read/unicode_nfc.hpp"

namespace qwenplan {
namespace {

constexpr std::uintmax_t kLargestFile = 256 << 20;
constexpr std::size_t kLongestWord = 1 << 20;
constexpr std::size_t kCachedWords = 1 << 18;

/// GPT-2's own pattern, which ByteLevel applies unless it is told not to.
constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Unicode's White_Space, which \s means in a tokenizer; PCRE2's has U+180E besides.
constexpr std::string_view kSpaces =
    R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

Error unknown(std::string what, const std::string& path) {
  return {Error::Kind::unknown, std::move(what), path,
          "read exactly: byte-level BPE with a Split by a regex, as Qwen, Llama 3 and GPT-2 have; without "
          "--tokenizer the tokens are estimated"};
}
Error wrong(std::string what, const std::string& path) {
  return {Error::Kind::wrong, std::move(what), path, "give the tokenizer.json of the model"};
}

/// A pattern in PCRE2's words; nothing if it has something whose meaning differs.
std::optional<std::string> translated(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's') {
        out += in_class ? std::string(kSpaces) : "[" + std::string(kSpaces) + "]";
      } else if (next == 'S') {
        if (in_class) return std::nullopt;
        out += "[^" + std::string(kSpaces) + "]";
      } else if (next == 'h' || next == 'H' || next == 'R' || next == 'X' || next == 'G' || next == 'K') {
        return std::nullopt;  // other meanings in Oniguruma
      } else {
        out += c;
        out += next;
      }
      continue;
    }
    if (c == '[') {
      if (in_class) return std::nullopt;  // nested classes and && are Oniguruma's own
      in_class = true;
    } else if (c == ']') {
      in_class = false;
    } else if (in_class && c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&') {
      return std::nullopt;
    }
    out += c;
  }
  return out;
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeStack {
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

/// One Split of a pre-tokenizer.
struct Pattern {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_data, FreeMatch> match;
};

struct AddedToken {
  std::string text;
  std::int32_t id = 0;
};

/// Tokens that are found as they stand: the leftmost, and of several there the longest.
class AddedTokens {
 public:
  void add(AddedToken token) {
    if (token.text.empty()) return;
    auto& list = by_byte_[static_cast<unsigned char>(token.text[0])];
    list.push_back(std::move(token));
    std::sort(list.begin(), list.end(),
              [](const AddedToken& a, const AddedToken& b) { return a.text.size() > b.text.size(); });
    if (list.size() == 1) firsts_ += list[0].text[0];
  }
  bool has(std::string_view text) const {
    if (text.empty()) return false;
    const auto& list = by_byte_[static_cast<unsigned char>(text[0])];
    return std::any_of(list.begin(), list.end(), [&](const AddedToken& each) { return each.text == text; });
  }
  /// The next one at or behind `from`, with its place.
  const AddedToken* find(std::string_view text, std::size_t from, std::size_t& place) const {
    if (firsts_.empty()) return nullptr;
    for (place = text.find_first_of(firsts_, from); place != std::string_view::npos;
         place = text.find_first_of(firsts_, place + 1))
      for (const AddedToken& each : by_byte_[static_cast<unsigned char>(text[place])])
        if (text.substr(place).starts_with(each.text)) return &each;
    return nullptr;
  }

 private:
  std::array<std::vector<AddedToken>, 256> by_byte_;
  std::string firsts_;
};

/// The characters by which byte-level BPE writes bytes, by code point: -1 for one that is none.
std::array<int, 512> bytes_of_characters() {
  std::array<int, 512> bytes{};
  bytes.fill(-1);
  int other = 256;
  for (int b = 0; b < 256; ++b) {
    const bool is_itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    bytes[static_cast<std::size_t>(is_itself ? b : other++)] = b;
  }
  return bytes;
}

/// A token of the file as the bytes that it stands for; nothing if it is not written in them.
std::optional<std::string> bytes_of(std::string_view token) {
  static const auto bytes = bytes_of_characters();
  std::string out;
  for (std::size_t i = 0; i < token.size(); ++i) {
    const auto c = static_cast<unsigned char>(token[i]);
    std::size_t code = c;
    if (c >= 0xc0 && c < 0xe0 && i + 1 < token.size())
      code = static_cast<std::size_t>(c & 0x1f) << 6 | (static_cast<unsigned char>(token[++i]) & 0x3f);
    else if (c >= 0x80)
      return std::nullopt;
    if (code >= bytes.size() || bytes[code] < 0) return std::nullopt;
    out += static_cast<char>(bytes[code]);
  }
  return out;
}

struct Merge {
  std::int32_t rank = 0;
  std::int32_t into = 0;
};

std::uint64_t pair_key(std::int32_t a, std::int32_t b) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
}

struct PairHash {
  std::size_t operator()(std::uint64_t key) const {
    key *= 0x9e3779b97f4a7c15ull;
    return static_cast<std::size_t>(key ^ key >> 32);
  }
};

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

}  // namespace

struct Tokenizer::State {
  std::string path;
  std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>> vocabulary;  ///< by bytes
  std::int64_t size = 0;
  std::unordered_map<std::uint64_t, Merge, PairHash> merges;
  std::array<std::int32_t, 256> of_byte{};
  bool ignores_merges = false;
  bool normalizes = false;
  AddedTokens as_written, as_normalized;
  std::vector<Pattern> patterns;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
  std::unique_ptr<pcre2_jit_stack, FreeStack> stack;
  std::unordered_map<std::string, std::vector<std::int32_t>, TextHash, std::equal_to<>> cache;

  // ---- reading

  std::optional<Error> add_pattern(const std::string& pattern) {
    const auto words = translated(pattern);
    if (!words) return unknown("the pattern of the pre-tokenizer has parts that are not read", path);
    int failure = 0;
    PCRE2_SIZE place = 0;
    Pattern made;
    made.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(words->data()), words->size(), PCRE2_UTF | PCRE2_UCP,
                                  &failure, &place, nullptr));
    if (!made.code) {
      PCRE2_UCHAR text[200] = {};
      pcre2_get_error_message(failure, text, sizeof text);
      return unknown("the pattern of the pre-tokenizer is not read: " + std::string(reinterpret_cast<char*>(text)), path);
    }
    pcre2_jit_compile(made.code.get(), PCRE2_JIT_COMPLETE);  // without it the same is only slower
    made.match.reset(pcre2_match_data_create(1, nullptr));
    patterns.push_back(std::move(made));
    return std::nullopt;
  }

  std::optional<Error> read_pre_tokenizer(const Json& json) {
    const std::string type = json.value("type", "");
    if (type == "Sequence") {
      const Json parts = json.value("pretokenizers", Json::array());
      for (std::size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].value("type", "") == "ByteLevel" && i + 1 != parts.size())
          return unknown("its pre-tokenizer goes on behind ByteLevel", path);
        if (auto error = read_pre_tokenizer(parts[i])) return error;
      }
      return std::nullopt;
    }
    if (type == "Split") {
      if (json.value("behavior", "") != "Isolated" || json.value("invert", false))
        return unknown("its pre-tokenizer splits with behavior " + json.value("behavior", "none"), path);
      const Json pattern = json.value("pattern", Json::object());
      if (!pattern.contains("Regex") || !pattern["Regex"].is_string())
        return unknown("its pre-tokenizer splits by no regex", path);
      return add_pattern(pattern["Regex"].get<std::string>());
    }
    if (type == "ByteLevel") {
      if (json.value("add_prefix_space", true)) return unknown("its pre-tokenizer adds a space before the text", path);
      is_byte_level = true;
      return json.value("use_regex", true) ? add_pattern(kGpt2) : std::nullopt;
    }
    return unknown("its pre-tokenizer is " + (type.empty() ? "none" : type), path);
  }

  std::optional<Error> read_normalizer(const Json& json) {
    if (json.is_null()) return std::nullopt;
    const std::string type = json.value("type", "");
    if (type == "Sequence") {
      for (const Json& part : json.value("normalizers", Json::array()))
        if (auto error = read_normalizer(part)) return error;
      return std::nullopt;
    }
    if (type != "NFC") return unknown("its normalizer is " + (type.empty() ? "none" : type), path);
    normalizes = true;
    return std::nullopt;
  }

  std::optional<Error> read_added(const Json& list) {
    if (!list.is_array()) return std::nullopt;
    for (const Json& each : list) {
      const std::string text = each.value("content", "");
      for (const char* flag : {"lstrip", "rstrip", "single_word"})
        if (each.value(flag, false)) return unknown("its token '" + text + "' has " + flag, path);
      AddedToken token{text, each.value("id", std::int32_t{-1})};
      if (token.id < 0) return wrong("its token '" + text + "' has no id", path);
      size = std::max<std::int64_t>(size, token.id + 1);
      if (each.value("normalized", false) && normalizes) {
        token.text = to_nfc(token.text);
        as_normalized.add(std::move(token));
      } else {
        as_written.add(std::move(token));
      }
    }
    return std::nullopt;
  }

  std::optional<Error> read_vocabulary(const JsonSlice& slice) {
    JsonCursor cursor(slice.text);
    std::string name;
    const bool is_whole = cursor.members([&](std::string_view key) {
      JsonSlice value;
      if (!cursor.take(value)) return false;
      if (value.kind != JsonKind::number) return cursor.fail("an id is no number");
      name.clear();
      if (!JsonCursor::decode({JsonKind::string, key, key.find('\\') != key.npos}, name))
        return cursor.fail("a token has an escape that is none");
      std::int64_t id = 0;
      for (const char c : value.text) {
        if (c < '0' || c > '9' || id > std::numeric_limits<std::int32_t>::max() / 10)
          return cursor.fail("an id is no whole number");
        id = id * 10 + (c - '0');
      }
      size = std::max(size, id + 1);
      if (auto bytes = bytes_of(name)) vocabulary.emplace(std::move(*bytes), static_cast<std::int32_t>(id));
      return true;
    });
    if (!is_whole) return wrong("its vocabulary is damaged: " + std::string(cursor.why() ? cursor.why() : ""), path);
    for (int b = 0; b < 256; ++b) {
      const auto found = vocabulary.find(std::string(1, static_cast<char>(b)));
      if (found == vocabulary.end()) return unknown("its vocabulary lacks a token for byte " + std::to_string(b), path);
      of_byte[static_cast<std::size_t>(b)] = found->second;
    }
    return std::nullopt;
  }

  std::optional<Error> read_merges(const JsonSlice& slice) {
    JsonCursor cursor(slice.text);
    std::int32_t rank = 0;
    const auto text_of = [&](JsonSlice& value, std::string& out) {
      out.clear();
      return cursor.take(value) && value.kind == JsonKind::string && JsonCursor::decode(value, out);
    };
    std::string both, left, right;
    const bool is_whole = cursor.items([&] {
      JsonSlice value;
      if (cursor.kind() == JsonKind::array) {
        int at = 0;
        if (!cursor.items([&] { return at < 2 && text_of(value, at++ == 0 ? left : right); }) || at != 2) return false;
      } else {
        if (!text_of(value, both)) return false;
        const std::size_t space = both.find(' ');
        if (space == both.npos) return false;
        left = both.substr(0, space);
        right = both.substr(space + 1);
      }
      const auto a = bytes_of(left), b = bytes_of(right);
      if (!a || !b) return cursor.fail("a merge is not written in bytes");
      const auto first = vocabulary.find(*a), second = vocabulary.find(*b), into = vocabulary.find(*a + *b);
      if (first == vocabulary.end() || second == vocabulary.end() || into == vocabulary.end())
        return cursor.fail("a merge has tokens that the vocabulary lacks");
      merges.emplace(pair_key(first->second, second->second), Merge{rank++, into->second});
      return true;
    });
    if (!is_whole)
      return wrong("its merges are damaged: " + std::string(cursor.why() ? cursor.why() : "a merge is no pair"), path);
    return std::nullopt;
  }

  std::optional<Error> read(std::string_view text) {
    JsonSlice normalizer, pre_tokenizer, added, model, vocab, merge_list;
    JsonCursor file(text);
    const bool is_whole = file.members([&](std::string_view key) {
      JsonSlice value;
      if (!file.take(value)) return false;
      if (key == "normalizer") normalizer = value;
      if (key == "pre_tokenizer") pre_tokenizer = value;
      if (key == "added_tokens") added = value;
      if (key == "model") model = value;
      return true;
    });
    if (!is_whole || !file.at_end())
      return wrong("it is no whole JSON object" + (file.why() ? ": " + std::string(file.why()) : ""), path);
    if (model.kind != JsonKind::object) return wrong("it has no model", path);
    Json options = Json::object();
    JsonCursor parts(model.text);
    std::optional<Error> error;
    const bool has_model = parts.members([&](std::string_view key) {
      JsonSlice value;
      if (!parts.take(value)) return false;
      if (key == "vocab") vocab = value;
      else if (key == "merges") merge_list = value;
      else if (const auto option = parse_json(value.text.empty() || value.kind != JsonKind::string
                                                  ? value.text
                                                  : std::string_view(value.text.data() - 1, value.text.size() + 2),
                                              path))
        options[std::string(key)] = *option;
      return true;
    });
    if (!has_model) return wrong("its model is damaged", path);
    const auto option_text = [&](const char* key) {
      const auto found = options.find(key);
      return found != options.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const auto option_is = [&](const char* key) {
      const auto found = options.find(key);
      return found != options.end() && found->is_boolean() && found->get<bool>();
    };
    if (const std::string type = option_text("type"); type != "BPE" && !type.empty())
      return unknown("its model is " + type, path);
    if (vocab.kind != JsonKind::object || merge_list.kind != JsonKind::array)
      return unknown("its model has no vocabulary with merges", path);
    if (option_is("byte_fallback")) return unknown("its model falls back to bytes, as SentencePiece's do", path);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!option_text(key).empty()) return unknown("its model has a " + std::string(key), path);
    if (const auto dropout = options.find("dropout");
        dropout != options.end() && dropout->is_number() && dropout->get<double>() != 0)
      return unknown("its model drops merges at random", path);
    ignores_merges = option_is("ignore_merges");

    const auto section = [&](const JsonSlice& slice) -> Result<Json> {
      if (slice.kind == JsonKind::none || slice.kind == JsonKind::null) return Json();
      return parse_json(slice.text, path);
    };
    const auto normal = section(normalizer);
    if (!normal) return normal.error();
    const auto before = section(pre_tokenizer);
    if (!before) return before.error();
    const auto tokens = section(added);
    if (!tokens) return tokens.error();
    try {
      if ((error = read_normalizer(*normal))) return error;
      if (!before->is_object()) return unknown("it has no pre-tokenizer", path);
      if ((error = read_pre_tokenizer(*before))) return error;
      if ((error = read_added(*tokens))) return error;
    } catch (const nlohmann::json::exception& failure) {
      return wrong("a member has another type than a tokenizer's: " + json_reason(failure.what()), path);
    }
    if (!is_byte_level) return unknown("its pre-tokenizer is not byte-level", path);
    if ((error = read_vocabulary(vocab))) return error;
    if ((error = read_merges(merge_list))) return error;
    context.reset(pcre2_match_context_create(nullptr));
    stack.reset(pcre2_jit_stack_create(1 << 15, 1 << 24, nullptr));
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    return std::nullopt;
  }
  bool is_byte_level = false;

  // ---- encoding

  /// Merges pairs, the lowest rank first and of equal ranks the leftmost.
  std::vector<std::int32_t> merged(std::string_view word) const {
    struct Symbol {
      std::int32_t id, previous, next;
    };
    std::vector<Symbol> symbols(word.size());
    const auto n = static_cast<std::int32_t>(word.size());
    for (std::int32_t i = 0; i < n; ++i)
      symbols[static_cast<std::size_t>(i)] = {
          of_byte[static_cast<unsigned char>(word[static_cast<std::size_t>(i)])], i - 1, i + 1 < n ? i + 1 : -1};
    struct Candidate {
      std::int32_t rank, place, left, right, into;
      bool operator<(const Candidate& other) const {
        return rank != other.rank ? rank > other.rank : place > other.place;
      }
    };
    std::priority_queue<Candidate> queue;
    const auto propose = [&](std::int32_t at) {
      if (at < 0) return;
      const Symbol& left = symbols[static_cast<std::size_t>(at)];
      if (left.next < 0) return;
      const std::int32_t right = symbols[static_cast<std::size_t>(left.next)].id;
      const auto found = merges.find(pair_key(left.id, right));
      if (found != merges.end()) queue.push({found->second.rank, at, left.id, right, found->second.into});
    };
    for (std::int32_t i = 0; i + 1 < n; ++i) propose(i);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[static_cast<std::size_t>(best.place)];
      if (left.id != best.left || left.next < 0) continue;
      Symbol& right = symbols[static_cast<std::size_t>(left.next)];
      if (right.id != best.right) continue;
      left.id = best.into;
      right.id = -1;
      left.next = right.next;
      if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = best.place;
      propose(left.previous);
      propose(best.place);
    }
    std::vector<std::int32_t> ids;
    for (std::int32_t i = 0; i >= 0 && i < n; i = symbols[static_cast<std::size_t>(i)].next)
      ids.push_back(symbols[static_cast<std::size_t>(i)].id);
    return ids;
  }

  std::optional<Error> encode_word(std::string_view word, std::int64_t& count, std::vector<std::int32_t>* ids) {
    if (word.size() > kLongestWord)
      return wrong("a word of it is longer than 1 MiB", path);
    auto found = cache.find(word);
    if (found == cache.end()) {
      std::vector<std::int32_t> made;
      if (ignores_merges)
        if (const auto whole = vocabulary.find(word); whole != vocabulary.end()) made = {whole->second};
      if (made.empty()) made = merged(word);
      if (word.size() > 256) {
        count += static_cast<std::int64_t>(made.size());
        if (ids) ids->insert(ids->end(), made.begin(), made.end());
        return std::nullopt;
      }
      if (cache.size() >= kCachedWords) cache.clear();
      found = cache.emplace(std::string(word), std::move(made)).first;
    }
    count += static_cast<std::int64_t>(found->second.size());
    if (ids) ids->insert(ids->end(), found->second.begin(), found->second.end());
    return std::nullopt;
  }

  /// Cuts a piece by one pattern after the other; matches and what lies between them are pieces.
  std::optional<Error> split(std::string_view piece, std::size_t by, std::int64_t& count, std::vector<std::int32_t>* ids) {
    if (piece.empty()) return std::nullopt;
    if (by == patterns.size()) return encode_word(piece, count, ids);
    Pattern& pattern = patterns[by];
    // The next pattern may be the same match data's user only after this one is done with it.
    std::size_t from = 0;
    while (from < piece.size()) {
      const int found = pcre2_match(pattern.code.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(), from,
                                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, pattern.match.get(), context.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) return wrong("the pattern of the pre-tokenizer gives up on it", path);
      const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(pattern.match.get());
      const std::size_t start = ends[0], stop = ends[1];
      if (start > from)
        if (auto error = split(piece.substr(from, start - from), by + 1, count, ids)) return error;
      if (auto error = split(piece.substr(start, stop - start), by + 1, count, ids)) return error;
      from = stop;
    }
    return from < piece.size() ? split(piece.substr(from), by + 1, count, ids) : std::nullopt;
  }

  template <class Rest>
  std::optional<Error> around(const AddedTokens& tokens, std::string_view text, std::int64_t& count,
                              std::vector<std::int32_t>* ids, Rest rest) {
    std::size_t from = 0, place = 0;
    while (const AddedToken* token = tokens.find(text, from, place)) {
      if (place > from)
        if (auto error = rest(text.substr(from, place - from))) return error;
      ++count;
      if (ids) ids->push_back(token->id);
      from = place + token->text.size();
    }
    return from < text.size() ? rest(text.substr(from)) : std::nullopt;
  }
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::open(const std::string& path) {
  const auto text = read_text_file(path, kLargestFile);
  if (!text) return text.error();
  auto state = std::make_unique<State>();
  state->path = path;
  if (auto error = state->read(*text)) return *std::move(error);
  return Tokenizer(std::move(state));
}

Result<std::int64_t> Tokenizer::encode(std::string_view text, std::vector<std::int32_t>* ids) {
  State& s = *state_;
  std::int64_t count = 0;
  auto error = s.around(s.as_written, text, count, ids, [&](std::string_view piece) -> std::optional<Error> {
    std::string normal;
    if (s.normalizes && !is_surely_nfc(piece)) {
      normal = to_nfc(piece);
      piece = normal;
    }
    return s.around(s.as_normalized, piece, count, ids,
                    [&](std::string_view part) { return s.split(part, 0, count, ids); });
  });
  if (error) return *std::move(error);
  return count;
}

std::int64_t Tokenizer::vocabulary() const { return state_->size; }
bool Tokenizer::has_token(std::string_view text) const {
  return state_->as_written.has(text) || state_->as_normalized.has(text);
}

}  // namespace qwenplan
