#include <functional>
#include <string>

#include "qwenplan/describe/valid_run.hpp"
#include "support/catch.hpp"

using namespace qwenplan;

namespace {

template <class T>
void give(std::optional<Given<T>>& setting, T value) {
  setting = Given<T>{std::move(value), From::flag};
}

Model model() {
  Model m;
  m.architecture = Architecture::qwen2;
  m.stored = DType::bf16;
  m.max_positions = 4096;
  return m;
}

Gpu turing() {
  Gpu gpu;
  gpu.name = "Tesla T4";
  gpu.vendor = "nvidia";
  gpu.compute_capability = 75;
  return gpu;
}

Result<ValidRun> valid(const std::function<void(RunDraft&)>& change, const Gpu* gpu = nullptr,
                       const Stack& stack = kLatest) {
  RunDraft draft;
  change(draft);
  return validated(draft, model(), stack, gpu);
}

auto method(Method m) {
  return [m](RunDraft& d) { give(d.method, m); };
}

const RunSetting* setting(const ValidRun& run, std::string_view flag) {
  for (const RunSetting& each : run.settings)
    if (each.flag == flag) return &each;
  return nullptr;
}

}  // namespace

TEST_CASE("the defaults of LoRA are those of transformers with PEFT") {
  const auto run = valid(method(Method::lora));
  REQUIRE(run.ok());
  CHECK(run->run.precision == Precision::bf16_mixed);
  CHECK(run->run.autocasts);
  CHECK(run->run.weights == DType::bf16);
  CHECK(run->run.adapter == DType::fp32);
  CHECK_FALSE(run->run.upcasts_for_kbit);
  CHECK(run->run.quantization == Quantization::none);
  CHECK(run->run.length == 2048);
  CHECK(run->run.micro_batch == 1);
  CHECK(run->run.checkpoints);
  CHECK_FALSE(run->run.checkpoints_reentrant);
  CHECK(run->run.optimizer == OptimizerKind::adamw_fused);
  CHECK(run->run.lora_rank == 16);
  CHECK(run->run.lora_targets == kAllLinear);
  CHECK(run->run.lora_dropout == 0.0);
}

TEST_CASE("qlora is nf4 with the upcasts of kbit training and no double quantization") {
  const auto run = valid(method(Method::qlora));
  REQUIRE(run.ok());
  CHECK(run->run.quantization == Quantization::nf4);
  CHECK_FALSE(run->run.double_quantizes);
  CHECK(run->run.upcasts_for_kbit);
  CHECK(run->run.half == DType::bf16);
}

TEST_CASE("full fine-tuning holds fp32 weights under autocast and the precision's own otherwise") {
  const auto weights = [](Precision precision) {
    const auto run = valid([&](RunDraft& d) {
      give(d.method, Method::full);
      give(d.precision, precision);
    });
    REQUIRE(run.ok());
    return run->run.weights;
  };
  CHECK(weights(Precision::bf16_mixed) == DType::fp32);
  CHECK(weights(Precision::bf16_true) == DType::bf16);
  CHECK(weights(Precision::fp16_true) == DType::fp16);
  CHECK(weights(Precision::fp32) == DType::fp32);
}

TEST_CASE("a card without bf16 computes and stores in fp16") {
  const Gpu t4 = turing();
  const auto run = valid(method(Method::lora), &t4);
  REQUIRE(run.ok());
  CHECK(run->run.precision == Precision::fp16_mixed);
  CHECK(run->run.weights == DType::fp16);
  CHECK(run->run.half == DType::fp16);
}

TEST_CASE("older libraries have their own defaults") {
  const auto run = valid(method(Method::lora), nullptr, kEarly2025);
  REQUIRE(run.ok());
  CHECK(run->run.optimizer == OptimizerKind::adamw_foreach);
  CHECK(run->run.checkpoints_reentrant);
  const auto old = valid(method(Method::lora), nullptr, kMid2024);
  REQUIRE(old.ok());
  CHECK(old->run.adapter == DType::bf16);
}

TEST_CASE("lora on a quantized base is qlora") {
  const auto run = valid([](RunDraft& d) {
    give(d.method, Method::lora);
    give(d.quantization, Quantization::nf4);
  });
  REQUIRE(run.ok());
  CHECK(run->run.method == Method::qlora);
}

TEST_CASE("every setting says where it came from") {
  const auto run = valid([](RunDraft& d) {
    give(d.method, Method::lora);
    give(d.length, std::int64_t{512});
  });
  REQUIRE(run.ok());
  REQUIRE(setting(*run, "seq-len") != nullptr);
  CHECK(setting(*run, "seq-len")->from == From::flag);
  CHECK(std::get<std::int64_t>(setting(*run, "seq-len")->value) == 512);
  REQUIRE(setting(*run, "batch") != nullptr);
  CHECK(setting(*run, "batch")->from == From::by_default);
}

TEST_CASE("what is impossible is refused") {
  struct Case {
    const char* name;
    std::function<void(RunDraft&)> change;
  };
  const auto full = [](auto change) {
    return [change](RunDraft& d) {
      give(d.method, Method::full);
      change(d);
    };
  };
  const Case cases[] = {
      {"full on a quantized base",
       full([](RunDraft& d) { give(d.quantization, Quantization::nf4); })},
      {"qlora on a base that is not quantized",
       [](RunDraft& d) {
         give(d.method, Method::qlora);
         give(d.quantization, Quantization::none);
       }},
      {"adapters of full fine-tuning",
       full([](RunDraft& d) { give(d.lora_rank, std::int64_t{8}); })},
      {"a dropout of one",
       [](RunDraft& d) {
         give(d.method, Method::lora);
         give(d.lora_dropout, 1.0);
       }},
      {"a dropout that is no number",
       [](RunDraft& d) {
         give(d.method, Method::lora);
         give(d.lora_dropout, std::numeric_limits<double>::quiet_NaN());
       }},
      {"no tokens", [](RunDraft& d) { give(d.length, std::int64_t{0}); }},
      {"a negative batch", [](RunDraft& d) { give(d.micro_batch, std::int64_t{-1}); }},
      {"a length beyond all bounds", [](RunDraft& d) { give(d.length, kMostLength + 1); }},
      {"too many tokens at once",
       [](RunDraft& d) {
         give(d.length, kMostLength);
         give(d.micro_batch, kMostBatch);
       }},
      {"autocast in fp32",
       [](RunDraft& d) {
         give(d.precision, Precision::fp32);
         give(d.autocasts, true);
       }},
      {"double quantization of nothing", full([](RunDraft& d) { give(d.double_quantizes, true); })},
      {"flash attention with a mask",
       [](RunDraft& d) {
         give(d.attention, std::string("flash"));
         give(d.is_padded, true);
       }},
      {"flash-attn in fp32",
       [](RunDraft& d) {
         give(d.attention, std::string("fa2"));
         give(d.precision, Precision::fp32);
       }},
      {"no layer to adapt",
       [](RunDraft& d) {
         give(d.method, Method::lora);
         give(d.lora_targets, std::vector<std::string>{});
       }},
  };
  for (const Case& each : cases) {
    INFO(each.name);
    const auto run = valid(each.change);
    REQUIRE_FALSE(run.ok());
    CHECK(run.error().kind == Error::Kind::wrong);
    CHECK_FALSE(run.error().where.empty());
    CHECK_FALSE(run.error().hint.empty());
  }

  const Gpu t4 = turing();
  for (const auto& change : {std::function<void(RunDraft&)>(
                                 [](RunDraft& d) { give(d.precision, Precision::bf16_mixed); }),
                             std::function<void(RunDraft&)>(
                                 [](RunDraft& d) { give(d.attention, std::string("fa2")); })}) {
    const auto run = valid(change, &t4);
    REQUIRE_FALSE(run.ok());
    CHECK(run.error().kind == Error::Kind::wrong);
    CHECK(run.error().what.find("T4") != std::string::npos);
  }
}

TEST_CASE("what is not modelled is named, never ignored") {
  struct Case {
    std::string named;
    std::function<void(RunDraft&)> change;
  };
  const Case cases[] = {
      {"lomo", [](RunDraft& d) { give(d.optimizer, std::string("lomo")); }},
      {"without checkpointing",
       [](RunDraft& d) {
         give(d.offloads_activations, true);
         give(d.checkpoints, false);
       }},
      {"hidden states in fp32",
       [](RunDraft& d) {
         give(d.method, Method::qlora);
         give(d.lora_mlp_kernel, true);
       }},
      {"gptq", [](RunDraft& d) { give(d.quantization, Quantization::gptq_int4); }},
      {"DoRA",
       [](RunDraft& d) {
         give(d.uses_dora, true);
         give(d.quantization, Quantization::int8);
       }},
      {"freezing",
       [](RunDraft& d) {
         give(d.method, Method::freeze);
         give(d.trainer, TrainerRelease{Trainer::trl, latest_version(Trainer::trl)});
       }},
      {"generation of answers in grpo", [](RunDraft& d) { give(d.objective, Objective::grpo); }},
      {"dpo as trl 1.14.0",
       [](RunDraft& d) {
         give(d.objective, Objective::dpo);
         give(d.trainer, TrainerRelease{Trainer::trl, {1, 14, 0}});
       }},
      {"DPO of all weights in torchtune's own code",
       [](RunDraft& d) {
         give(d.objective, Objective::dpo);
         give(d.method, Method::full);
         give(d.length, std::int64_t{1024});
         give(d.precision, Precision::bf16_true);
         give(d.code, ModelCode::torchtune);
         give(d.trainer, TrainerRelease{Trainer::torchtune, {0, 7, 0}});
       }},
      {"dpo as trl 0.28.0",
       [](RunDraft& d) {
         give(d.objective, Objective::dpo);
         give(d.trainer, TrainerRelease{Trainer::trl, {0, 28, 0}});
       }},
      {"kto as axolotl 0.17.0",
       [](RunDraft& d) {
         give(d.objective, Objective::kto);
         give(d.trainer, TrainerRelease{Trainer::axolotl, {0, 17, 0}});
       }},
      {"kto as ms-swift 4.5.0",
       [](RunDraft& d) {
         give(d.objective, Objective::kto);
         give(d.trainer, TrainerRelease{Trainer::ms_swift, {4, 5, 0}});
       }},
      {"kto as torchtune",
       [](RunDraft& d) {
         give(d.objective, Objective::kto);
         give(d.trainer, TrainerRelease{Trainer::torchtune, latest_version(Trainer::torchtune)});
       }},
      {"reward as trl 0.23.0",
       [](RunDraft& d) {
         give(d.objective, Objective::reward);
         give(d.trainer, TrainerRelease{Trainer::trl, {0, 23, 0}});
       }},
      {"verl", [](RunDraft& d) { give(d.trainer, TrainerRelease{Trainer::verl, {}}); }},
      {"4 GPUs", [](RunDraft& d) { give(d.gpus, std::int64_t{4}); }},
      {"ZeRO 3", [](RunDraft& d) { give(d.zero, std::string("3")); }},
      {"FSDP", [](RunDraft& d) { give(d.fsdp, std::string("full_shard")); }},
      {"optimizer", [](RunDraft& d) { give(d.offload, std::string("optimizer")); }},
      {"c_attn",
       [](RunDraft& d) {
         give(d.method, Method::lora);
         give(d.lora_targets, std::vector<std::string>{"q_proj", "c_attn"});
       }},
      {"norm",
       [](RunDraft& d) {
         give(d.method, Method::lora);
         give(d.modules_to_save, std::vector<std::string>{"norm"});
       }},
  };
  for (const Case& each : cases) {
    INFO(each.named);
    const auto run = valid(each.change);
    REQUIRE_FALSE(run.ok());
    INFO(run.error().what);
    CHECK(run.error().kind == Error::Kind::unknown);
    CHECK(run.error().what.find(each.named) != std::string::npos);
  }
}

TEST_CASE("a loss says whose code it is, and takes Liger's or TRL's where nobody does") {
  const auto shown = [](const ValidRun& run, std::string_view flag) {
    for (const RunSetting& setting : run.settings)
      if (setting.flag == flag) return setting.value;
    return RunSetting::Value(std::string("absent"));
  };
  const auto fused = valid([](RunDraft& d) { give(d.loss, Loss::fused); });
  REQUIRE(fused.ok());
  CHECK(fused->run.fused_loss == FusedLoss::liger);
  CHECK(shown(*fused, "loss-kernel") == RunSetting::Value(std::string("liger")));
  CHECK(shown(*fused, "liger-rope") == RunSetting::Value(std::string("absent")));

  const auto chunked = valid([](RunDraft& d) { give(d.loss, Loss::chunked); });
  REQUIRE(chunked.ok());
  CHECK(shown(*chunked, "loss-code") == RunSetting::Value(std::string("trl")));
  CHECK(shown(*chunked, "loss-chunk-tokens") == RunSetting::Value(std::int64_t{256}));

  const auto torchtune = valid([](RunDraft& d) {
    give(d.loss, Loss::chunked);
    give(d.chunked_loss, ChunkedLoss::torchtune);
    give(d.loss_chunks, std::int64_t{4});
    give(d.liger_rms_norm, true);
    give(d.norm_weights, DType::fp32);
  });
  REQUIRE(torchtune.ok());
  CHECK(shown(*torchtune, "loss-chunks") == RunSetting::Value(std::int64_t{4}));
  CHECK(shown(*torchtune, "liger-rms-norm") == RunSetting::Value(true));
  CHECK(shown(*torchtune, "norm-weights") == RunSetting::Value(std::string("fp32")));
}

TEST_CASE("flash-attn's cross-entropy is Llama's alone") {
  const auto run = valid([](RunDraft& d) {
    give(d.loss, Loss::fused);
    give(d.fused_loss, FusedLoss::flash_attn);
  });
  REQUIRE(run.ok());
  CHECK(run->run.loss == Loss::standard);
  REQUIRE(run->notes.size() == 1);
  CHECK(run->notes[0].find("Llama") != std::string::npos);
}

TEST_CASE("cut cross-entropy refuses hidden states in fp32, as its backward does") {
  const auto run = valid([](RunDraft& d) {
    give(d.method, Method::qlora);
    give(d.loss, Loss::fused);
    give(d.fused_loss, FusedLoss::cut_cross_entropy);
  });
  REQUIRE_FALSE(run.ok());
  CHECK(run.error().kind == Error::Kind::wrong);
  CHECK(valid([](RunDraft& d) {
          give(d.method, Method::qlora);
          give(d.loss, Loss::fused);
          give(d.fused_loss, FusedLoss::cut_cross_entropy);
          give(d.norm_weights, DType::bf16);
        }).ok());
}

TEST_CASE("a packed batch has no padding, and its borders follow from its kernel") {
  const auto joined = valid([](RunDraft& d) {
    give(d.micro_batch, std::int64_t{8});
    give(d.length, std::int64_t{512});
    give(d.is_padding_free, true);
    give(d.attention, std::string("fa2"));
  });
  REQUIRE(joined.ok());
  CHECK(joined->run.rows() == 1);
  CHECK(joined->run.row_length() == 4096);
  CHECK(joined->run.tokens() == 4096);
  CHECK(joined->run.borders == Borders::positions);
  CHECK(joined->run.samples == 8);
  CHECK(joined->notes.empty());
  const auto masked = valid([](RunDraft& d) { give(d.is_padding_free, true); });
  REQUIRE(masked.ok());
  REQUIRE(masked->notes.size() == 1);
  CHECK(masked->notes.front().find("2048 x 2048") != std::string::npos);
  const auto packed = valid([](RunDraft& d) { give(d.packs, true); });
  REQUIRE(packed.ok());
  CHECK(packed->run.borders == Borders::none);
  for (const std::string attention : {"flash", "sdpa"}) {
    const auto wrong = valid([&](RunDraft& d) {
      give(d.is_padding_free, true);
      if (attention == "sdpa") give(d.is_padded, true);
      give(d.attention, attention);
    });
    REQUIRE_FALSE(wrong.ok());
    CHECK(wrong.error().kind == Error::Kind::wrong);
  }
}

TEST_CASE("what excludes each other is wrong: offloaded checkpoints and none, and the like") {
  const std::function<void(RunDraft&)> changes[] = {
      [](RunDraft& d) {
        give(d.offloads_checkpoints, true);
        give(d.checkpoints, false);
      },
      [](RunDraft& d) {
        give(d.optimizer_in_backward, true);
        give(d.accumulation, std::int64_t{2});
      },
      [](RunDraft& d) {
        give(d.method, Method::qlora);
        give(d.quantization, Quantization::int8);
        give(d.upcasts_for_kbit, false);
        give(d.lora_o_kernel, true);
      }};
  for (const auto& change : changes) {
    const auto run = valid(change);
    REQUIRE_FALSE(run.ok());
    CHECK(run.error().kind == Error::Kind::wrong);
  }
}

TEST_CASE("what several GPUs would need is no matter where there is one") {
  const auto run = valid([](RunDraft& d) {
    give(d.method, Method::lora);
    give(d.gpus, std::int64_t{1});
    give(d.zero, std::string("0"));
    give(d.offload, std::string("none"));
  });
  CHECK(run.ok());
}

TEST_CASE("targets are sets of layers") {
  const auto targets = [](std::vector<std::string> names) {
    const auto run = valid([&](RunDraft& d) {
      give(d.method, Method::lora);
      give(d.lora_targets, std::move(names));
    });
    REQUIRE(run.ok());
    return run->run.lora_targets;
  };
  CHECK(targets({"all-linear"}) == kAllLinear);
  CHECK(targets({"attention"}) == (q_proj | k_proj | v_proj | o_proj));
  CHECK(targets({"qv"}) == (q_proj | v_proj));
  CHECK(targets({"v_proj", "q_proj", "q_proj"}) == (q_proj | v_proj));
}

TEST_CASE("Phi-3's projections are fused, and PEFT passes over names that it does not have") {
  Model phi = model();
  phi.architecture = Architecture::phi3;
  const auto targets = [&](std::vector<std::string> names) {
    RunDraft d;
    give(d.method, Method::lora);
    if (!names.empty()) give(d.lora_targets, std::move(names));
    return validated(d, phi, kLatest, nullptr);
  };
  CHECK(targets({})->run.lora_targets == kAllFusedLinear);
  CHECK(targets({"all-linear"})->run.lora_targets == kAllFusedLinear);
  CHECK(targets({"qkv_proj"})->run.lora_targets == qkv_proj);
  CHECK(targets({"q_proj", "o_proj"})->run.lora_targets == o_proj);
  const auto none = targets({"q_proj", "v_proj"});
  REQUIRE(!none.ok());
  CHECK(none.error().kind == Error::Kind::wrong);
}

TEST_CASE("StarCoder's MLP and the gate of a shared expert have names of their own") {
  const auto targets = [](const Model& of, std::vector<std::string> names) {
    RunDraft d;
    give(d.method, Method::lora);
    give(d.lora_targets, std::move(names));
    return validated(d, of, kLatest, nullptr);
  };
  Model star = model();
  star.architecture = Architecture::starcoder2;
  CHECK(targets(star, {"c_fc", "q_proj"})->run.lora_targets == (q_proj | up_proj));
  CHECK(targets(star, {"c_proj", "gate_proj"})->run.lora_targets == down_proj);
  CHECK(targets(star, {"all-linear"})->run.lora_targets == (kAllLinear & ~gate_proj));
  const auto none = targets(star, {"gate_proj", "up_proj"});
  REQUIRE(!none.ok());
  CHECK(none.error().hint.find("c_fc") != std::string::npos);
  Model sparse = model();
  sparse.architecture = Architecture::qwen2_moe;
  sparse.experts = Experts{8, 2, 64, 1, false, 128};
  CHECK(targets(sparse, {"all-linear"})->run.lora_targets == (kAllLinear | shared_expert_gate));
  sparse.experts->shared_ffn = 0;
  CHECK(targets(sparse, {"all-linear"})->run.lora_targets == kAllLinear);
}

TEST_CASE("Qwen3.5: adapters on linear attention, and what its code in transformers cannot do") {
  Model hybrid = model();
  hybrid.architecture = Architecture::qwen3_5;
  hybrid.layers = 4;
  hybrid.linear_attention = LinearAttention{2, 4, 16, 16, 4};
  const auto asked = [&](auto change, const Stack& stack = kLatest) {
    RunDraft d;
    give(d.method, Method::lora);
    change(d);
    return validated(d, hybrid, stack, nullptr);
  };
  CHECK(asked([](RunDraft&) {})->run.lora_targets == (kAllLinear | kLinearAttentionModules));
  const auto chosen = asked([](RunDraft& d) { give(d.lora_targets, std::vector<std::string>{"in_proj_qkv", "out_proj"}); });
  CHECK(chosen->run.lora_targets == (in_proj_qkv | out_proj));
  const auto kind_of = [](const Result<ValidRun>& run) { return run.ok() ? Error::Kind{} : run.error().kind; };
  const auto is_unknown = [&](const Result<ValidRun>& run) { return !run.ok() && kind_of(run) == Error::Kind::unknown; };
  CHECK(is_unknown(asked([](RunDraft& d) { give(d.length, std::int64_t{1} << 19); })));
  CHECK(is_unknown(asked([](RunDraft&) {}, kLate2025)));
  const auto says = [&](const Result<ValidRun>& run, const std::string& what) {
    for (const std::string& note : run->notes)
      if (note.find(what) != std::string::npos) return true;
    return false;
  };
  CHECK(says(asked([](RunDraft&) {}), "flash-linear-attention"));
  CHECK(says(asked([](RunDraft& d) { give(d.is_padding_free, true); }), "see each other"));

  // TRL loads the class of the checkpoint, with its vision tower; transformers with PEFT the decoder alone.
  const auto with_trl = [](RunDraft& d) {
    give(d.trainer, TrainerRelease{Trainer::trl, latest_version(Trainer::trl)});
  };
  CHECK(asked(with_trl).ok());
  hybrid.vision = VisionTower{2, 64, 128, 4};
  CHECK(asked(with_trl)->run.has_tower);
  CHECK(says(asked(with_trl), "no gradients"));
  CHECK_FALSE(asked([](RunDraft&) {})->run.has_tower);
  CHECK(asked(with_trl)->run.picture == Picture::none);
  const auto adapts = [&](const char* word) {
    return asked([&](RunDraft& d) { with_trl(d), give(d.lora_targets, std::vector<std::string>{word}); })->run.adapts_tower;
  };
  CHECK(adapts("all-linear"));
  CHECK(adapts("all"));  // the same of --lora-targets
  CHECK_FALSE(adapts("q_proj"));
  CHECK(is_unknown(asked([&](RunDraft& d) { with_trl(d), give(d.trains_on_images, true); })));

  // LLaMA-Factory puts a picture of 64 tokens and two marks behind the first sample, and fills rows up to eights;
  // ms-swift runs one beside the batch. Both freeze the tower.
  const auto with = [&](Trainer trainer, auto change) {
    return asked([&](RunDraft& d) {
      give(d.trainer, TrainerRelease{trainer, latest_version(trainer)});
      give(d.length, std::int64_t{1000});
      change(d);
    });
  };
  const auto nothing = [](RunDraft&) {};
  const Run factory = with(Trainer::llama_factory, nothing)->run;
  CHECK(factory.picture == Picture::within);
  CHECK(factory.picture_tokens == 72);
  CHECK(factory.is_padded);
  CHECK_FALSE(factory.trains_tower);
  CHECK(with(Trainer::llama_factory, [](RunDraft& d) { give(d.shows_picture, false); })->run.picture == Picture::none);
  CHECK(is_unknown(with(Trainer::llama_factory, [](RunDraft& d) { give(d.is_padding_free, true); })));
  CHECK(kind_of(with(Trainer::llama_factory, [](RunDraft& d) { give(d.is_padded, false); })) == Error::Kind::wrong);
  CHECK(with(Trainer::ms_swift, nothing)->run.picture == Picture::beside);
  CHECK(is_unknown(with(Trainer::ms_swift, [](RunDraft& d) { give(d.objective, Objective::dpo); })));
  CHECK(says(asked([](RunDraft&) {}), "without the vision tower"));
  // Unsloth fuses of its own accord: what is not modelled is Unsloth, and not a flag that nobody gave.
  const auto unsloth = with(Trainer::unsloth, nothing);
  REQUIRE(is_unknown(unsloth));
  CHECK(unsloth.error().where == "--trainer");
  CHECK(unsloth.error().what.find("unsloth") != std::string::npos);
  CHECK(unsloth.error().hint.find("ms-swift") != std::string::npos);
  CHECK(with(Trainer::unsloth, [](RunDraft& d) { give(d.lora_mlp_kernel, true); }).error().where == "--lora-kernels");
  // Those that load the decoder alone do not train on images either.
  CHECK(is_unknown(asked([](RunDraft& d) { give(d.trains_on_images, true); })));
}

TEST_CASE("axolotl loads the vision tower, and flash-linear-attention's kernels run what is linear") {
  Model hybrid = model();
  hybrid.architecture = Architecture::qwen3_5;
  hybrid.layers = 4;
  hybrid.head_dim = 64;
  hybrid.linear_attention = LinearAttention{2, 4, 16, 16, 4};
  hybrid.vision = VisionTower{2, 64, 128, 4};
  const auto run_of = [&](Method method, auto change, Version version = latest_version(Trainer::axolotl)) {
    RunDraft d;
    give(d.trainer, TrainerRelease{Trainer::axolotl, version});
    give(d.method, method);
    if (method == Method::qlora) give(d.quantization, Quantization::nf4);
    change(d);
    return validated(d, hybrid, stack_of(d.trainer->value), nullptr);
  };
  const auto nothing = [](RunDraft&) {};
  const auto kind_of = [](const Result<ValidRun>& run) { return run.ok() ? Error::Kind{} : run.error().kind; };
  const auto is_unknown = [&](const Result<ValidRun>& run) { return !run.ok() && kind_of(run) == Error::Kind::unknown; };
  const auto full = run_of(Method::full, nothing);
  REQUIRE(full.ok());
  CHECK(full->run.has_tower);
  CHECK(full->run.has_delta_kernels);
  CHECK(full->run.trains_tower);
  CHECK(full->run.picture == Picture::none);
  const auto freeze = [](RunDraft& d) { give(d.trains_vision, false); };
  CHECK_FALSE(run_of(Method::full, freeze)->run.trains_tower);
  CHECK(run_of(Method::lora, freeze)->run.freezes_tower);

  // PEFT's word finds linear layers; a list of their names finds the convolution of patches too.
  CHECK(run_of(Method::lora, nothing)->run.adapts_tower);
  CHECK_FALSE(run_of(Method::lora, nothing)->run.adapts_patches);
  const auto list = [](RunDraft& d) { give(d.lists_every_linear, true); };
  CHECK(run_of(Method::lora, list)->run.adapts_patches);
  const auto named = run_of(Method::lora, [](RunDraft& d) {
    give(d.lora_targets, std::vector<std::string>{"q_proj", "linear_attn.in_proj_z"});
  });
  CHECK(named->run.lora_targets == (q_proj | in_proj_z));
  CHECK_FALSE(named->run.adapts_tower);
  CHECK(named->run.fuses_qkv);

  // Norms, embedding and head are cast back after kbit preparation, convolutions and decays are not.
  const Run quantized = run_of(Method::qlora, nothing)->run;
  CHECK(quantized.upcasts_for_kbit);
  CHECK(quantized.norm_weights == DType::bf16);
  CHECK(quantized.embedding_weights == DType::bf16);

  // Packed samples are one row, whose borders attention has to know.
  const auto pack = [](const char* attention, std::int64_t batch) {
    return [=](RunDraft& d) {
      give(d.packs, true);
      give(d.micro_batch, batch);
      if (attention) give(d.attention, std::string(attention));
    };
  };
  CHECK(run_of(Method::lora, pack("fa2", 4)).ok());
  CHECK(run_of(Method::lora, pack("sdpa", 1)).ok());
  CHECK(kind_of(run_of(Method::lora, pack("sdpa", 2))) == Error::Kind::wrong);
  CHECK(is_unknown(run_of(Method::lora, pack(nullptr, 1))));

  CHECK(is_unknown(run_of(Method::lora, [](RunDraft& d) { give(d.fuses_gated_norm, true); })));
  CHECK(is_unknown(run_of(Method::lora, [](RunDraft& d) { give(d.is_padding_free, true); })));
  CHECK(is_unknown(run_of(Method::lora, [](RunDraft& d) { give(d.objective, Objective::dpo); })));
  CHECK(is_unknown(run_of(Method::lora, nothing, {0, 18, 0})));
  // Liger's fused loss is put into the class for text, which is not the one that is loaded.
  const auto liger = run_of(Method::lora, [](RunDraft& d) { give(d.loss, Loss::fused); });
  CHECK(liger->run.loss == Loss::standard);
}

TEST_CASE("adapters on the embedding and on the output layer") {
  const auto run = [](std::vector<std::string> names, auto change) {
    return valid([&](RunDraft& d) {
      give(d.method, Method::lora);
      give(d.lora_targets, std::move(names));
      change(d);
    });
  };
  const auto nothing = [](RunDraft&) {};
  const auto both = run({"q_proj", "lm_head", "embed_tokens"}, nothing);
  REQUIRE(both.ok());
  CHECK(both->run.lora_targets == (q_proj | lm_head | embed_tokens));
  // A fused loss multiplies by the head's own weight, so that the adapter would learn nothing.
  const auto fused = [](RunDraft& d) { give(d.loss, Loss::fused); };
  const auto left_out = run({"lm_head"}, fused);
  REQUIRE(!left_out.ok());
  CHECK(left_out.error().kind == Error::Kind::unknown);
  CHECK(run({"embed_tokens"}, fused).ok());
  const auto dora = run({"embed_tokens"}, [](RunDraft& d) { give(d.uses_dora, true); });
  REQUIRE(!dora.ok());
  CHECK(dora.error().kind == Error::Kind::unknown);
}

TEST_CASE("a length beyond what the model was made for is possible, and said") {
  const auto run = valid([](RunDraft& d) { give(d.length, std::int64_t{8192}); });
  REQUIRE(run.ok());
  REQUIRE(run->notes.size() == 1);
  CHECK(run->notes[0].find("4096") != std::string::npos);
}

TEST_CASE("a reward model has a head of its own, which LLaMA-Factory puts beside the language model's") {
  const auto run_of = [](TrainerRelease trainer, auto change) {
    return valid([&](RunDraft& d) {
      give(d.objective, Objective::reward);
      give(d.trainer, trainer);
      give(d.method, Method::lora);
      give(d.lora_dropout, 0.1);
      change(d);
    });
  };
  const auto as_it_is = [](RunDraft&) {};
  const auto trl = run_of({Trainer::trl, {1, 16, 0}}, as_it_is);
  REQUIRE(trl.ok());
  CHECK(trl->run.reference == Reference::none);
  CHECK(trl->run.loss == Loss::standard);
  CHECK(trl->run.sequences() == 2 * trl->run.micro_batch);
  CHECK(trl->run.lora_dropout == 0.0);
  CHECK_FALSE(trl->run.has_language_head());
  const auto factory = run_of({Trainer::llama_factory, {0, 9, 5}}, as_it_is);
  REQUIRE(factory.ok());
  CHECK(factory->run.lora_dropout == 0.1);  // its trainer does not turn it off
  CHECK(factory->run.has_language_head());
  CHECK(factory->run.has_value_head());
  CHECK(run_of({Trainer::ms_swift, {4, 6, 0}}, as_it_is).ok());

  // axolotl's kernels of adapters stop at a model that is no language model's.
  const TrainerRelease axolotl{Trainer::axolotl, {0, 19, 0}};
  const auto stopped = run_of(axolotl, as_it_is);
  REQUIRE_FALSE(stopped.ok());
  CHECK(stopped.error().kind == Error::Kind::wrong);
  const auto plain = run_of(axolotl, [](RunDraft& d) { give(d.lora_mlp_kernel, false); });
  REQUIRE(plain.ok());
  CHECK(plain->run.preference_code == PreferenceCode::trl);

  const auto head = run_of({Trainer::trl, {1, 16, 0}}, [](RunDraft& d) {
    give(d.lora_targets, std::vector<std::string>{"q_proj", "lm_head"});
    give(d.modules_to_save, std::vector<std::string>{"lm_head"});
  });
  REQUIRE(head.ok());
  CHECK(head->run.lora_targets == q_proj);
  CHECK(head->run.modules_to_save == 0);
}

TEST_CASE("preferences are compared as the trainer's TRL does") {
  const auto run_of = [](TrainerRelease trainer, Objective objective, Method method) {
    const auto run = valid([&](RunDraft& d) {
      give(d.objective, objective);
      give(d.trainer, trainer);
      give(d.method, method);
      give(d.micro_batch, std::int64_t{2});
    });
    REQUIRE(run.ok());
    return run->run;
  };
  const TrainerRelease trl{Trainer::trl, {1, 10, 0}};
  const Run dpo = run_of(trl, Objective::dpo, Method::full);
  CHECK(dpo.preference_code == PreferenceCode::trl);
  CHECK(dpo.reference == Reference::second_model);
  CHECK(dpo.reference_weights == dpo.weights);
  CHECK(!dpo.adds_likelihood);
  CHECK(!dpo.copies_shifted_logits);
  CHECK(!dpo.empties_cache);
  CHECK(run_of({Trainer::trl, {1, 5, 0}}, Objective::dpo, Method::lora).copies_shifted_logits);
  CHECK(run_of(trl, Objective::kto, Method::lora).reference == Reference::without_adapters);
  const Run orpo = run_of(trl, Objective::orpo, Method::lora);
  CHECK(orpo.reference == Reference::none);
  CHECK(orpo.adds_likelihood);
  // axolotl 0.19 requires TRL 1.9; its trainer of DPO gives back the cache after each micro-step.
  const TrainerRelease axolotl{Trainer::axolotl, {0, 19, 0}};
  CHECK(run_of(axolotl, Objective::ipo, Method::lora).empties_cache);
  CHECK(!run_of(axolotl, Objective::orpo, Method::lora).empties_cache);

  // ms-swift has DPO of its own, and TRL's ORPO.
  const TrainerRelease swift{Trainer::ms_swift, {4, 6, 0}};
  CHECK(run_of(swift, Objective::dpo, Method::lora).preference_code == PreferenceCode::ms_swift);
  CHECK(run_of(swift, Objective::orpo, Method::lora).preference_code == PreferenceCode::trl);
  // By 1.15 TRL's fused head scores the tokens, and by 1.14 a kernel picks what ORPO needs of the logits.
  const TrainerRelease newest{Trainer::trl, {1, 16, 0}};
  const Run scored = run_of(newest, Objective::dpo, Method::lora);
  CHECK(scored.loss == Loss::fused);
  CHECK(scored.fused_loss == FusedLoss::trl);
  CHECK(run_of(newest, Objective::orpo, Method::lora).picks_by_kernel);
  CHECK_FALSE(orpo.picks_by_kernel);
  CHECK(run_of({Trainer::axolotl, {0, 19, 0}}, Objective::dpo, Method::lora).loss == Loss::standard);
  CHECK(run_of(swift, Objective::orpo, Method::lora).adds_likelihood);

  const Run kto = run_of(swift, Objective::kto, Method::lora);
  CHECK(kto.preference_code == PreferenceCode::ms_swift);
  CHECK(kto.reference == Reference::without_adapters);
  const auto single = valid([&](RunDraft& d) {  // no other example to diverge on
    give(d.objective, Objective::kto);
    give(d.trainer, swift);
    give(d.micro_batch, std::int64_t{1});
    give(d.accumulation, std::int64_t{1});
  });
  REQUIRE_FALSE(single.ok());
  CHECK(single.error().kind == Error::Kind::wrong);

  const auto precomputed = valid([](RunDraft& d) {
    give(d.objective, Objective::dpo);
    give(d.precomputes_reference, true);
  });
  REQUIRE(precomputed.ok());
  CHECK(precomputed->run.reference == Reference::none);

  const auto alone = valid([&](RunDraft& d) {
    give(d.objective, Objective::kto);
    give(d.trainer, trl);
    give(d.micro_batch, std::int64_t{1});
  });
  REQUIRE_FALSE(alone.ok());
  CHECK(alone.error().kind == Error::Kind::wrong);
}

TEST_CASE("axolotl's fused functions of adapters have a place in some classes, and stop it at others") {
  const auto run_of = [](Architecture architecture, Method method, bool fuses_attention) {
    Model m = model();
    m.architecture = architecture;
    RunDraft d;
    give(d.method, method);
    give(d.upcasts_for_kbit, false);
    give(d.lora_mlp_kernel, true);
    give(d.lora_qkv_kernel, fuses_attention);
    return validated(d, m, kLatest, nullptr);
  };
  for (const Architecture taken : {Architecture::seed_oss, Architecture::cohere2, Architecture::mixtral, Architecture::qwen2_moe})
    CHECK(run_of(taken, Method::lora, true).ok());
  for (const Architecture other : {Architecture::phi3, Architecture::cohere, Architecture::olmo2, Architecture::olmo3}) {
    const auto stopped = run_of(other, Method::lora, true);
    REQUIRE_FALSE(stopped.ok());
    CHECK(stopped.error().kind == Error::Kind::wrong);
    CHECK(run_of(other, Method::lora, false).ok());
  }
  // StarCoder's norms answer in fp32. Arcee squares in fp32, and a 4-bit layer hands that on to all that follow.
  CHECK(run_of(Architecture::starcoder2, Method::lora, true).error().what.find("in fp32") != std::string::npos);
  CHECK(run_of(Architecture::arcee, Method::lora, true).ok());
  CHECK(run_of(Architecture::arcee, Method::qlora, true).error().what.find("in fp32") != std::string::npos);
}
