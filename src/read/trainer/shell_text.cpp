#include "read/trainer/shell_text.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace qwenplan {
namespace {

/// All that expansions may add, so that a variable doubled into itself cannot fill the memory.
constexpr std::size_t kMostText = std::size_t{1} << 23;
/// What a word counts beside its text, so that short words of arrays are bounded too.
constexpr std::size_t kWordCost = 64;
/// Branches inside branches; deeper ones are read as if they always ran.
constexpr std::size_t kMostBranches = 32;
/// Expansions inside expansions.
constexpr int kMostDepth = 16;
/// Whole numbers of arithmetic; their products stay far from overflow.
constexpr std::int64_t kMostNumber = std::int64_t{1} << 31;

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/// Whole-number arithmetic with + - * / % and parentheses, as `$((...))` and `expr` have it.
class Arithmetic {
 public:
  explicit Arithmetic(std::string_view text) : text_(text) {}

  std::optional<std::int64_t> value() {
    const auto sum = this->sum();
    skip();
    return at_ == text_.size() ? sum : std::nullopt;
  }

 private:
  using Number = std::optional<std::int64_t>;

  static Number bounded(std::int64_t number) {
    return number >= -kMostNumber && number <= kMostNumber ? Number(number) : std::nullopt;
  }
  void skip() {
    while (at_ < text_.size() && (is_blank(text_[at_]) || text_[at_] == '\n')) ++at_;
  }
  bool takes(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Number sum() {
    Number left = product();
    while (left) {
      const bool adds = takes('+');
      if (!adds && !takes('-')) break;
      const Number right = product();
      if (!right) return std::nullopt;
      left = bounded(adds ? *left + *right : *left - *right);
    }
    return left;
  }
  Number product() {
    Number left = factor();
    while (left) {
      const char sign = takes('*') ? '*' : takes('/') ? '/' : takes('%') ? '%' : '\0';
      if (sign == '\0') break;
      const Number right = factor();
      if (!right || (sign != '*' && *right == 0)) return std::nullopt;
      left = bounded(sign == '*' ? *left * *right : sign == '/' ? *left / *right : *left % *right);
    }
    return left;
  }
  Number factor() {
    if (++depth_ > kMostDepth) return std::nullopt;
    Number found;
    if (takes('(')) {
      found = sum();
      if (!takes(')')) found.reset();
    } else {
      const bool is_negative = takes('-');
      skip();
      const std::size_t first = at_;
      std::int64_t number = 0;
      for (; at_ < text_.size() && is_digit(text_[at_]); ++at_)
        number = std::min(number * 10 + (text_[at_] - '0'), kMostNumber + 1);
      if (at_ != first) found = bounded(is_negative ? -number : number);
    }
    --depth_;
    return found;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

/// A variable: one value, or those of an array.
using Values = std::vector<ShellWord>;

/// What a script has set so far; a text inside an expansion sees the same.
struct Scope {
  std::map<std::string, Values> variables;
  std::map<std::string, ShellWord> exported;
  std::size_t added = 0;  ///< what expansions gave so far, in characters
};

/// The values of variables that a branch changes; none where it is not set.
using Changes = std::map<std::string, std::optional<Values>>;

/// A construct of which one branch or none runs: if, case, a loop, the body of a function.
struct Branching {
  std::string end;                ///< the word that ends it: fi, esac, done, }
  Changes before;                 ///< the values of what the current branch has changed
  std::vector<Changes> branches;  ///< what earlier branches made
  bool is_complete = false;       ///< one of the branches always runs
  std::string tested;             ///< the variable that the first branch gives where it is empty
  bool is_between = false;        ///< behind the `;;` of a case, where the next may be its end
};

bool is_same(const std::optional<Values>& a, const std::optional<Values>& b) {
  if (!a || !b) return !a && !b;
  return std::equal(a->begin(), a->end(), b->begin(), b->end(),
                    [](const ShellWord& x, const ShellWord& y) {
                      return x.text == y.text && x.unresolved == y.unresolved;
                    });
}

class Shell {
 public:
  Shell(std::string_view script, Scope& scope, int depth = 0)
      : text_(script), scope_(scope), depth_(depth) {}

  ShellScript run() {
    while (at_ < text_.size() && !is_cut()) statement();
    return {std::move(commands_), is_cut()};
  }

 private:
  /// What one written word expands to: an array or an unquoted list gives several.
  struct Expansion {
    Values words;
    bool was_quoted = false;
  };

  bool at_end() const { return at_ >= text_.size(); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  void advance() {
    if (text_[at_] == '\n') {
      ++line_;
      column_ = 1;
    } else if ((static_cast<unsigned char>(text_[at_]) & 0xC0U) != 0x80U) {
      ++column_;  // a character of UTF-8 starts here
    }
    ++at_;
  }
  Place here() const { return {line_, column_}; }

  /// Blanks, and ends of lines behind a backslash.
  void skip_blanks() {
    for (;;) {
      if (is_blank(peek())) {
        advance();
      } else if (peek() == '\\' && (peek(1) == '\n' || (peek(1) == '\r' && peek(2) == '\n'))) {
        while (peek() != '\n') advance();
        advance();
      } else {
        return;
      }
    }
  }
  void skip_line() {
    while (!at_end() && peek() != '\n') advance();
  }

  /// Reads up to the end of a simple command and keeps it.
  void statement() {
    ShellCommand command;
    std::vector<std::pair<std::string, Values>> assigned;
    for (;;) {
      skip_blanks();
      const char c = peek();
      if (at_end() || c == '\n' || c == ';' || c == '&' || c == '|' || c == '(' || c == ')') break;
      if (c == '#') {
        skip_line();
        break;
      }
      if (is_redirection()) {
        redirection();
        continue;
      }
      if (command.words.empty() && is_assignment()) {
        assigned.push_back(assignment());
        continue;
      }
      Expansion word = read_word();
      if (command.words.empty() && word.words.size() == 1 && !word.was_quoted &&
          is_keyword(word.words.front().text)) {
        branch(word.words.front().text);
        continue;
      }
      for (ShellWord& each : word.words) command.words.push_back(std::move(each));
    }
    const char end = peek();
    const bool is_twice = !at_end() && end == peek(1);
    const bool is_function =
        end == '(' && peek(1) == ')' && command.words.size() == 1 && assigned.empty();
    if (!at_end()) advance();
    if (end == '\n') skip_here_documents();
    if (is_twice && end != '\n' && end != '(' && end != ')') advance();
    finish(std::move(command), assigned);
    while (is_in(kBehindSigns)) end_branching();
    // `a && b`: the second runs or not.
    if (is_twice && (end == '&' || end == '|'))
      start_branching(std::string(kBehindSigns), end == '&' ? tested_ : std::string());
    if (is_function) opens_function_ = true;
    if (is_twice && end == ';' && is_in("esac")) {
      next_branch();
      branchings_.back().is_between = true;
    }
  }

  /// Instead of a word that ends it: a command behind && or || ends with itself.
  static constexpr std::string_view kBehindSigns = "";

  // Branches. What one changes is noted, and taken back where the next one begins.

  bool is_in(std::string_view end) const {
    return !branchings_.empty() && branchings_.back().end == end;
  }

  void start_branching(std::string end, std::string tested = {}) {
    ++opened_;
    if (branchings_.size() < kMostBranches)
      branchings_.push_back({std::move(end), {}, {}, false, std::move(tested), false});
  }

  void set(const std::string& name, std::optional<Values> values) {
    const auto known = scope_.variables.find(name);
    const bool is_set = known != scope_.variables.end();
    if (!branchings_.empty() && branchings_.back().before.count(name) == 0)
      branchings_.back().before[name] =
          is_set ? std::optional(std::move(known->second)) : std::nullopt;
    if (const auto out = scope_.exported.find(name); out != scope_.exported.end() && values)
      out->second = values->front();
    if (values)
      scope_.variables[name] = *std::move(values);
    else if (is_set)
      scope_.variables.erase(known);
  }

  /// Takes back what the current branch has changed, and keeps it.
  void next_branch() {
    Branching& here = branchings_.back();
    Changes made;
    for (auto& [name, before] : here.before) {
      const auto now = scope_.variables.find(name);
      const bool is_set = now != scope_.variables.end();
      made[name] = is_set ? std::optional(std::move(now->second)) : std::nullopt;
      if (before)
        scope_.variables[name] = *std::move(before);
      else if (is_set)
        scope_.variables.erase(now);
    }
    here.before.clear();
    here.branches.push_back(std::move(made));
  }

  /// Behind the branches a variable has the value that all of them give, or none that is known.
  void end_branching() {
    if (opened_-- > branchings_.size()) return;
    if (!branchings_.back().is_between) next_branch();
    const Branching ended = std::move(branchings_.back());
    branchings_.pop_back();
    Changes merged;
    std::map<std::string, std::size_t> times;
    for (const Changes& branch : ended.branches)
      for (const auto& [name, value] : branch) {
        const auto [at, is_first] = merged.emplace(name, value);
        ++times[name];
        if (!is_first && !is_same(at->second, value)) at->second = either(name);
      }
    for (auto& [name, value] : merged) {
      const auto known = scope_.variables.find(name);
      const std::optional<Values> before =
          known == scope_.variables.end() ? std::nullopt : std::optional(known->second);
      const bool is_default = name == ended.tested && !before && ended.branches.size() == 1;
      const bool is_always = ended.is_complete && times[name] == ended.branches.size();
      if (!is_always && !is_default && !is_same(before, value)) value = either(name);
      set(name, std::move(value));
    }
  }

  Values either(const std::string& name) const {
    ShellWord word = unresolved("$" + name, name);
    word.is_either = true;
    return {std::move(word)};
  }

  /// A word of the grammar in front of a command.
  void branch(const std::string& word) {
    if (word == "if") {
      start_branching("fi");
      tested_.clear();
    } else if (word == "while" || word == "until") {
      start_branching("done");
    } else if (word == "then" && is_in("fi")) {
      if (branchings_.back().branches.empty()) branchings_.back().tested = tested_;
    } else if ((word == "elif" || word == "else") && is_in("fi")) {
      next_branch();
      if (word == "else") branchings_.back().is_complete = true;
    } else if (word == "{") {
      const bool is_function = std::exchange(opens_function_, false);
      start_branching("}");
      // A group runs in any case; whether a function is called is not known.
      if (!is_function && is_in("}")) branchings_.back().is_complete = true;
    } else if ((word == "fi" || word == "done" || word == "esac" || word == "}") &&
               (is_in(word) || opened_ > branchings_.size())) {
      end_branching();
    }
  }

  void finish(ShellCommand command, std::vector<std::pair<std::string, Values>>& assigned) {
    if (!branchings_.empty() && !(command.words.empty() && assigned.empty()))
      branchings_.back().is_between = false;
    if (command.words.empty()) {
      for (auto& [name, values] : assigned) set(name, std::move(values));
      return;
    }
    const std::string verb = command.words.front().text;
    tested_.clear();
    const auto is_verb = [&](std::initializer_list<std::string_view> verbs) {
      return std::find(verbs.begin(), verbs.end(), verb) != verbs.end();
    };
    if (is_verb({"export", "local", "declare", "typeset", "readonly"})) {
      for (std::size_t i = 1; i < command.words.size(); ++i)
        declared(command.words[i], verb == "export");
      return;
    }
    if (is_verb({"read", "unset"}))
      for (std::size_t i = 1; i < command.words.size(); ++i) set(command.words[i].text, std::nullopt);
    if (is_verb({"for", "select"})) return loop(command);
    if (verb == "function") {
      opens_function_ = true;
      if (command.words.back().text == "{") branch("{");
      return;
    }
    if (verb == "case") return start_branching("esac");
    if (verb == "*" && is_in("esac")) branchings_.back().is_complete = true;
    if (is_verb({"[", "[[", "test"})) note_test(command);
    const auto in_front = [&](const std::string& name, const ShellWord& value) {
      scope_.added += kWordCost + value.text.size();
      if (!is_cut()) command.environment.emplace_back(name, value);
    };
    for (const auto& [name, value] : scope_.exported) in_front(name, value);
    for (const auto& [name, values] : assigned) in_front(name, values.front());
    commands_.push_back(std::move(command));
  }

  /// `[ -z "$NAME" ]`: what follows gives a value where there is none.
  void note_test(const ShellCommand& command) {
    if (command.words.size() > 2 && command.words[1].text == "-z" &&
        command.words[2].unresolved.size() == 1)
      tested_ = command.words[2].unresolved.front();
  }

  /// `for NAME in WORDS`: with one word the variable is that, with several one of them.
  void loop(const ShellCommand& command) {
    start_branching("done");
    if (command.words.size() < 2) return;
    const std::string& name = command.words[1].text;
    const bool is_one = command.words.size() == 4 && command.words[2].text == "in";
    set(name, is_one ? Values{command.words[3]} : either(name));
  }

  /// `export NAME=value`, or `export NAME` for a variable that is set already.
  void declared(const ShellWord& word, bool is_exported) {
    const std::size_t sign = word.text.find('=');
    const std::string name = word.text.substr(0, sign);
    ShellWord value = word;
    if (sign != std::string::npos) {
      value.text = word.text.substr(sign + 1);
      set(name, Values{value});
    } else if (const auto found = scope_.variables.find(name); found != scope_.variables.end()) {
      value = found->second.front();
    } else {
      return;
    }
    if (is_exported) scope_.exported[name] = std::move(value);
  }

  static bool is_keyword(const std::string& word) {
    static constexpr std::string_view kKeywords[] = {
        "do", "done", "then", "else", "elif", "fi",   "esac",  "{",    "}",
        "!",  "if",   "time", "while", "until", "nohup", "exec", "env"};
    return std::find(std::begin(kKeywords), std::end(kKeywords), word) != std::end(kKeywords);
  }

  bool is_assignment() const {
    if (!is_name_start(peek())) return false;
    std::size_t i = 1;
    while (is_name_part(peek(i))) ++i;
    return peek(i) == '=' || (peek(i) == '+' && peek(i + 1) == '=');
  }

  std::pair<std::string, Values> assignment() {
    std::string name;
    while (is_name_part(peek())) {
      name += peek();
      advance();
    }
    const bool appends = peek() == '+';
    if (appends) advance();
    advance();
    Values values;
    const bool is_array = peek() == '(';
    if (is_array) {
      advance();
      values = array();
    } else if (!is_blank(peek()) && peek() != '\n' && !at_end()) {
      is_assigning_ = true;
      values = read_word().words;
      is_assigning_ = false;
    }
    if (values.empty()) values.push_back({"", here(), {}});
    const auto before = scope_.variables.find(name);
    if (appends && before != scope_.variables.end()) {
      for (const ShellWord& each : before->second) scope_.added += kWordCost + each.text.size();
      if (is_cut()) return {std::move(name), std::move(values)};
      Values longer = before->second;
      if (is_array) {
        longer.insert(longer.end(), values.begin(), values.end());
      } else {
        append(longer.front(), values.front().text);
        take_unresolved(longer.front(), values.front());
      }
      values = std::move(longer);
    }
    return {std::move(name), std::move(values)};
  }

  Values array() {
    Values values;
    while (!at_end() && peek() != ')') {
      skip_blanks();
      if (peek() == '\n') {
        advance();
      } else if (peek() == '#') {
        skip_line();
      } else if (!at_end() && peek() != ')') {
        const std::size_t before = at_;
        for (ShellWord& each : read_word().words) values.push_back(std::move(each));
        if (at_ == before) advance();
      }
    }
    if (!at_end()) advance();
    return values;
  }

  bool is_redirection() const {
    std::size_t i = 0;
    while (is_digit(peek(i))) ++i;
    if (peek(i) == '&' && peek(i + 1) == '>') return true;
    return peek(i) == '>' || peek(i) == '<';
  }

  void redirection() {
    while (is_digit(peek()) || peek() == '&') advance();
    const bool reads = peek() == '<';
    int signs = 0;
    while (peek() == '<' || peek() == '>') {
      advance();
      ++signs;
    }
    const bool is_document = reads && signs == 2;
    if (peek() == '&' || peek() == '|') advance();
    if (is_document && peek() == '-') advance();
    skip_blanks();
    const Expansion target = read_word();
    if (is_document && !target.words.empty()) documents_.push_back(target.words.front().text);
  }

  /// The lines of here-documents that were announced on the line above.
  void skip_here_documents() {
    for (const std::string& end : documents_) {
      while (!at_end()) {
        std::string line;
        while (!at_end() && peek() != '\n') {
          line += peek();
          advance();
        }
        if (!at_end()) advance();
        line.erase(0, std::min(line.find_first_not_of('\t'), line.size()));
        while (!line.empty() && line.back() == '\r') line.pop_back();
        if (line == end) break;
      }
    }
    documents_.clear();
  }

  static bool ends_word(char c) {
    return c == '\0' || is_blank(c) || c == '\n' || c == ';' || c == '&' || c == '|' || c == '(' ||
           c == ')' || c == '<' || c == '>';
  }

  void append(ShellWord& word, std::string_view text) {
    scope_.added += text.size();
    if (!is_cut()) word.text += text;
  }
  bool is_cut() const { return scope_.added > kMostText; }
  void take_unresolved(ShellWord& word, const ShellWord& part) {
    scope_.added += kWordCost * part.unresolved.size();
    if (is_cut()) return;
    word.unresolved.insert(word.unresolved.end(), part.unresolved.begin(), part.unresolved.end());
    word.is_either = word.is_either || part.is_either;
  }

  Expansion read_word() {
    Expansion out;
    if (is_cut()) at_ = text_.size();  // nothing more is kept
    ShellWord word;
    word.place = here();
    const std::size_t first = at_;
    bool is_alone = false;  // an expansion without quotes is all of the word
    bool is_any = false;  // a quoted empty word is a word, an unquoted empty expansion is none
    const auto put = [&](const Values& values, bool is_split) {
      for (std::size_t i = 0; i < values.size() && !is_cut(); ++i) {
        if (i > 0) {
          out.words.push_back(word);
          word = ShellWord{"", word.place, {}};
          scope_.added += kWordCost;
        }
        if (values.size() > 1 && word.text.empty()) word.place = values[i].place;
        take_unresolved(word, values[i]);
        if (!is_split || is_assigning_) {
          word.is_open = word.text.empty() && values.size() > 1 && values[i].is_open;
          append(word, values[i].text);
          is_any = true;
          continue;
        }
        // Unquoted: the blanks in the value separate words.
        for (const char c : values[i].text) {
          if (!is_blank(c) && c != '\n') {
            append(word, std::string_view(&c, 1));
            is_any = true;
          } else if (is_any) {
            out.words.push_back(word);
            word.text.clear();
            scope_.added += kWordCost;
            is_any = false;
          }
        }
      }
    };
    while (!at_end() && !ends_word(peek())) {
      const char c = peek();
      if (c == '\'') {
        out.was_quoted = is_any = true;
        for (advance(); !at_end() && peek() != '\''; advance()) append(word, text_.substr(at_, 1));
        if (!at_end()) advance();
      } else if (c == '"') {
        out.was_quoted = is_any = true;
        advance();
        while (!at_end() && peek() != '"') {
          if (peek() == '\\' &&
              std::string_view("\"\\$`\n").find(peek(1)) != std::string_view::npos) {
            advance();
            if (peek() != '\n') append(word, text_.substr(at_, 1));
            advance();
          } else if (peek() == '$' || peek() == '`') {
            put(expansion(), false);
          } else {
            append(word, text_.substr(at_, 1));
            advance();
          }
        }
        if (!at_end()) advance();
      } else if (c == '\\') {
        if (peek(1) == '\n' || (peek(1) == '\r' && peek(2) == '\n')) break;
        advance();
        if (at_end()) break;
        append(word, text_.substr(at_, 1));
        is_any = true;
        advance();
      } else if (c == '$' || c == '`') {
        const bool is_first = at_ == first;
        put(expansion(), true);
        is_alone = is_first && ends_word(peek());
      } else {
        append(word, text_.substr(at_, 1));
        is_any = true;
        advance();
      }
    }
    // Quotes keep "$@" apart as well.
    const std::string_view written = text_.substr(first, at_ - first);
    const bool is_list = written == "\"$@\"" || written == "\"${@}\"" ||
                         (written.ends_with("[@]}\"") && word.text.starts_with("${"));
    if (!word.unresolved.empty() && (is_alone || is_list)) word.is_open = true;
    if (is_any) out.words.push_back(std::move(word));
    return out;
  }

  /// The text up to the bracket that closes, with brackets inside; the place is behind it then.
  std::string up_to(char open, char close) {
    std::string inside;
    for (int depth = 1; !at_end(); advance()) {
      if (peek() == open) ++depth;
      if (peek() == close && --depth == 0) break;
      inside += peek();
    }
    if (!at_end()) advance();
    return inside;
  }

  ShellWord unresolved(std::string text, std::string name) const {
    return {std::move(text), here(), {std::move(name)}};
  }

  /// What stands behind a dollar sign or between backquotes.
  Values expansion() {
    if (peek() == '`') {
      advance();
      std::string inside;
      for (; !at_end() && peek() != '`'; advance()) inside += peek();
      if (!at_end()) advance();
      return {command_output(inside, "`" + inside + "`")};
    }
    advance();
    if (peek() == '(' && peek(1) == '(') {
      advance();
      std::string inside = up_to('(', ')');
      if (!inside.empty() && inside.front() == '(') inside.erase(0, 1);
      if (!inside.empty() && inside.back() == ')') inside.pop_back();
      return {calculated(inside, "$((" + inside + "))")};
    }
    if (peek() == '(') {
      advance();
      const std::string inside = up_to('(', ')');
      return {command_output(inside, "$(" + inside + ")")};
    }
    if (peek() == '{') {
      advance();
      return braced(up_to('{', '}'));
    }
    if (!is_name_part(peek())) {
      if (peek() != '@' && peek() != '*' && peek() != '#' && peek() != '?')
        return {{"$", here(), {}}};
      const std::string name(1, peek());
      advance();
      return {unresolved("$" + name, "$" + name)};
    }
    std::string name;
    do {
      name += peek();
      advance();
    } while (is_name_part(peek()) && !is_digit(name.front()));
    return value_of(name, "$" + name);
  }

  Values value_of(const std::string& name, const std::string& written) const {
    const auto found = scope_.variables.find(name);
    if (found == scope_.variables.end()) return {unresolved(written, name)};
    return {found->second.begin(), found->second.begin() + 1};
  }

  /// `${NAME}`, `${NAME[@]}`, `${NAME:-default}`; anything else that braces can do is unresolved.
  Values braced(const std::string& inside) {
    std::size_t end = 0;
    while (end < inside.size() && is_name_part(inside[end])) ++end;
    const std::string name = inside.substr(0, end);
    const std::string rest = inside.substr(end);
    const std::string written = "${" + inside + "}";
    const auto found = scope_.variables.find(name);
    const bool is_set = found != scope_.variables.end();
    if (rest == "[@]" || rest == "[*]")
      return is_set ? found->second : Values{unresolved(written, name)};
    if (rest.empty()) return value_of(name, written);
    const bool has_colon = rest.front() == ':';
    const std::string_view behind = std::string_view(rest).substr(has_colon ? 1 : 0);
    if (!behind.empty() && (behind.front() == '-' || behind.front() == '=')) {
      if (is_set && !(has_colon && found->second.front().text.empty()))
        return {found->second.begin(), found->second.begin() + 1};
      return {expanded(behind.substr(1))};
    }
    return {unresolved(written, name.empty() ? written : name)};
  }

  /// A text inside an expansion, with the variables of the script put in.
  ShellWord expanded(std::string_view text) {
    if (depth_ >= kMostDepth) return unresolved(std::string(text), std::string(text));
    Shell inner(text, scope_, depth_ + 1);
    inner.is_assigning_ = true;
    ShellWord joined{"", here(), {}};
    while (!inner.at_end()) {
      if (const Expansion part = inner.read_word(); !part.words.empty()) {
        for (const ShellWord& each : part.words) {
          append(joined, each.text);
          take_unresolved(joined, each);
        }
      } else {
        append(joined, inner.text_.substr(inner.at_, 1));
        inner.advance();
      }
    }
    return joined;
  }

  ShellWord calculated(const std::string& formula, const std::string& written) {
    // Names stand bare in arithmetic.
    std::string with_signs;
    for (std::size_t i = 0; i < formula.size(); ++i) {
      const bool starts =
          is_name_start(formula[i]) && (i == 0 || (!is_name_part(formula[i - 1]) &&
                                                   formula[i - 1] != '$' && formula[i - 1] != '{'));
      if (starts) with_signs += '$';
      with_signs += formula[i];
    }
    ShellWord text = expanded(with_signs);
    if (!text.unresolved.empty()) return {written, here(), text.unresolved};
    const auto value = Arithmetic(text.text).value();
    return value ? ShellWord{std::to_string(*value), here(), {}} : unresolved(written, written);
  }

  ShellWord command_output(const std::string& inside, const std::string& written) {
    const std::size_t first = std::min(inside.find_first_not_of(" \t\n"), inside.size());
    std::string_view command = std::string_view(inside).substr(first);
    if (command.starts_with("expr ")) {
      std::string formula;
      for (const char c : command.substr(5))
        if (c != '\\' && c != '\'' && c != '"') formula += c;
      return calculated(formula, written);
    }
    // Where a program lies is no matter of what it does: its name stands for its path.
    for (const std::string_view finder : {"which ", "command -v ", "type -P "}) {
      if (!command.starts_with(finder)) continue;
      command.remove_prefix(finder.size());
      while (command.ends_with(' ')) command.remove_suffix(1);
      const bool is_name = std::all_of(command.begin(), command.end(), [](char c) { return is_name_part(c) || c == '-' || c == '.'; });
      if (is_name && !command.empty()) return {std::string(command), here(), {}};
    }
    return unresolved(written, written);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
  std::uint32_t column_ = 1;
  Scope& scope_;
  int depth_ = 0;
  bool is_assigning_ = false;
  bool opens_function_ = false;  ///< the next group is the body of a function
  std::string tested_;           ///< the variable of the last command, if that was `[ -z "$NAME" ]`
  std::size_t opened_ = 0;       ///< branchings, those that are too deep to be kept counted
  std::vector<Branching> branchings_;
  std::vector<std::string> documents_;
  std::vector<ShellCommand> commands_;
};

}  // namespace

ShellScript read_shell(std::string_view script) {
  Scope scope;
  return Shell(script, scope).run();
}

}  // namespace qwenplan
