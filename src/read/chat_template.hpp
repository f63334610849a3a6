#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qwenplan {

/// How a trainer writes a conversation as one text.
enum class ChatTemplate : std::uint8_t {
  none,     ///< the texts alone, with a line break between them
  chatml,   ///< Qwen's marks around each message
  qwen2_5,  ///< the same, with Qwen2.5's system prompt where the conversation has none
  qwen3,    ///< chatml, with an empty thought before the last answer
  llama3,   ///< Llama 3's headers
  alpaca    ///< "### Instruction:" and "### Response:"
};

/// A conversation as it is written by a template; grows message by message.
class Conversation {
 public:
  explicit Conversation(ChatTemplate written_by) : template_(written_by) {}

  void clear();
  /// Begins a message of a role; its content is then appended to `text()`, and `finish` ends it.
  void begin(std::string_view role, bool is_last = false);
  void finish();
  /// Ends a sequence: one more token where no mark of the template ends it, but the trainer does.
  void end_of_text();
  bool adds_end() const { return template_ == ChatTemplate::none || template_ == ChatTemplate::alpaca; }

  std::string& text() { return text_; }
  /// Tokens of the template's special marks and names of roles, one each. Its other words are
  /// in `words`.
  std::int64_t marks() const { return marks_; }
  const std::string& words() const { return words_; }

 private:
  void write(std::string_view text, std::int64_t tokens);
  void say(std::string_view words);

  ChatTemplate template_;
  std::string text_, words_;
  std::int64_t marks_ = 0;
  bool has_messages_ = false;
  bool is_user_ = false;
};

}  // namespace qwenplan
