#include "read/trainer/shell_text.hpp"

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

std::string joined(const ShellCommand& command) {
  std::string text;
  for (const ShellWord& word : command.words) text += (text.empty() ? "" : "|") + word.text;
  return text;
}

/// The words of the only command of a script.
std::string words(const std::string& script) {
  const auto commands = shell_commands(script);
  REQUIRE(commands.size() == 1);
  return joined(commands.front());
}

}  // namespace

TEST_CASE("A command is the words over continued lines", "[shell]") {
  CHECK(words("swift sft \\\n    --model Qwen/Qwen3-8B \\\n  --max_length 2048\n") ==
        "swift|sft|--model|Qwen/Qwen3-8B|--max_length|2048");
  CHECK(words("swift sft \\\r\n --lr 1e-4 \\\r\n") == "swift|sft|--lr|1e-4");
  CHECK(words("a 'one two' \"three four\" five\\ six ''") == "a|one two|three four|five six|");
  CHECK(words("a 'b#500' c#d # a comment") == "a|b#500|c#d");
}

TEST_CASE("Every word has its place in the script", "[shell]") {
  const auto commands = shell_commands("# 22GB\nA=1 swift \\\n  --größe \\\n  --x\n");
  REQUIRE(commands.size() == 1);
  const auto& all = commands.front().words;
  REQUIRE(all.size() == 3);
  CHECK(all[0].place.line == 2);
  CHECK(all[0].place.column == 5);
  CHECK(all[1].place.line == 3);
  CHECK(all[2].place.line == 4);
  CHECK(all[2].place.column == 3);
}

TEST_CASE("Assignments above are put in; nothing else is", "[shell]") {
  CHECK(words("n=2\nswift --accum $n ${n}x \"$n $n\"") == "swift|--accum|2|2x|2 2");
  CHECK(words("m=\"Qwen/$(whoami)\"\nswift $m") == "swift|Qwen/$(whoami)");
  CHECK(words("a --x ${SEQ:-4096} ${UNSET-b}") == "a|--x|4096|b");
  CHECK(words("SEQ=8\na ${SEQ:-4096}") == "a|8");
  CHECK(words("SEQ=\na ${SEQ:-4096} ${SEQ}") == "a|4096");
  CHECK(words("F='--a 1 --b 2'\nswift $F \"$F\"") == "swift|--a|1|--b|2|--a 1 --b 2");

  const auto commands = shell_commands("swift --model $MODEL/x --n ${N%%.*} --d `date`");
  REQUIRE(commands.size() == 1);
  const auto& all = commands.front().words;
  REQUIRE(all.size() == 7);
  CHECK(all[2].text == "$MODEL/x");
  REQUIRE(all[2].unresolved.size() == 1);
  CHECK(all[2].unresolved.front() == "MODEL");
  REQUIRE(all[4].unresolved.size() == 1);
  CHECK(all[4].unresolved.front() == "N");
  CHECK(all[6].text == "`date`");
  CHECK(all[6].unresolved.size() == 1);
  CHECK(all[1].unresolved.empty());
}

TEST_CASE("Whole numbers are worked out", "[shell]") {
  CHECK(words("n=2\nswift $(expr 16 / $n) $((16 / n)) $((1024 * 2 + n)) $(( (1+2)*3 ))") ==
        "swift|8|8|2050|9");
  CHECK(words("a $(expr 64 \\* 2) $((7 % 4)) $((-3))") == "a|128|3|-3");
  CHECK(shell_commands("a $((1 / 0))").front().words[1].unresolved.size() == 1);
  CHECK(shell_commands("a $((9999999999999999999999))").front().words[1].unresolved.size() == 1);
  CHECK(shell_commands("a $((GPUS * 2))").front().words[1].unresolved ==
        std::vector<std::string>{"GPUS"});
}

TEST_CASE("Arrays give their words", "[shell]") {
  const auto commands = shell_commands(
      "ARGS=(\n  --model Qwen/Qwen3-8B  # which\n  --system 'be kind'\n)\nARGS+=(--x 1)\n"
      "swift sft \"${ARGS[@]}\" --y\n");
  REQUIRE(commands.size() == 1);
  CHECK(joined(commands.front()) == "swift|sft|--model|Qwen/Qwen3-8B|--system|be kind|--x|1|--y");
  CHECK(commands.front().words[4].place.line == 3);
}

TEST_CASE("The environment of a command is what stands before it and what was exported",
          "[shell]") {
  const auto commands =
      shell_commands("nproc_per_node=2\nexport B=3\nNPROC_PER_NODE=$nproc_per_node A= swift sft");
  REQUIRE(commands.size() == 1);
  const auto& environment = commands.front().environment;
  REQUIRE(environment.size() == 3);
  CHECK(environment[0].first == "B");
  CHECK(environment[0].second.text == "3");
  CHECK(environment[1].first == "NPROC_PER_NODE");
  CHECK(environment[1].second.text == "2");
  CHECK(environment[2].second.text.empty());
}

TEST_CASE("Commands end where a shell ends them", "[shell]") {
  const auto commands =
      shell_commands("cd x && a 1; b 2 | c > out.txt 2>&1 &\nif true; then d 4; fi");
  REQUIRE(commands.size() == 7);
  CHECK(joined(commands[1]) == "a|1");
  CHECK(joined(commands[2]) == "b|2");
  CHECK(joined(commands[3]) == "c");
  CHECK(joined(commands[5]) == "d|4");

  // A comment ends a continued command, and what follows is a command of its own.
  const auto broken = shell_commands("a --x 1 \\\n  # --y 2 \\\n  --z 3\n");
  REQUIRE(broken.size() == 2);
  CHECK(joined(broken[0]) == "a|--x|1");
  CHECK(joined(broken[1]) == "--z|3");
}

TEST_CASE("The text of a here-document is no command", "[shell]") {
  const auto commands =
      shell_commands("cat > x.yaml <<EOF\nmodel: a\nswift sft --x\nEOF\nswift sft x.yaml");
  REQUIRE(commands.size() == 2);
  CHECK(joined(commands[0]) == "cat");
  CHECK(joined(commands[1]) == "swift|sft|x.yaml");
}

TEST_CASE("Hostile scripts end", "[shell]") {
  std::string doubling = "A=0123456789abcdef\n";
  for (int i = 0; i < 64; ++i) doubling += "A=$A$A$A$A\n";
  CHECK(shell_commands(doubling + "swift $A").front().words.back().text.size() < (1U << 23));
  std::string arrays = "A=(a b c d e f g h)\n";
  for (int i = 0; i < 64; ++i) arrays += "A=(\"${A[@]}\" \"${A[@]}\")\n";
  CHECK(shell_commands(arrays + "swift \"${A[@]}\"").front().words.size() < 20000);
  CHECK(shell_commands(std::string(100000, '(')).empty());
  CHECK(shell_commands("a $(" + std::string(100000, '(')).size() == 1);
  CHECK(shell_commands("a $((" + std::string(100000, '(') + "1").size() == 1);
  CHECK(shell_commands("a \\\r b \\").size() == 1);
  std::string nested = "x";
  for (int i = 0; i < 200; ++i) nested = "${N" + std::to_string(i) + ":-" + nested + "}";
  CHECK(shell_commands("a " + nested).size() == 1);
  for (const char* unfinished : {"a 'b", "a \"b", "a ${b", "a $(b", "a `b", "A=(", "a <<", "a $"})
    CHECK(shell_commands(unfinished).size() <= 1);
}
