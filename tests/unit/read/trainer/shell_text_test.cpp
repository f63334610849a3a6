#include "read/trainer/shell_text.hpp"

#include "support/catch.hpp"

using namespace qwenplan;

namespace {

std::string joined(const ShellCommand& command) {
  std::string text;
  for (const ShellWord& word : command.words) text += (text.empty() ? "" : "|") + word.text;
  return text;
}

std::vector<ShellCommand> commands_of(const std::string& script) {
  return read_shell(script).commands;
}

/// The words of the only command of a script.
std::string words(const std::string& script) {
  const auto commands = commands_of(script);
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
  const auto commands = commands_of("# 22GB\nA=1 swift \\\n  --größe \\\n  --x\n");
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

  const auto commands = commands_of("swift --model $MODEL/x --n ${N%%.*} --d `date`");
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
  CHECK(commands_of("a $((1 / 0))").front().words[1].unresolved.size() == 1);
  CHECK(commands_of("a $((9999999999999999999999))").front().words[1].unresolved.size() == 1);
  CHECK(commands_of("a $((GPUS * 2))").front().words[1].unresolved ==
        std::vector<std::string>{"GPUS"});
}

TEST_CASE("A variable that branches set differently is not known behind them", "[shell]") {
  const auto last = [](const std::string& script) {
    const auto commands = commands_of(script);
    REQUIRE_FALSE(commands.empty());
    return commands.back().words.back();
  };
  const ShellWord either = last("if a; then B=1; else B=2; fi\nswift $B");
  CHECK(either.text == "$B");
  CHECK(either.unresolved == std::vector<std::string>{"B"});
  CHECK(either.is_either);
  CHECK(last("if a; then B=1; else B=1; fi\nswift $B").text == "1");
  CHECK(last("B=1\nif a; then B=2; fi\nswift $B").is_either);
  CHECK(last("B=1\nif a\nthen\n  B=1\nfi\nswift $B").text == "1");
  CHECK(last("if a; then B=1; elif b; then B=2; else B=3; fi; swift $B").is_either);
  // Inside a branch its own values hold.
  CHECK(commands_of("if a; then B=1; swift $B; fi\n").back().words.back().text == "1");
  CHECK(commands_of("B=5\nif a; then B=1\nelse\nswift $B\nfi\n").back().words.back().text == "5");
  // What is given where nothing stands is a default.
  CHECK(last("if [ -z \"$B\" ]; then B=4; fi\nswift $B").text == "4");
  CHECK(last("[ -z \"$B\" ] && B=4\nswift $B").text == "4");
  CHECK(last("[ -n \"$C\" ] && B=4\nswift $B").is_either);
  CHECK(last("B=1\ncd x || B=2\nswift $B").is_either);
  CHECK(last("case $x in\n a) B=1;;\n b) B=2;;\nesac\nswift $B").is_either);
  CHECK(last("case $x in\n a) B=1;;\n *) B=1;;\nesac\nswift $B").text == "1");
  CHECK(last("B=1\ncase $x in\n a) B=2;;\n *) c\nesac\nswift $B").is_either);
  CHECK(last("for B in 1 2; do swift $B; done").is_either);
  CHECK(last("for B in 1; do swift $B; done").text == "1");
  CHECK(last("B=1\nf() {\n  B=2\n}\nswift $B").is_either);
  CHECK(last("f() {\n  local B=2\n  swift $B\n}\n").text == "2");
  CHECK(last("{ B=2; }\nswift $B").text == "2");
  CHECK(last("B=2\nread -r B\nswift $B").unresolved == std::vector<std::string>{"B"});
}

TEST_CASE("Words that may be none or several", "[shell]") {
  const auto words = commands_of("swift $E \"$@\" $@ \"$E\" a$E \"${A[@]}\" ${1}").back().words;
  REQUIRE(words.size() == 8);
  const bool is_open[] = {false, true, true, true, false, false, true, true};
  for (std::size_t i = 0; i < words.size(); ++i) {
    CAPTURE(words[i].text);
    CHECK(words[i].is_open == is_open[i]);
  }
  CHECK(commands_of("E=\nswift $E x").back().words.size() == 2);
  CHECK(commands_of("A=(--x 1 \"$@\")\nswift \"${A[@]}\"").back().words.back().is_open);
}

TEST_CASE("Arrays give their words", "[shell]") {
  const auto commands = commands_of(
      "ARGS=(\n  --model Qwen/Qwen3-8B  # which\n  --system 'be kind'\n)\nARGS+=(--x 1)\n"
      "swift sft \"${ARGS[@]}\" --y\n");
  REQUIRE(commands.size() == 1);
  CHECK(joined(commands.front()) == "swift|sft|--model|Qwen/Qwen3-8B|--system|be kind|--x|1|--y");
  CHECK(commands.front().words[4].place.line == 3);
}

TEST_CASE("The environment of a command is what stands before it and what was exported",
          "[shell]") {
  const auto commands =
      commands_of("nproc_per_node=2\nexport B=3\nNPROC_PER_NODE=$nproc_per_node A= swift sft");
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
      commands_of("cd x && a 1; b 2 | c > out.txt 2>&1 &\nif true; then d 4; fi");
  REQUIRE(commands.size() == 6);
  CHECK(joined(commands[1]) == "a|1");
  CHECK(joined(commands[2]) == "b|2");
  CHECK(joined(commands[3]) == "c");
  CHECK(joined(commands[5]) == "d|4");

  // A comment ends a continued command, and what follows is a command of its own.
  const auto broken = commands_of("a --x 1 \\\n  # --y 2 \\\n  --z 3\n");
  REQUIRE(broken.size() == 2);
  CHECK(joined(broken[0]) == "a|--x|1");
  CHECK(joined(broken[1]) == "--z|3");
}

TEST_CASE("The text of a here-document is no command", "[shell]") {
  const auto commands =
      commands_of("cat > x.yaml <<EOF\nmodel: a\nswift sft --x\nEOF\nswift sft x.yaml");
  REQUIRE(commands.size() == 2);
  CHECK(joined(commands[0]) == "cat");
  CHECK(joined(commands[1]) == "swift|sft|x.yaml");
}

TEST_CASE("Hostile scripts end", "[shell]") {
  std::string doubling = "A=0123456789abcdef\n";
  for (int i = 0; i < 64; ++i) doubling += "A=$A$A$A$A\n";
  CHECK(read_shell(doubling + "swift $A").is_cut);
  std::string arrays = "A=(a b c d e f g h)\n";
  for (int i = 0; i < 64; ++i) arrays += "A=(\"${A[@]}\" \"${A[@]}\")\n";
  CHECK(read_shell(arrays + "swift \"${A[@]}\"").is_cut);
  // An array that is put in as often as it has words.
  std::string squared = "A=(";
  for (int i = 0; i < 60000; ++i) squared += "x ";
  squared += ")\nswift sft";
  for (int i = 0; i < 60000; ++i) squared += " \"${A[@]}\"";
  CHECK(read_shell(squared).is_cut);
  std::string longer = "A=" + std::string(100000, 'x') + "\n";
  for (int i = 0; i < 20000; ++i) longer += "A+=y\n";
  CHECK(read_shell(longer).is_cut);
  std::string exported = "export A=" + std::string(100000, 'x') + "\n";
  for (int i = 0; i < 20000; ++i) exported += "a\n";
  CHECK(read_shell(exported).is_cut);
  std::string branches;
  for (int i = 0; i < 40000; ++i) branches += "if a; then V" + std::to_string(i) + "=1; ";
  CHECK_FALSE(read_shell(branches).is_cut);
  CHECK_FALSE(read_shell("fi; done; }; esac; ;; else\na && && b || || c").is_cut);
  CHECK(commands_of(std::string(100000, '(')).empty());
  CHECK(commands_of("a $(" + std::string(100000, '(')).size() == 1);
  CHECK(commands_of("a $((" + std::string(100000, '(') + "1").size() == 1);
  CHECK(commands_of("a \\\r b \\").size() == 1);
  std::string nested = "x";
  for (int i = 0; i < 200; ++i) nested = "${N" + std::to_string(i) + ":-" + nested + "}";
  CHECK(commands_of("a " + nested).size() == 1);
  for (const char* unfinished : {"a 'b", "a \"b", "a ${b", "a $(b", "a `b", "A=(", "a <<", "a $"})
    CHECK(commands_of(unfinished).size() <= 1);
}
