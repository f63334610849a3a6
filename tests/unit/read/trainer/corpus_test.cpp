#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>

#include "unit/read/trainer/reader.hpp"

using namespace qwenplan;
namespace fs = std::filesystem;

namespace {

/// Whose files a repository's folder holds; files of launchers stand among them.
constexpr std::pair<std::string_view, Trainer> kOwners[] = {
    {"Lightning-AI/litgpt/", Trainer::litgpt},
    {"pytorch/torchtune/", Trainer::torchtune},
    {"huggingface/alignment-handbook/recipes/", Trainer::trl},
    {"huggingface/open-r1/recipes/", Trainer::trl},
    {"huggingface/accelerate/examples/config_yaml_templates/", Trainer::accelerate},
    {"huggingface/accelerate/tests/test_configs/", Trainer::accelerate},
    {"deepspeedai/", Trainer::deepspeed},
    {"InternLM/xtuner/xtuner/configs/deepspeed/", Trainer::deepspeed},
    {"axolotl-ai-cloud/axolotl/examples/", Trainer::axolotl},
    {"hiyouga/LLaMA-Factory/examples/train_", Trainer::llama_factory}};

}  // namespace

TEST_CASE("Files of a collection are read as what they are", "[corpus]") {
  const char* folder = std::getenv("QWENPLAN_TEST_CORPUS");
  if (!folder) {
    std::cout << "skipped: QWENPLAN_TEST_CORPUS names no collection of trainers' files\n";
    return;
  }
  std::size_t read = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string extension = entry.path().extension().string();
    if (!entry.is_regular_file() ||
        (extension != ".yaml" && extension != ".yml" && extension != ".json"))
      continue;
    std::ifstream in(entry.path());
    const std::string text(std::istreambuf_iterator<char>(in), {});
    const std::string name = fs::relative(entry.path(), folder).generic_string();
    INFO(name);
    const auto file = read_train_file(text, name, Beside());
    if (!file) {
      CHECK_FALSE(file.error().what.empty());
      CHECK_FALSE(file.error().hint.empty());
      continue;
    }
    ++read;
    // A training file names its model and its method, or why there is no estimate.
    if (file->other_purpose.empty() && !file->unmodelled) CHECK_FALSE(file->model.empty());
    const bool is_launcher =
        file->trainer == Trainer::deepspeed || file->trainer == Trainer::accelerate;
    for (const auto& [path, owner] : kOwners)
      if (name.rfind(path, 0) == 0 && !(is_launcher && owner != file->trainer))
        CHECK(std::string(qwenplan::name(file->trainer)) == std::string(qwenplan::name(owner)));
  }
  CHECK(read > 0);
}
