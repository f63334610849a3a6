#include "read/tables.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/temp_folder.hpp"

using namespace qwenplan;

namespace {

Tables tables(const std::string& overlay = {}) {
  auto opened = Tables::open(overlay);
  if (!opened) FAIL(opened.error().what << " in " << opened.error().where);
  return *opened;
}

FoundModel model(const std::string& name) {
  const auto found = tables().model(name);
  if (!found) FAIL(name << ": " << found.error().what);
  return *found;
}

FoundGpu gpu(const std::string& name) {
  const auto found = tables().gpu(name);
  if (!found) FAIL(name << ": " << found.error().what);
  return *found;
}

bool has(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Error overlay_error(const std::string& file, const std::string& text) {
  const test::TempFolder folder;
  folder.write(file, text);
  const auto opened = Tables::open(folder.path());
  INFO(text);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().kind == Error::Kind::wrong);
  CHECK(mentions(opened.error().where, folder.path(file)));
  CHECK_FALSE(opened.error().hint.empty());
  return opened.error();
}

std::string gpus(const std::string& rows) {
  return R"({"schema": "qwenplan.gpus/1", "gpus": [)" + rows + "]}";
}

}  // namespace

TEST_CASE("a model by id, name on the Hub, tuning, alias and copy") {
  const std::string name = GENERATE(
      "qwen2.5-7b", "Qwen2.5-7B", " qwen2.5-7b ", "Qwen/Qwen2.5-7B", "qwen/qwen2.5-7b",
      "Qwen/Qwen2.5-7B-Instruct", "Qwen2.5-7B-Instruct", "qwen2.5-7b-chat", "qwen2.5-7b-base",
      "qwen2.5:7b", "qwen2.5:7b-instruct", "7b", "7B", "unsloth/Qwen2.5-7B-Instruct",
      "unsloth/Qwen2.5-7B-Instruct-bnb-4bit", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4");
  CAPTURE(name);
  const FoundModel found = model(name);
  CHECK(found.model.id == "qwen2.5-7b");
  CHECK(found.model.hub_id == "Qwen/Qwen2.5-7B");
  CHECK(found.model.architecture == Architecture::qwen2);
  CHECK(found.model.layers == 28);
  CHECK(found.model.vocabulary == 152064);
  CHECK(found.model.has_qkv_bias);
  CHECK(found.parameters == Params(7615616512));
  CHECK_FALSE(found.is_file);
}

TEST_CASE("a size alone is Qwen2.5's, else Qwen3's, and says what else it could be") {
  CHECK(model("0.5b").model.id == "qwen2.5-0.5b");
  CHECK(model("1.7b").model.id == "qwen3-1.7b");
  CHECK(model("8b").model.id == "qwen3-8b");
  CHECK(model("14b").model.id == "qwen2.5-14b");
  CHECK(model("30b").model.id == "qwen3-30b-a3b");
  const FoundModel found = model("8b");
  CHECK(found.reading == "'8b' is taken as qwen3-8b");
  CHECK(has(found.also, "llama3.1-8b"));
  CHECK_FALSE(has(found.also, "qwen3-8b"));
  // Five models of nine billion, none of them Qwen2.5's or Qwen3's: nothing says which.
  const auto several = tables().model("9b");
  REQUIRE_FALSE(several);
  CHECK(mentions(several.error().hint, "gemma2-9b"));
}

TEST_CASE("a name that leaves no choice is not commented on") {
  const std::string name = GENERATE("qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct", "qwen3-30b-a3b");
  CHECK(model(name).reading.empty());
  CHECK(model(name).also.empty());
}

TEST_CASE("a model of a class that is not emulated shows its facts") {
  // The larger models of the family have a vision tower, which is loaded with them.
  CHECK(model("gemma3-12b").model.architecture == Architecture::other);
  CHECK(model("gemma3-12b").model.architecture_name == "Gemma3ForConditionalGeneration");
  CHECK(model("gemma3-12b").model.layers == 48);
  // A known class whose shape nobody published cannot be emulated either.
  const FoundModel found = model("kuwain-1.5b");
  CHECK(found.model.architecture == Architecture::other);
  CHECK(mentions(found.model.architecture_name, "LlamaForCausalLM"));
}

TEST_CASE("experts in every layer need no MLP beside them, and a router of Qwen3.5 divides its scores") {
  const FoundModel found = model("qwen3.5-35b-a3b");
  CHECK(found.model.architecture == Architecture::qwen3_5_moe);
  CHECK(*found.model.experts == Experts{256, 8, 512, 1, true, 512});
  CHECK(found.model.linear_attention->value_heads == 32);
  CHECK(found.model.vision->layers == 27);
  CHECK(model("qwen3-next-80b-a3b").model.architecture == Architecture::other);  // it fuses its projections
}

TEST_CASE("a shape with dense layers or experts of unknown width is not complete") {
  const auto added = [](const std::string& experts, const std::string& more = {}) {
    const test::TempFolder folder;
    folder.write("models.json", R"({"schema": "qwenplan.models/1", "models": [{"id": "own", "architecture": "Qwen3MoeForCausalLM", )"
                                R"("layers": 4, "hidden": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "vocabulary": 512, )"
                                R"("experts": )" + experts + more + "}]}");
    return tables(folder.path()).model("own")->model.architecture;
  };
  const std::string sparse = R"({"count": 8, "per_token": 2, "ffn": 32})";
  const std::string mixed = R"({"count": 8, "per_token": 2, "ffn": 32, "sparse_step": 2})";
  CHECK(added(sparse) == Architecture::qwen3_moe);
  CHECK(added(mixed) == Architecture::other);
  CHECK(added(mixed, R"(, "ffn": 128)") == Architecture::qwen3_moe);
  CHECK(added(R"({"count": 8, "per_token": 2})") == Architecture::other);
}

TEST_CASE("experts, windows and how well a shape is known") {
  const FoundModel sparse = model("qwen3-30b-a3b");
  REQUIRE(sparse.model.experts);
  CHECK(*sparse.model.experts == Experts{128, 8, 768, 1, true});
  CHECK(sparse.evidence == Evidence::literature);
  CHECK(model("qwen3-coder-30b-a3b").evidence == Evidence::assumed);
  CHECK(model("mistral-7b-v0.1").model.sliding_window == 4096);
  CHECK(model("mistral-7b-v0.3").model.sliding_window == 0);
}

TEST_CASE("a model's own file") {
  const test::TempFolder folder;
  const std::string file =
      folder.write("config.json", R"({"model_type": "llama", "num_hidden_layers": 3})");
  for (const std::string& path : {file, folder.path()}) {
    const auto found = tables().model(path);
    REQUIRE(found);
    CHECK(found->is_file);
    CHECK(found->model.layers == 3);
    CHECK(found->evidence == Evidence::exact);
    CHECK_FALSE(found->parameters);
  }
  // A folder that is called like a model: its own file, whoever made it.
  std::filesystem::create_directories(folder.path("Qwen2.5-7B-Instruct"));
  folder.write("Qwen2.5-7B-Instruct/config.json",
               R"({"model_type": "qwen2", "num_hidden_layers": 2})");
  CHECK(tables().model(folder.path("Qwen2.5-7B-Instruct"))->model.layers == 2);
}

TEST_CASE("unknown models are answered with near names") {
  const auto typo = tables().model("qwen2.5-7n");
  REQUIRE_FALSE(typo);
  CHECK(typo.error().kind == Error::Kind::wrong);
  CHECK(typo.error().where == "--model");
  CHECK(mentions(typo.error().hint, "qwen2.5-7b"));
  CHECK(mentions(typo.error().hint, "qwenplan data list models"));
  CHECK(mentions(tables().model("./nowhere/config.json").error().what, "no such file"));
  for (const char* name : {"", " ", "/", ".", "-instruct", "\x01", "b"}) {
    CAPTURE(name);
    CHECK_FALSE(tables().model(name));
  }
  CHECK_FALSE(tables().model(std::string(1'000'000, 'q')));
}

TEST_CASE("a GPU by id, alias, driver's name and prefix") {
  struct Case {
    const char* name;
    const char* id;
  };
  const Case one = GENERATE(
      Case{"rtx3060-12g", "rtx3060-12g"}, Case{"RTX3060-12GB", "rtx3060-12g"},
      Case{"rtx3060", "rtx3060-12g"}, Case{"3060", "rtx3060-12g"}, Case{"RTX 3060", "rtx3060-12g"},
      Case{"NVIDIA GeForce RTX 3060", "rtx3060-12g"}, Case{"geforce rtx 3060", "rtx3060-12g"},
      Case{"RTX 3060 Ti", "rtx3060ti-8g"}, Case{"4090", "rtx4090-24g"}, Case{"t4", "t4"},
      Case{"Tesla T4", "t4"}, Case{"a100", "a100-80g-sxm"}, Case{"a100-80g", "a100-80g-sxm"},
      Case{"a100-40g", "a100-40g-sxm"}, Case{"A100 80GB", "a100-80g-sxm"},
      Case{"h100", "h100-80g-sxm"}, Case{"NVIDIA H100 80GB HBM3", "h100-80g-sxm"},
      Case{"rtx-a6000", "rtxa6000-48g"}, Case{"NVIDIA RTX A6000", "rtxa6000-48g"},
      Case{"l40s", "l40s-48g"}, Case{"a10g", "a10g-24g"},
      Case{"NVIDIA GeForce RTX 3060 Laptop GPU", "rtx3060-laptop-6g"},
      Case{"rtx3060-l", "rtx3060-laptop-6g"}, Case{"rtx6000a", "rtx6000ada-48g"},
      Case{"m4-max", "m4-max"});
  CAPTURE(one.name);
  CHECK(gpu(one.name).gpu.id == one.id);
  CHECK(gpu(one.name).count == 1);
}

TEST_CASE("the figures of a GPU and how they are known") {
  const Gpu card = gpu("rtx3060-12g").gpu;
  CHECK(card.name == "NVIDIA GeForce RTX 3060");
  CHECK(card.is_cuda());
  CHECK(card.compute_capability == 86);
  CHECK(card.memory.value == Bytes(12LL << 30));
  CHECK(card.bandwidth.value == 360e9);
  CHECK(card.bandwidth.evidence == Evidence::literature);
  CHECK(card.driver_total->value == Bytes(12288LL << 20));
  CHECK(card.driver_total->evidence == Evidence::measured);
  CHECK(card.driver_total->source == "skypilot-vast");
  CHECK(card.bf16_rate->value == 25.5e12);
  CHECK(card.launch_price->value == 329);
  CHECK(card.has_bf16);
  CHECK(card.multiprocessors == 28);
  CHECK(gpu("m4-max").gpu.multiprocessors == 0);  // not told
  CHECK(gpu("t4").gpu.compute_capability == 75);
  CHECK_FALSE(gpu("t4").gpu.bf16_rate);
  CHECK(gpu("b300-288g-sxm").gpu.compute_capability == 103);
  CHECK(gpu("rtx5090-32g").gpu.compute_capability == 120);
  CHECK_FALSE(gpu("m4-max").gpu.is_cuda());
}

TEST_CASE("other variants of a name are told") {
  CHECK(has(gpu("rtx3060").also, "rtx3060-laptop-6g"));
  CHECK(gpu("rtx3060").reading == "'rtx3060' is taken as rtx3060-12g");
  CHECK(has(gpu("a100").also, "a100-40g-sxm"));
  CHECK(has(gpu("RTX 4060 Ti").also, "rtx4060ti-16g"));
  CHECK(gpu("rtx3060-12g").also.empty());
  CHECK(gpu("rtx3060-12g").reading.empty());
}

TEST_CASE("several GPUs") {
  CHECK(gpu("7900xtx").gpu.id == "rx7900xtx-24g");
  CHECK(gpu("2x rtx4090").count == 2);
  CHECK(gpu("8xh100").count == 8);
  CHECK(gpu("4 X a100").gpu.id == "a100-80g-sxm");
  for (const char* name : {"0x t4", "5000x t4", "99999999999999999999x t4", "2x", "2x x"}) {
    CAPTURE(name);
    CHECK_FALSE(tables().gpu(name));
  }
}

TEST_CASE("what the driver reports decides between variants") {
  const auto mib = [](std::int64_t count) { return Bytes(count << 20); };
  CHECK(tables().gpu("NVIDIA GeForce RTX 4060 Ti", mib(16380))->gpu.id == "rtx4060ti-16g");
  CHECK(tables().gpu("NVIDIA GeForce RTX 4060 Ti", mib(8188))->gpu.id == "rtx4060ti-8g");
  CHECK(tables().gpu("Tesla T4", mib(15360))->gpu.id == "t4");
  CHECK(tables().gpu("NVIDIA A10G", mib(22515))->gpu.id == "a10g-24g");
  // There is an RTX 3060 with 8 GiB; its bandwidth is not that of the one in the table.
  CHECK_FALSE(tables().gpu("NVIDIA GeForce RTX 3060", mib(8192)));
}

TEST_CASE("unknown and ambiguous GPUs") {
  const auto typo = tables().gpu("rtx-3600");
  REQUIRE_FALSE(typo);
  CHECK(typo.error().where == "--gpu");
  CHECK(mentions(typo.error().hint, "rtx3060"));
  CHECK(mentions(typo.error().hint, "qwenplan data list gpus"));
  const auto prefix = tables().gpu("rtx407");
  REQUIRE_FALSE(prefix);
  CHECK(mentions(prefix.error().hint, "rtx4070-12g"));
  for (const char* name : {"", " ", "nvidia", "x", "-"}) {
    CAPTURE(name);
    CHECK_FALSE(tables().gpu(name));
  }
  CHECK_FALSE(tables().gpu(std::string(1'000'000, '9')));
}

TEST_CASE("rows as text, and the day of the data") {
  const auto row = tables().row(Tables::Kind::gpus, "t4");
  REQUIRE(row);
  CHECK(nlohmann::json::parse(*row)["memory"] == "16 GiB");
  CHECK_FALSE(tables().row(Tables::Kind::gpus, "T4"));
  CHECK(tables().row(Tables::Kind::sources, "litgpt"));
  CHECK(tables().ids(Tables::Kind::gpus).size() >= 85);
  CHECK(tables().ids(Tables::Kind::models).size() >= 129);
  CHECK(tables().as_of().size() == 10);
  CHECK(tables().overridden().empty());
}

TEST_CASE("an overlay replaces field by field and adds rows") {
  const test::TempFolder folder;
  folder.write("gpus.json", R"({"schema": "qwenplan.gpus/1", "as_of": "2025-01-31", "gpus": [
    {"id": "rtx3060-12g", "bandwidth": "350 GB/s", "driver_total": "12045 MiB", "evidence": "measured", "source": "my-lab"},
    {"id": "t4", "power": "60 W"},
    {"id": "rtx3060-8g", "name": "NVIDIA GeForce RTX 3060", "aliases": ["3060-8"], "vendor": "nvidia",
     "compute_capability": "8.6", "memory": "8 GiB", "bandwidth": "240 GB/s", "evidence": "vendor", "source": "my-lab"}]})");
  folder.write("models.json",
               R"({"schema": "qwenplan.models/1", "models": [{"id": "mine", "hub_id": "me/mine",
    "architecture": "LlamaForCausalLM", "layers": 2, "hidden": 64, "ffn": 128, "heads": 4, "kv_heads": 2, "head_dim": 16,
    "vocabulary": 100}]})");
  const Tables laid = tables(folder.path());

  const auto card = laid.gpu("rtx3060");
  REQUIRE(card);
  CHECK(card->gpu.bandwidth.value == 350e9);
  CHECK(card->gpu.bandwidth.evidence == Evidence::measured);
  CHECK(card->gpu.bandwidth.source == "my-lab");
  CHECK(card->gpu.driver_total->value == Bytes(12045LL << 20));
  CHECK(card->gpu.memory.value == Bytes(12LL << 30));
  CHECK(card->gpu.memory.evidence == Evidence::literature);
  CHECK(has(card->also, "rtx3060-8g"));
  // What the overlay does not say how it knows, nobody knows.
  CHECK(laid.gpu("t4")->gpu.power->value == 60);
  CHECK(laid.gpu("t4")->gpu.power->evidence == Evidence::assumed);

  CHECK(laid.gpu("3060-8")->gpu.bandwidth.value == 240e9);
  CHECK(laid.gpu("NVIDIA GeForce RTX 3060", Bytes(8192LL << 20))->gpu.id == "rtx3060-8g");
  CHECK(laid.model("me/mine-Instruct")->model.architecture == Architecture::llama);
  CHECK(laid.ids(Tables::Kind::gpus).back() == "rtx3060-8g");
  CHECK(laid.overridden() ==
        std::vector<std::string>{"gpus/rtx3060-12g", "gpus/t4", "gpus/rtx3060-8g", "models/mine"});
  CHECK(laid.as_of() == "2025-01-31");
  const auto row = laid.row(Tables::Kind::gpus, "rtx3060-12g");
  REQUIRE(row);
  CHECK(nlohmann::json::parse(*row)["bandwidth"] == "350 GB/s");
  CHECK(tables().gpu("rtx3060")->gpu.bandwidth.value == 360e9);
}

TEST_CASE("an overlay that is empty or elsewhere") {
  const test::TempFolder folder;
  CHECK(tables(folder.path()).overridden().empty());
  CHECK(tables(folder.path()).gpu("t4"));
  const auto nowhere = Tables::open(folder.path("nowhere"));
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().where == "--data");
}

TEST_CASE("a malformed overlay is refused with its place") {
  CHECK(mentions(overlay_error("gpus.json", gpus(R"({"id": "t4", "memory": 12})")).what,
                 "/gpus/0/memory: expected"));
  CHECK(mentions(
      overlay_error("gpus.json", gpus(R"({"id": "t4"}, {"id": "t4", "memory": "12 GB"})")).what,
      "/gpus/1/memory"));
  CHECK(mentions(overlay_error("gpus.json", "{\n\n\"schema\": }").where, "line 3"));
  CHECK(mentions(overlay_error("gpus.json", gpus(R"({"id": "t4", "id": "l4"})")).what, "twice"));
  overlay_error("gpus.json", R"({"gpus": []})");
  overlay_error("gpus.json", R"({"schema": "qwenplan.gpus/1", "gpus": {}})");
  overlay_error("gpus.json", "[]");
}

TEST_CASE("a malformed row of a GPU is refused") {
  const std::string rows = GENERATE(
      R"(1)", R"({})", R"({"id": 4})", R"({"id": "T 4"})", R"({"id": "t4", "bandwidth": "fast"})",
      R"({"id": "t4", "bandwidth": "-1 GB/s"})", R"({"id": "t4", "bandwidth": "0 GB/s"})",
      R"({"id": "t4", "memory": null})", R"({"id": "t4", "memory": "1.2.3 GiB"})",
      R"({"id": "t4", "memory": " GiB"})", R"({"id": "t4", "memory": "9999999999999999 GiB"})",
      R"({"id": "t4", "compute_capability": "75"})", R"({"id": "t4", "compute_capability": "x.y"})",
      R"({"id": "t4", "aliases": "tee"})", R"({"id": "t4", "aliases": ["a\"b"]})",
      R"({"id": "t4", "aliases": ["rtx 3060"]})", R"({"id": "t4", "evidence": "guessed"})",
      R"({"id": "t4", "evidence": null})", R"({"id": "t4", "source": 1})",
      R"({"id": "t4", "except": {}})",
      R"({"id": "t4", "except": [{"of": "power", "evidence": "vendor"}]})",
      R"({"id": "t4", "sm_count": -1})", R"({"id": "t4", "sm_count": 100001})",
      R"({"id": "t4", "sm_count": "40"})", R"({"id": "t4", "has_bf16": "yes"})", R"({"id": "t4", "memroy": "16 GiB"})",
      R"({"id": "t4", "name": 1})", R"({"id": "new"})");
  overlay_error("gpus.json", gpus(rows));
}

TEST_CASE("a malformed row of a model is refused") {
  const std::string model = GENERATE(
      R"({"id": "qwen2.5-7b", "layers": -1})", R"({"id": "qwen2.5-7b", "layers": "28"})",
      R"({"id": "qwen2.5-7b", "layers": 1000000000})", R"({"id": "qwen2.5-7b", "rows": 1})",
      R"({"id": "qwen2.5-7b", "kv_heads": 3})", R"({"id": "qwen2.5-7b", "experts": 8})",
      R"({"id": "qwen2.5-7b", "experts": {"count": -1}})",
      R"({"id": "qwen2.5-7b", "stored": "int4"})", R"({"id": "qwen2.5-7b", "ties_embeddings": 1})");
  overlay_error("models.json", R"({"schema": "qwenplan.models/1", "models": [)" + model + "]}");
}
