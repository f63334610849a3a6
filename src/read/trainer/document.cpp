#include "read/trainer/document.hpp"

#include <yaml-cpp/emitterstyle.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <utility>

#include "qwenplan/base/parse.hpp"
#include "read/json_text.hpp"
#include "read/trainer/document_builder.hpp"
#include "read/trainer/hjson.hpp"

namespace qwenplan {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// yaml-cpp's events. Its marks count bytes from the start of the text.
class YamlEvents : public YAML::EventHandler {
 public:
  explicit YamlEvents(DocumentBuilder& builder) : builder_(builder) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (!is_flow()) builder_.refuse_missing_colon(offset(mark));
    builder_.null(offset(mark), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    builder_.alias(anchor, offset(mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag);
    builder_.refuse_open_quote(offset(mark));
    builder_.scalar(value, tag == "!" || tag == "tag:yaml.org,2002:str", offset(mark), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    check(mark, tag);
    styles_.push_back(style);
    builder_.start(Node::Kind::list, offset(mark), anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    check(mark, tag);
    styles_.push_back(style);
    builder_.start(Node::Kind::map, offset(mark), anchor);
  }
  void OnMapEnd() override { end(); }

 private:
  /// Between braces a key may stand alone.
  bool is_flow() const { return !styles_.empty() && styles_.back() == YAML::EmitterStyle::Flow; }
  void end() {
    styles_.pop_back();
    builder_.end();
  }
  static std::size_t offset(const YAML::Mark& mark) {
    return static_cast<std::size_t>(std::max(mark.pos, 0));
  }
  /// No loader of a trainer knows tags of its own, and PyYAML's safe loader stops at any.
  void check(const YAML::Mark& mark, const std::string& tag) {
    constexpr std::string_view kCore = "tag:yaml.org,2002:";
    if (tag.empty() || tag == "!" || tag == "?") return;
    for (const std::string_view known : {"str", "int", "float", "bool", "null", "seq", "map"})
      if (tag.starts_with(kCore) && tag.substr(kCore.size()) == known) return;
    builder_.refuse("a tag that no trainer's loader knows", offset(mark), "leave the tag out");
  }

  DocumentBuilder& builder_;
  std::vector<YAML::EmitterStyle::value> styles_;
};

/// Brackets that stay open for long make yaml-cpp look ahead without an end.
std::optional<std::size_t> too_many_brackets(std::string_view text) {
  constexpr std::size_t kMostOpen = 1000;
  std::size_t open = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((text[i] == '[' || text[i] == '{') && ++open > kMostOpen) return i;
    if ((text[i] == ']' || text[i] == '}') && open > 0) --open;
  }
  return std::nullopt;
}

Document parse_yaml(std::string_view text, DocumentBuilder& builder) {
  if (const auto at = too_many_brackets(text))
    builder.refuse("nested more than " + std::to_string(kDeepestNode) + " levels deep", *at,
                   "is this the right file?");
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    YamlEvents events(builder);
    parser.HandleNextDocument(events);
    Document document = builder.take();
    DocumentBuilder rest(text, "");
    YamlEvents ignored(rest);
    if (parser.HandleNextDocument(ignored))
      builder.refuse("more than one document", text.find("\n---") + 1,
                     "a trainer reads one; remove the line '---' and what follows it");
    return document;
  } catch (const YAML::Exception& error) {
    const std::size_t at =
        error.mark.is_null() ? text.size() : static_cast<std::size_t>(std::max(error.mark.pos, 0));
    builder.refuse("not YAML: " + error.msg, at, "correct the file");
  }
}

/// Hands nlohmann's parser one character after the other and remembers how far it came.
class Reading {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Reading(const char* at, const char** seen) : at_(at), seen_(seen) {}
  const char& operator*() const { return *at_; }
  Reading& operator++() {
    *seen_ = ++at_;
    return *this;
  }
  Reading operator++(int) {
    Reading before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const Reading& a, const Reading& b) { return a.at_ == b.at_; }
  friend bool operator!=(const Reading& a, const Reading& b) { return a.at_ != b.at_; }

 private:
  const char* at_;
  const char** seen_;
};

/// nlohmann's events. They come when a token has been read, so its start is looked for backwards.
class JsonEvents {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  JsonEvents(std::string_view text, DocumentBuilder& builder) : text_(text), builder_(builder) {}
  const char** seen() { return &seen_; }

  bool null() { return builder_.null(read() - 4), true; }
  bool boolean(bool value) {
    return builder_.scalar(value ? "true" : "false", false, read() - (value ? 4 : 5)), true;
  }
  bool number_integer(number_integer_t) { return number(); }
  bool number_unsigned(number_unsigned_t) { return number(); }
  bool number_float(number_float_t, const string_t&) { return number(); }
  bool string(string_t& value) { return builder_.scalar(value, true, quote()), true; }
  bool key(string_t& value) { return string(value); }
  bool binary(binary_t&) { return false; }
  bool start_object(std::size_t) { return builder_.start(Node::Kind::map, read() - 1), true; }
  bool start_array(std::size_t) { return builder_.start(Node::Kind::list, read() - 1), true; }
  bool end_object() { return builder_.end(), true; }
  bool end_array() { return builder_.end(), true; }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    builder_.refuse("not JSON: " + json_reason(error.what()), position == 0 ? 0 : position - 1,
                    "JSON has no comments and no comma at an end, and words stand in quotes");
  }

 private:
  std::size_t read() const {
    return seen_ ? static_cast<std::size_t>(seen_ - text_.data()) : text_.size();
  }
  bool number() {
    constexpr std::string_view kDigits = "0123456789+-.eE";
    std::size_t end = std::min(read(), text_.size());
    // The character after a number has been read as well, except at the end of the text.
    if (end > 0 && kDigits.find(text_[end - 1]) == std::string_view::npos) --end;
    std::size_t first = end;
    while (first > 0 && kDigits.find(text_[first - 1]) != std::string_view::npos) --first;
    builder_.scalar(std::string(text_.substr(first, end - first)), false, first);
    return true;
  }
  /// Where the quote is that opens the text which has just been read.
  std::size_t quote() const {
    std::size_t at = read() - 1;
    while (at > 0) {
      if (text_[--at] != '"') continue;
      std::size_t slashes = 0;
      while (slashes < at && text_[at - slashes - 1] == '\\') ++slashes;
      if (slashes % 2 == 0) break;
    }
    return at;
  }

  std::string_view text_;
  DocumentBuilder& builder_;
  const char* seen_ = nullptr;
};

Document parse_json_document(std::string_view text, DocumentBuilder& builder) {
  JsonEvents events(text, builder);
  Json::sax_parse(Reading(text.data(), events.seen()),
                  Reading(text.data() + text.size(), events.seen()), &events);
  return builder.take();
}

std::string_view trimmed(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Digits without the underscores that YAML 1.1 and Python allow between them.
std::string plain_digits(std::string_view text) {
  std::string digits;
  for (const char c : trimmed(text))
    if (c != '_') digits += c;
  if (digits.starts_with('+')) digits.erase(0, 1);
  return digits;
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  for (const Entry& each : entries)
    if (each.key == key) return &each.value;
  return nullptr;
}

std::optional<std::int64_t> Node::whole() const {
  if (kind != Kind::scalar) return std::nullopt;
  const std::string digits = plain_digits(scalar);
  const char* first = digits.data();
  const char* const last = first + digits.size();
  const bool is_hex = digits.starts_with("0x");
  const bool is_octal =
      digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of("01234567") == digits.npos;
  if (is_hex) first += 2;
  std::int64_t whole = 0;
  const auto [end, failed] = std::from_chars(first, last, whole, is_hex ? 16 : is_octal ? 8 : 10);
  if (failed == std::errc() && end == last) return whole;
  const auto number = this->number();
  if (!number || *number != std::floor(*number) || std::abs(*number) > 9e15) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

std::optional<double> Node::number() const {
  if (kind != Kind::scalar) return std::nullopt;
  const std::string digits = plain_digits(scalar);
  if (digits.find_first_not_of("0123456789+-.eE") != digits.npos) return std::nullopt;
  double number = 0;
  const char* const last = digits.data() + digits.size();
  const auto [end, failed] = std::from_chars(digits.data(), last, number);
  if (failed != std::errc() || end != last || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::optional<bool> Node::truth() const {
  if (kind != Kind::scalar) return std::nullopt;
  const std::string word = lowered(trimmed(scalar));
  for (const std::string_view yes : {"true", "yes", "on", "1"})
    if (word == yes) return true;
  for (const std::string_view no : {"false", "no", "off", "0"})
    if (word == no) return false;
  return std::nullopt;
}

std::optional<std::string> Node::text() const {
  if (kind != Kind::scalar) return std::nullopt;
  return scalar;
}

std::optional<std::vector<std::string>> Node::words() const {
  std::vector<std::string> words;
  if (kind == Kind::list) {
    for (const Node& each : items) {
      if (each.kind != Kind::scalar) return std::nullopt;
      words.emplace_back(trimmed(each.scalar));
    }
    return words;
  }
  if (kind != Kind::scalar) return std::nullopt;
  for (std::string_view rest = scalar; !rest.empty();) {
    const std::size_t comma = rest.find(',');
    if (const auto word = trimmed(rest.substr(0, comma)); !word.empty()) words.emplace_back(word);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return words;
}

std::string Node::shown() const {
  switch (kind) {
    case Kind::null:
      return "nothing";
    case Kind::list:
      return "a list";
    case Kind::map:
      return "a map";
    case Kind::scalar:
      break;
  }
  constexpr std::size_t kMost = 40;
  std::string text = scalar;
  if (text.size() > kMost) {
    std::size_t end = kMost - 3;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end) + "...";
  }
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return "'" + text + "'";
}

Syntax syntax_of(std::string_view text, std::string_view name) {
  if (lowered(name).ends_with(".json")) return Syntax::json;
  if (name != "-") return Syntax::yaml;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  text = trimmed(text);
  return text.starts_with('{') ? Syntax::json : Syntax::yaml;
}

std::string where(std::string_view name, Place place) {
  std::string text = name == "-" ? "standard input" : std::string(name);
  if (place.line != 0) text += ", line " + std::to_string(place.line);
  if (place.column != 0) text += ", column " + std::to_string(place.column);
  return text;
}

std::optional<Error> refused_text(std::string_view text, const std::string& name) {
  const auto wrong = [&](std::string what, Place place, std::string hint) {
    return Error{Error::Kind::wrong, std::move(what), where(name, place), std::move(hint), place};
  };
  if (text.starts_with("\x1F\x8B"))
    return wrong("not text, but packed by gzip", {}, "unpack it first");
  if (text.size() > kMostText)
    return wrong("larger than " + std::to_string(kMostText) + " bytes", {},
                 "is this the right file?");
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF") ||
      text.substr(0, 4).find('\0') != std::string_view::npos)
    return wrong("not UTF-8, but UTF-16 or UTF-32", {}, "save it as UTF-8");

  TextLines lines(text);
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = [&](std::size_t i) {
      return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const unsigned first = byte(at);
    if (first < 0x80) {
      if ((first < ' ' && first != '\t' && first != '\n' && first != '\r') || first == 0x7F)
        return wrong("a control character", lines.at(at), "is this a text file?");
      ++at;
      continue;
    }
    // Lengths and least values of UTF-8; surrogates and what is beyond Unicode are no characters.
    const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    std::uint32_t character = first & (0xFFU >> (length + 1));
    bool is_valid = first >= 0xC2 && first <= 0xF4;
    for (std::size_t i = 1; i < length; ++i) {
      is_valid = is_valid && (byte(at + i) & 0xC0) == 0x80;
      character = (character << 6) | (byte(at + i) & 0x3F);
    }
    constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (!is_valid || character < kLeast[length] || character > 0x10FFFF ||
        (character >= 0xD800 && character <= 0xDFFF))
      return wrong("not UTF-8", lines.at(at), "save it as UTF-8");
    at += length;
  }
  return std::nullopt;
}

Result<Document> parse_document(std::string_view text, const std::string& name, Syntax syntax) {
  if (auto error = refused_text(text, name)) return *std::move(error);
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  DocumentBuilder builder(text, name);
  try {
    if (syntax == Syntax::hjson) return parse_hjson(text, builder);
    return syntax == Syntax::json ? parse_json_document(text, builder) : parse_yaml(text, builder);
  } catch (RefusedDocument& refused) {
    return std::move(refused.error);
  }
}

}  // namespace qwenplan
