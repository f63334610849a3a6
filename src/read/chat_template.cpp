#include "read/chat_template.hpp"

namespace qwenplan {
namespace {

constexpr std::string_view kQwenSystem = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
constexpr std::string_view kAlpacaSystem =
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n";

}  // namespace

void Conversation::clear() {
  text_.clear();
  words_.clear();
  marks_ = 0;
  has_messages_ = false;
}

void Conversation::write(std::string_view text, std::int64_t tokens) {
  text_ += text;
  marks_ += tokens;
}

void Conversation::say(std::string_view words) {
  text_ += words;
  words_ += words;
}

void Conversation::begin(std::string_view role, bool is_last) {
  const bool is_first = !has_messages_;
  has_messages_ = true;
  is_user_ = role == "user";
  switch (template_) {
    case ChatTemplate::none:
      if (!is_first) write("\n", 1);
      return;
    case ChatTemplate::qwen2_5:
      if (is_first && role != "system") {
        write("<|im_start|>system\n", 3);
        say(kQwenSystem);
        write("<|im_end|>\n", 2);
      }
      [[fallthrough]];
    case ChatTemplate::chatml:
    case ChatTemplate::qwen3:
      write("<|im_start|>", 1);
      write(role, 1);
      write("\n", 1);
      if (template_ == ChatTemplate::qwen3 && is_last && role == "assistant") write("<think>\n\n</think>\n\n", 4);
      return;
    case ChatTemplate::llama3:
      if (is_first) write("<|begin_of_text|>", 1);
      write("<|start_header_id|>", 1);
      write(role, 1);
      write("<|end_header_id|>\n\n", 2);
      return;
    case ChatTemplate::alpaca:
      if (is_first && role != "system") say(kAlpacaSystem);
      if (is_user_) say("### Instruction:\n");
      return;
  }
}

void Conversation::finish() {
  switch (template_) {
    case ChatTemplate::none:
      return;
    case ChatTemplate::chatml:
    case ChatTemplate::qwen2_5:
    case ChatTemplate::qwen3:
      write("<|im_end|>\n", 2);
      return;
    case ChatTemplate::llama3:
      write("<|eot_id|>", 1);
      return;
    case ChatTemplate::alpaca:
      if (is_user_) say("\n\n### Response:\n");
      else write("\n\n", 1);
      return;
  }
}

void Conversation::end_of_text() {
  if (adds_end()) ++marks_;
}

}  // namespace qwenplan
