#include <cstdint>
#include <map>
#include <string>

#include "support/catch.hpp"
#include "support/program.hpp"

using qwenplan::test::Left;
using qwenplan::test::run;

namespace {

bool is_yes(const nlohmann::json& fit) { return fit == "fits" || fit == "tight"; }

}  // namespace

TEST_CASE("The guide's 25 cells are each marked, by what the engine says of them") {
  const Left left = run("qwenplan matrix --against guide --json");
  REQUIRE(left.status == 0);
  const auto json = left.json();
  REQUIRE(json["rows"].size() == 25);
  std::int64_t right = 0;
  for (const auto& row : json["rows"]) {
    CAPTURE(row.dump());
    std::string best = "none";
    std::map<std::string, bool> fits;
    for (const auto& method : row["methods"]) {
      const auto name = method["method"].get<std::string>();
      fits[name] = is_yes(method["fit"]);
    }
    for (const char* wanted : {"fits", "tight"})
      for (const char* name : {"full", "lora", "qlora"})
        for (const auto& method : row["methods"])
          if (best == "none" && method["method"] == name && method["fit"] == wanted) best = name;
    CHECK(row["best"] == best);
    const auto says = row["guide"]["says"].get<std::string>();
    CHECK(row["guide"]["agrees"] == (says == "none" ? best == "none" : fits[says]));
    CHECK(row["guide"]["why"].get<std::string>().find("GiB") != std::string::npos);
    right += row["guide"]["agrees"].get<bool>();
  }
  CHECK(json["cells_right"] == right);
  CHECK(json["cells_wrong"] == 25 - right);
}

TEST_CASE("Cells that arithmetic alone refutes are wrong") {
  // Weights and gradients of full training in 16 bits are 4 bytes a parameter: 30.5 GB for 7B, 59.1 GB
  // for 14B. LoRA keeps 2: 29.5 GB for 14B, 65.5 GB for 32B. Four bits of 32B are 16.4 GB.
  const std::map<std::pair<std::string, std::string>, std::string> wrong = {
      {{"qwen2.5-7b", "rtx4070ti-12g"}, "full"},  {{"qwen2.5-7b", "rtx4080-16g"}, "full"},
      {{"qwen2.5-7b", "rtx4090-24g"}, "full"},    {{"qwen2.5-14b", "rtx4090-24g"}, "full"},
      {{"qwen2.5-7b", "rtx4070-12g"}, "lora"},    {{"qwen2.5-14b", "rtx4080-16g"}, "lora"},
      {{"qwen2.5-32b", "rtx4090-24g"}, "lora"},   {{"qwen2.5-32b", "rtx4080-16g"}, "qlora"}};
  std::size_t found = 0;
  const auto json = run("qwenplan matrix --against guide --json").json();
  for (const auto& row : json["rows"]) {
    const auto at = wrong.find({row["model"].get<std::string>(), row["gpu"].get<std::string>()});
    if (at == wrong.end()) continue;
    CAPTURE(row.dump());
    CHECK(row["guide"]["says"] == at->second);
    CHECK(row["guide"]["agrees"] == false);
    ++found;
  }
  CHECK(found == wrong.size());
}

TEST_CASE("A cell is what vram says of the pair") {
  const auto row = run("qwenplan matrix --models 7b --gpus rtx3090 --seq-len 1024 --json").json()["rows"][0];
  const auto pair = run("qwenplan vram --model 7b --gpu rtx3090 --seq-len 1024 --json").json();
  REQUIRE(row["methods"].size() == pair["methods"].size());
  for (std::size_t i = 0; i < row["methods"].size(); ++i) {
    CHECK(row["methods"][i]["fit"] == pair["methods"][i]["fit"]);
    CHECK(row["methods"][i]["device_bytes"] == pair["methods"][i]["device_bytes"]);
  }
}

TEST_CASE("Any models and cards make a matrix") {
  const auto json = run("qwenplan matrix --models '0.5b, 1.5b' --gpus t4,h100 --json").json();
  REQUIRE(json["rows"].size() == 4);
  CHECK(json["rows"][0]["model"] == "qwen2.5-0.5b");
  CHECK(json["rows"][3]["best"] == "full");
  CHECK(run("qwenplan matrix --models 0.5b --gpus nothing").status == 2);
  CHECK(run("qwenplan matrix --models , --gpus t4").status == 2);
  CHECK(run("qwenplan matrix --against table").status == 2);
  // A pair beyond the emulation is unknown, and the table stands.
  const Left unknown = run("qwenplan matrix --models falcon-h1-0.5b,0.5b --gpus t4 --json");
  CHECK(unknown.status == 0);
  CHECK(unknown.json()["rows"][0]["best"].is_null());
  CHECK(unknown.json()["rows"][1]["best"].is_string());
}

TEST_CASE("The guide's matrix is shown as it is printed") {
  const auto json = run("qwenplan matrix --estimator guide --json").json();
  REQUIRE(json["guide"]["rows"].size() == 5);
  CHECK(json["guide"]["rows"][2]["RTX 4070 12GB"] == "✅ QLoRA/LoRA");
  CHECK(json["differs"].size() > 0);
}

TEST_CASE("The guide's two configurations are judged") {
  const auto full = run("qwenplan recommend --preset rtx3060-3b --json");
  CHECK(full.status == 1);  // 4 bytes a parameter and more, of 3.09 billion, on 12 GB
  CHECK(full.json()["verdict"]["fit"] == "exceeds");
  CHECK(full.json()["run"]["batch"]["value"] == 4);
  CHECK(full.json()["run"]["precision"]["value"] == "fp16-mixed");
  REQUIRE(full.json()["alternatives"].size() > 0);
  CHECK(full.json()["alternatives"][0]["fit"] == "fits");

  // A preset is the question that it spells out.
  const auto preset = run("qwenplan recommend --preset rtx3060-7b --json").json();
  const auto same = run("qwenplan vram --json --model 7b --gpu rtx3060 --method qlora --batch 2 --grad-accum 8 "
                        "--seq-len 1024 --lora-r 16 --lora-dropout 0.1 --lora-targets q_proj,v_proj,k_proj,o_proj").json();
  CHECK(preset["verdict"] == same["verdict"]);
  CHECK(preset["carried"].size() == 4);
  const auto larger = run("qwenplan recommend --preset rtx3060-7b --gpu 4090 --seq-len 512 --json");
  CHECK(larger.status == 0);
  CHECK(larger.json()["run"]["seq-len"]["value"] == 512);

  const auto guide = run("qwenplan recommend --preset rtx3060-7b --estimator guide --json").json();
  CHECK(guide["guide"]["rows"][0]["lora_config"]["lora_dropout"] == 0.1);
  CHECK(guide["guide"]["rows"][0]["memory_optimization"]["cpu_offload"] == true);
  CHECK(run("qwenplan recommend --preset rtx3060-14b").status == 2);
}
