#include "cli/flags.hpp"

namespace qwenplan {
namespace {

using enum Flag::Kind;

constexpr Choice kFormats[] = {
    {"text", "for reading"}, {"json", "for programs"}, {"csv", "for tables"}, {"markdown", "for reports", "md"}};
constexpr Choice kColors[] = {{"auto", "on a terminal"}, {"always", ""}, {"never", ""}};
constexpr Choice kEstimators[] = {{"model", "the emulated step"},
                                  {"guide", "the published guide's own arithmetic, for comparison"}};

constexpr Flag kCommon[] = {
    {.name = "format", .value = "FORMAT", .group = "Output", .help = "how to write the answer", .choices = kFormats},
    {.name = "json", .kind = marker, .group = "Output", .help = "the same as --format json"},
    {.name = "quiet", .kind = marker, .group = "Output", .help = "write nothing: the exit status is the answer", .letter = 'q'},
    {.name = "color", .value = "WHEN", .group = "Output", .help = "colour, or not", .aliases = "colour", .choices = kColors},
    {.name = "strict", .kind = marker, .group = "Output", .help = "let a tight fit count as no"},
    {.name = "data", .value = "DIR", .group = "Output", .help = "tables that replace rows of the built-in ones"},
    {.name = "estimator", .value = "NAME", .group = "Output", .help = "what the numbers come from", .choices = kEstimators},
    {.name = "help", .kind = marker, .group = "Output", .help = "-h is short, --help is long", .letter = 'h'},
    {.name = "version", .kind = marker, .group = "Output", .help = "print the version"},
};

constexpr Flag kSubject[] = {
    {.name = "model", .value = "MODEL", .group = "Model and GPU",
     .help = "id, Hub name, size such as 7b, or a config.json", .aliases = "model-name-or-path model-id", .letter = 'm'},
    {.name = "gpu", .value = "GPU", .group = "Model and GPU",
     .help = "id or name, '2x rtx4090', or 'this' for the one here", .letter = 'g'},
    {.name = "vram", .value = "SIZE", .group = "Model and GPU", .help = "memory of the GPU instead of its table's: 24GiB"},
    {.name = "vram-in-use", .value = "SIZE", .group = "Model and GPU",
     .help = "what the desktop and other programs already hold: 800MiB"},
};

constexpr Choice kMethods[] = {
    {"full", "train every parameter", "sft full-sft full-finetune full-finetuning"},
    {"lora", "train low-rank adapters", "lora-sft"},
    {"qlora", "train adapters on a quantized base", "qlora-sft"},
    {"freeze", "train some layers, freeze the others"}};
constexpr Choice kObjectives[] = {
    {"sft", "the answers of the data"},
    {"pretrain", "plain text", "pt"},
    {"dpo", "chosen against rejected, and a reference"},
    {"ipo", "the same, with another loss"},
    {"orpo", "chosen against rejected, by odds"},
    {"simpo", "chosen against rejected, by margin"},
    {"kto", "single answers, good or bad, and a reference"},
    {"cpo", "chosen against rejected, and the chosen ones' likelihood"},
    {"reward", "a number for each answer, higher for the chosen one", "rm"},
    {"ppo", "not modelled"},
    {"grpo", "not modelled"},
    {"rloo", "not modelled"}};
constexpr Choice kQuantizations[] = {
    {"none", "16 or 32 bits", "no"}, {"int8", "bitsandbytes, 8 bits", "bnb-int8 8bit 8"},
    {"nf4", "bitsandbytes, 4-bit normal float", "bnb-nf4 4bit 4"}, {"fp4", "bitsandbytes, 4-bit float", "bnb-fp4"},
    {"gptq-int4", "GPTQ checkpoints", "gptq"}, {"awq-int4", "AWQ checkpoints", "awq"}};
constexpr Choice kPrecisions[] = {
    {"bf16-mixed", "bf16 autocast", "bf16 bf16-amp amp-bf16"}, {"bf16-true", "bf16 throughout", "pure-bf16 bfloat16"},
    {"fp16-mixed", "fp16 autocast with a loss scale", "fp16 fp16-amp 16-mixed amp-fp16"},
    {"fp16-true", "fp16 throughout", "pure-fp16 float16"}, {"fp32", "single precision", "float32 32 32-true no"}};
constexpr Choice kDtypes[] = {{"bf16", "", "bfloat16 torch.bfloat16"},
                              {"fp16", "", "float16 half torch.float16"},
                              {"fp32", "", "float32 float torch.float32"}};
constexpr Choice kWeightDtypes[] = {{"bf16", "", "bfloat16 torch.bfloat16"},
                                    {"fp16", "", "float16 half torch.float16"},
                                    {"fp32", "", "float32 float torch.float32"},
                                    {"auto", "as the checkpoint is stored"}};
constexpr Choice kAttentions[] = {
    {"sdpa", "PyTorch chooses"}, {"eager", "scores kept in memory"}, {"flash", "sdpa's flash kernel"},
    {"efficient", "sdpa's memory-efficient kernel", "mem-efficient"}, {"math", "sdpa's plain kernel"},
    {"fa2", "the flash-attn package", "flash-attention-2 flash-attn flash-attn-2"},
    {"fa3", "not modelled", "flash-attention-3"}, {"flex", "not modelled", "flex-attention"}};
constexpr Choice kLosses[] = {{"standard", "all logits at once"},
                              {"chunked", "logits a piece at a time", "chunked-ce"},
                              {"fused", "no logits in memory", "liger"}};
constexpr Choice kOptimizers[] = {
    {"adamw", "AdamW as the trainer's version picks it", "adam"},
    {"adamw-fused", "one kernel", "adamw-torch-fused adamw-apex-fused"},
    {"adamw-foreach", "all tensors at once", "adamw-torch adamw-hf"},
    {"adamw-loop", "one tensor after the other"},
    {"adamw-8bit", "bitsandbytes, 8-bit states", "adamw-bnb-8bit"},
    {"paged-adamw", "bitsandbytes, states that can leave the GPU", "paged-adamw-32bit"},
    {"paged-adamw-8bit", "both"},
    {"sgd", "no state"},
    {"sgd-momentum", "one state"},
    {"adafactor", "one value for each row and column"},
    {"adagrad", "one state, all tensors at once"},
    {"lion", "bitsandbytes, one state", "lion-32bit"},
    {"lion-8bit", "with an 8-bit state"},
    {"paged-lion", "with a state that can leave the GPU", "paged-lion-32bit"},
    {"paged-lion-8bit", "both"},
    {"ademamix", "bitsandbytes, three states"},
    {"ademamix-8bit", "with 8-bit states"},
    {"paged-ademamix", "with states that can leave the GPU", "paged-ademamix-32bit"},
    {"paged-ademamix-8bit", "both"},
    {"rmsprop", "one state, all tensors at once"},
    {"rmsprop-bnb", "bitsandbytes, one state", "rmsprop-bnb-32bit"},
    {"rmsprop-8bit", "with an 8-bit state", "rmsprop-bnb-8bit"},
    {"adamw-torchao-4bit", "torchao, 4-bit states; its step takes much for a moment", "adamw-torch-4bit"},
    {"adamw-torchao-8bit", "torchao, 8-bit states", "adamw-torch-8bit"},
    {"schedule-free-adamw", "two states and no schedule"},
    {"muon", "LLaMA-Factory's: one state for matrices"},
    {"galore", "LLaMA-Factory's GaLore: states of projected gradients"},
    {"apollo", "LLaMA-Factory's APOLLO: the same, projected at random"},
    {"adam-mini", "LLaMA-Factory's: one second moment for each row"},
    {"adamw-anyprecision", "states in fp32"},
    {"adamw-xla", "not modelled", "adamw-torch-xla"},
    {"adamw-npu", "not modelled", "adamw-torch-npu-fused"},
    {"galore-adamw", "not modelled", "galore-adamw-layerwise"},
    {"galore-adamw-8bit", "not modelled", "galore-adamw-8bit-layerwise"},
    {"galore-adafactor", "not modelled", "galore-adafactor-layerwise"},
    {"apollo-adamw", "not modelled", "apollo-adamw-layerwise"},
    {"lomo", "not modelled"},
    {"adalomo", "not modelled"},
    {"grokadamw", "not modelled"},
    {"stable-adamw", "not modelled"},
    {"schedule-free-radam", "not modelled"},
    {"schedule-free-sgd", "not modelled"}};
constexpr Choice kTrainers[] = {
    {"transformers", "its Trainer", "hf"}, {"peft", ""}, {"trl", ""}, {"llama-factory", "", "llamafactory"},
    {"axolotl", ""}, {"torchtune", ""}, {"ms-swift", "", "swift"}, {"unsloth", ""}, {"litgpt", ""}};

constexpr Flag kRun[] = {
    {.name = "method", .value = "METHOD", .group = "Run", .help = "what is trained; without it, each in turn",
     .aliases = "finetuning-type train-type tuner-type", .choices = kMethods},
    {.name = "freeze-layers", .value = "N", .group = "Run", .help = "how many last layers --method freeze trains: 2",
     .aliases = "freeze-trainable-layers num-layer-trainable"},
    {.name = "objective", .value = "NAME", .group = "Run",
     .help = "what is taught; a batch of dpo, ipo, orpo, simpo and cpo counts pairs",
     .aliases = "stage rl rlhf-type pref-loss", .choices = kObjectives},
    {.name = "seq-len", .value = "TOKENS", .group = "Run", .help = "tokens of one sequence",
     .aliases = "length max-seq-length max-seq-len cutoff-len max-length model-max-length sequence-len", .letter = 's'},
    {.name = "batch", .value = "N", .group = "Run", .help = "sequences of one micro-step on one GPU",
     .aliases = "micro-batch micro-batch-size batch-size per-device-train-batch-size", .letter = 'b'},
    {.name = "grad-accum", .value = "N", .group = "Run", .help = "micro-steps of one optimizer step",
     .aliases = "gradient-accumulation-steps accumulation"},
    {.name = "checkpointing", .kind = on_off, .group = "Run", .help = "keep each layer's input only and run it again",
     .aliases = "gradient-checkpointing activation-checkpointing"},
    {.name = "reentrant", .kind = on_off, .group = "Run", .help = "the older kind of checkpointing",
     .aliases = "use-reentrant"},
    {.name = "offload-checkpoints", .kind = on_off, .group = "Run",
     .help = "each layer's input waits in RAM for backward", .aliases = "use-unsloth-gc"},
    {.name = "offload-activations", .kind = on_off, .group = "Run",
     .help = "what is saved for backward waits in RAM, with checkpointing",
     .aliases = "activation-offloading enable-activation-offloading"},
    {.name = "packing", .kind = on_off, .group = "Run", .help = "samples are joined until sequences are full",
     .aliases = "sample-packing"},
    {.name = "padding-free", .kind = on_off, .group = "Run",
     .help = "the micro-batch is one row, with borders instead of padding", .aliases = "batch-flattening"},
    {.name = "optimizer", .value = "NAME", .group = "Run", .help = "any optim of Hugging Face",
     .aliases = "optim", .choices = kOptimizers},
    {.name = "optimizer-in-backward", .kind = on_off, .group = "Run",
     .help = "each gradient is used and freed as soon as it is there", .aliases = "optimizer-in-bwd"},
    {.name = "neftune-alpha", .value = "ALPHA", .group = "Run", .help = "noise on the embeddings",
     .aliases = "neftune-noise-alpha"},
    {.name = "attention", .value = "NAME", .group = "Run", .help = "how attention is computed",
     .aliases = "attn-implementation flash-attn attn-impl", .choices = kAttentions},
    {.name = "loss", .value = "NAME", .group = "Run", .help = "how the loss is computed", .choices = kLosses},
    {.name = "padded", .kind = on_off, .group = "Run", .help = "the batch carries a padding mask"},
    {.name = "keep-outputs", .kind = on_off, .group = "Run", .help = "the loop holds the logits during backward"},

    {.name = "precision", .value = "NAME", .group = "Numbers", .help = "what is computed in which format",
     .aliases = "mixed-precision", .choices = kPrecisions},
    {.name = "weights", .value = "DTYPE", .group = "Numbers", .help = "stored format of the base weights",
     .aliases = "torch-dtype dtype", .choices = kWeightDtypes},
    {.name = "autocast", .kind = on_off, .group = "Numbers", .help = "follows --precision unless given"},
    {.name = "quant", .value = "NAME", .group = "Numbers", .help = "quantization of the base weights",
     .aliases = "quantization bnb-4bit-quant-type", .choices = kQuantizations},
    {.name = "double-quant", .kind = on_off, .group = "Numbers", .help = "quantize the scales too",
     .aliases = "double-quantization use-nested-quant bnb-4bit-use-double-quant"},
    {.name = "kbit-upcast", .kind = on_off, .group = "Numbers",
     .help = "norms, embeddings and head to fp32 on a quantized base"},

    {.name = "lora-r", .value = "RANK", .group = "Adapters", .help = "rank of the adapters", .aliases = "lora-rank rank", .letter = 'r'},
    {.name = "lora-alpha", .value = "ALPHA", .group = "Adapters", .help = "their scale; it costs no memory"},
    {.name = "lora-dropout", .value = "P", .group = "Adapters", .help = "0 saves nothing for backward"},
    {.name = "lora-targets", .value = "LAYERS", .group = "Adapters",
     .help = "all-linear, attention, qv, or names with commas", .aliases = "lora-target target-modules lora-target-modules"},
    {.name = "modules-to-save", .value = "LAYERS", .group = "Adapters",
     .help = "trained in full beside the adapters: lm_head, embed_tokens", .aliases = "additional-target lora-modules-to-save"},
    {.name = "adapter-dtype", .value = "DTYPE", .group = "Adapters", .help = "stored format of the adapters",
     .aliases = "lora-dtype", .choices = kDtypes},
    {.name = "lora-kernels", .kind = on_off, .group = "Adapters",
     .help = "axolotl's fused functions of layers and their adapters"},
    {.name = "dora", .kind = on_off, .group = "Adapters", .help = "weight-decomposed adapters", .aliases = "use-dora"},

    {.name = "stack", .value = "STACK", .group = "Libraries",
     .help = "latest, 2025-09, 2025-02, 2024-06, or torch=2.6,transformers=4.49"},
    {.name = "alloc-conf", .value = "OPTIONS", .group = "Libraries",
     .help = "PYTORCH_CUDA_ALLOC_CONF of the run; by default this shell's"},
    {.name = "trainer", .value = "NAME", .group = "Libraries",
     .help = "whose defaults and habits, as llama-factory or trl@0.21"},

    {.name = "bf16", .kind = sometimes, .help = "--precision bf16-mixed"},
    {.name = "fp16", .kind = sometimes, .help = "--precision fp16-mixed"},
    {.name = "pure-bf16", .kind = sometimes, .help = "--precision bf16-true"},
    {.name = "load-in-4bit", .kind = sometimes, .help = "--quant nf4"},
    {.name = "load-in-8bit", .kind = sometimes, .help = "--quant int8"},
    {.name = "quantization-bit", .value = "BITS", .help = "--quant nf4 or int8", .aliases = "quant-bits"},
    {.name = "use-liger-kernel", .kind = sometimes, .help = "--loss fused, and Liger's norm, gated MLP and rotary embedding",
     .aliases = "enable-liger-kernel use-liger"},
};

constexpr Flag kParallel[] = {
    {.name = "gpus", .value = "N", .group = "Several GPUs", .help = "GPUs of the run",
     .aliases = "num-gpus nproc-per-node num-processes"},
    {.name = "zero", .value = "STAGE", .group = "Several GPUs", .help = "DeepSpeed ZeRO: 0, 1, 2 or 3",
     .aliases = "zero-stage deepspeed"},
    {.name = "fsdp", .value = "HOW", .group = "Several GPUs", .help = "fully sharded data parallel",
     .aliases = "fsdp-sharding-strategy"},
    {.name = "offload", .value = "WHAT", .group = "Several GPUs", .help = "optimizer or parameters to the host",
     .aliases = "offload-optimizer-device cpu-offload"},
};

constexpr Flag kVram[] = {
    {.name = "params", .value = "COUNT", .group = "Guide", .help = "size for --estimator guide: 7B"},
};
constexpr Choice kLoadings[] = {{"mapped", "safetensors, mapped from the disk", "mmap"},
                                {"copied", "pickles, or safetensors without mapping", "copy bin"}};
constexpr Choice kPlaces[] = {{"cpu", "from_pretrained without device_map"}, {"gpu", "device_map", "cuda"}};
constexpr Choice kDataPlaces[] = {{"disk", "Arrow, mapped", "mmap mapped"},
                                  {"memory", "Arrow, keep_in_memory", "ram"},
                                  {"lists", "lists of Python numbers"}};
constexpr Flag kRam[] = {
    {.name = "ram", .value = "SIZE", .group = "Host", .help = "memory of the machine, or 'this': does it suffice"},
    {.name = "other-programs", .value = "SIZE", .group = "Host", .help = "what a desktop and other programs hold: 2GiB"},
    {.name = "workers", .value = "N", .group = "Host", .help = "data workers",
     .aliases = "dataloader-num-workers num-workers"},
    {.name = "prefetch", .value = "N", .group = "Host", .help = "batches that each worker makes ahead",
     .aliases = "dataloader-prefetch-factor prefetch-factor"},
    {.name = "pin-memory", .kind = on_off, .group = "Host", .help = "batches in memory that the GPU reads itself",
     .aliases = "dataloader-pin-memory"},
    {.name = "dataset-in", .value = "WHERE", .group = "Host", .help = "where the tokenized data is", .choices = kDataPlaces},
    {.name = "loading", .value = "HOW", .group = "Host", .help = "how a checkpoint is read", .choices = kLoadings},
    {.name = "load-to", .value = "WHERE", .group = "Host", .help = "where the weights come first", .choices = kPlaces},
    {.name = "model-size", .value = "SIZE", .group = "Guide", .help = "size of the weights: 14GB"},
    {.name = "use-case", .value = "NAME", .group = "Guide", .help = "such as advanced_7b"},
};
constexpr Flag kMatrix[] = {
    {.name = "models", .value = "LIST", .group = "Model and GPU", .help = "models, with commas"},
    {.name = "gpus", .value = "LIST", .group = "Model and GPU", .help = "GPUs, with commas"},
    {.name = "against", .value = "WHAT", .group = "Output", .help = "guide: mark each cell where the guide differs"},
};
constexpr Choice kGoals[] = {{"best-quality", "full before lora before qlora, then the rank"},
                             {"fastest", "the most tokens per second"},
                             {"largest-batch", "the largest micro-batch"},
                             {"longest", "the longest sequence"},
                             {"cheapest", "the cheapest card that runs it"}};
constexpr Flag kRecommend[] = {
    {.name = "goal", .value = "GOAL", .group = "Run", .help = "what to look for", .choices = kGoals},
    {.name = "effective-batch", .value = "N", .group = "Run", .help = "sequences of an optimizer step, 16 unless given"},
    {.name = "for", .value = "TRAINER", .group = "Output", .help = "print only a configuration that it accepts", .choices = kTrainers},
    {.name = "preset", .value = "NAME", .group = "Guide", .help = "a configuration of the guide"},
};
constexpr Choice kCheckFormats[] = {{"text", ""}, {"json", ""}, {"csv", ""}, {"markdown", "", "md"},
                                    {"sarif", ""}, {"junit", ""}, {"github", ""}};
constexpr Choice kFailOn[] = {{"error", "what stops the run"}, {"warning", "also what surprises"},
                              {"note", "also what is good to know"}, {"never", "the report alone"}};
constexpr Flag kCheck[] = {
    {.name = "format", .value = "FORMAT", .group = "Output", .help = "how to write the report", .choices = kCheckFormats},
    {.name = "fail-on", .value = "SEVERITY", .group = "Output", .help = "from which finding on the answer is no", .choices = kFailOn},
    {.name = "config", .value = "FILE", .group = "Output", .help = "settings of the repository instead of its qwenplan.yaml"},
    {.name = "ignore", .kind = values, .value = "RULE", .group = "Output", .help = "a rule to leave out; may be repeated"},
    {.name = "trainer", .value = "NAME", .group = "Libraries", .help = "whose file it is, as llama-factory or trl@0.21"},
    {.name = "stack", .value = "STACK", .group = "Libraries", .help = "latest, 2025-09, 2025-02, 2024-06, or torch=2.6,transformers=4.49"},
    {.name = "alloc-conf", .value = "OPTIONS", .group = "Libraries", .help = "PYTORCH_CUDA_ALLOC_CONF of the run; by default this shell's"},
    {.name = "epochs", .value = "N", .group = "Data", .help = "passes over the data, instead of the file's", .aliases = "num-train-epochs"},
    {.name = "launcher", .value = "FILE", .group = "The run", .help = "accelerate's or DeepSpeed's file that it is launched with"},
    {.name = "gpus", .value = "N", .group = "The run", .help = "GPUs of the run, which most files leave to the launcher",
     .aliases = "num-gpus nproc-per-node num-processes"},
    {.name = "seq-len", .value = "TOKENS", .group = "The run", .help = "longest sequence, instead of the file's",
     .aliases = "length max-seq-length cutoff-len max-length"},
    {.name = "batch", .value = "N", .group = "The run", .help = "micro-batch instead of the file's",
     .aliases = "micro-batch batch-size per-device-train-batch-size"},
};
constexpr Choice kSolved[] = {{"batch", "", "micro-batch batch-size"},
                              {"seq-len", "", "length seqlen max-seq-length"},
                              {"lora-r", "", "rank lora-rank"}};
constexpr Flag kBatch[] = {
    {.name = "solve", .value = "WHAT", .group = "Search", .help = "the setting whose largest value is wanted", .choices = kSolved},
    {.name = "start", .value = "N", .group = "Search", .help = "batch at which the ladder begins"},
    {.name = "events", .value = "LIST", .group = "Search", .help = "what happened: oom, underutilized, ok, with commas"},
};
constexpr Choice kSpeedTables[] = {{"speed", "an RTX 3060 by model and method"},
                                   {"comparative", "five cards", "comparison"}};
constexpr Flag kLoop[] = {
    {.name = "epochs", .value = "N", .group = "Data", .help = "passes over the data", .aliases = "num-train-epochs"},
    {.name = "examples", .value = "N", .group = "Data", .help = "sequences of one epoch, each of --seq-len"},
    {.name = "eval-examples", .value = "N", .group = "Data", .help = "sequences evaluated after each epoch"},
    {.name = "saves", .value = "N", .group = "Data", .help = "checkpoints written in the whole run; by default one an epoch"},
    {.name = "workers", .value = "N", .group = "Data", .help = "processes that prepare batches", .aliases = "dataloader-num-workers num-workers"},
    {.name = "load-ms", .value = "MS", .group = "Data", .help = "milliseconds that one example takes to prepare"},
};
constexpr Flag kTime[] = {
    {.name = "table", .value = "NAME", .group = "Guide", .help = "the guide's table beside published measurements", .choices = kSpeedTables},
};
constexpr Choice kTemplates[] = {{"none", "the texts alone"},
                                 {"chatml", "Qwen's marks", "qwen"},
                                 {"qwen2.5", "with its system prompt where there is none"},
                                 {"qwen3", "with an empty thought before the last answer"},
                                 {"llama3", ""},
                                 {"alpaca", "### Instruction: and ### Response:"}};
constexpr Choice kFileFormats[] = {{"jsonl", "an object on each line", "ndjson"}, {"json", "a list"},
                                   {"csv", "or with tabs", "tsv"}, {"text", "", "txt"}};
constexpr Choice kTextUnits[] = {{"line", ""}, {"paragraph", "up to a blank line"}};
constexpr const Flag& flag_of_run(std::string_view name) {
  for (const Flag& flag : kRun)
    if (flag.name == name) return flag;
  return kRun[0];
}
constexpr Flag kDataset[] = {
    kSubject[0],
    flag_of_run("seq-len"),
    flag_of_run("batch"),
    flag_of_run("grad-accum"),
    kParallel[0],
};
constexpr Flag kReading[] = {
    {.name = "column", .value = "NAME", .group = "Data", .help = "the field of text, or several with commas",
     .aliases = "dataset-text-field text-column"},
    {.name = "tokenizer", .value = "FILE", .group = "Data", .help = "a tokenizer.json, to count instead of to estimate"},
    {.name = "template", .value = "NAME", .group = "Data", .help = "how a conversation is written",
     .aliases = "chat-template", .choices = kTemplates},
    {.name = "file-format", .value = "NAME", .group = "Data", .help = "instead of what the content says", .choices = kFileFormats},
    {.name = "example", .value = "UNIT", .group = "Data", .help = "what an example of plain text is", .choices = kTextUnits},
};
constexpr Flag kCalibrate[] = {
    {.name = "out", .value = "DIR", .group = "Calibrate", .help = "the folder of the overlay; by default --data"},
    {.name = "published", .kind = marker, .group = "Calibrate", .help = "fit to the published runs, and print calibration.json"},
};
constexpr Flag kBench[] = {
    {.name = "script", .kind = marker, .group = "Measure", .help = "print a benchmark in Python"},
    {.name = "import", .value = "FILE", .group = "Measure", .help = "read its result"},
};
constexpr Flag kData[] = {
    {.name = "dataset", .value = "FILE", .group = "Data", .help = "the file of examples; - is standard input"},
    {.name = "dataset-size", .value = "SIZE", .group = "Data", .help = "size of the text: 2GB"},
    {.name = "tokens", .value = "N", .group = "Data", .help = "tokens of one epoch, instead of a file or a size"},
    kReading[0],
    kReading[1],
    kReading[2],
    kReading[3],
    kReading[4],
};
constexpr Flag kDeadline = {
    .name = "deadline", .value = "HOURS", .group = "Money", .help = "when the job has to be done, from its start: 8h, 2d"};
constexpr Flag kMoney = {.name = "budget", .value = "USD", .group = "Money", .help = "the most that may be spent"};
constexpr Flag kPlan[] = {
    kDeadline,
    kMoney,
    {.name = "effective-batch", .value = "N", .group = "Run", .help = "sequences of an optimizer step, 16 unless given"},
    {.name = "hours-per-month", .value = "HOURS", .group = "Money", .help = "hours of training in a month; else one such run a week"},
    {.name = "electricity", .value = "USD", .group = "Money", .help = "price of a kilowatt hour"},
};
constexpr Flag kStoragePlan[] = {
    {.name = "save-total-limit", .value = "N", .group = "Folders", .help = "checkpoints that are kept",
     .aliases = "keep keep-checkpoints"},
    {.name = "in", .value = "DIR", .group = "Folders", .help = "is that much free there"},
    {.name = "merge", .kind = on_off, .group = "Folders", .help = "write a merged model in the end"},
};
constexpr Flag kLayout[] = {
    {.name = "layout", .value = "NAME", .group = "Folders", .help = "budget, recommended or professional"},
};
constexpr Flag kClean[] = {
    {.name = "older-than", .value = "AGE", .group = "Folders", .help = "age of what may go: 24h, 7d"},
    {.name = "yes", .kind = marker, .group = "Folders", .help = "delete; without it they are shown", .letter = 'y'},
};
constexpr Flag kStorageBench[] = {
    {.name = "size", .value = "SIZE", .group = "Folders", .help = "the most that is written: 1GiB"},
    {.name = "seconds", .value = "N", .group = "Folders", .help = "the longest that it takes: 20"},
};
constexpr Flag kCpu[] = {
    {.name = "logical-cpus", .value = "N", .group = "Machine", .help = "instead of this machine's"},
    {.name = "processes", .value = "N", .group = "Machine", .help = "training processes, one for each GPU",
     .aliases = "gpus nproc-per-node num-processes"},
    {.name = "shell", .kind = marker, .group = "Machine", .help = "print shell lines alone, for eval"},
    {.name = "tiers", .kind = marker, .group = "Machine", .help = "the table of tiers"},
    {.name = "batch", .value = "N", .group = "Guide", .help = "sequences of one micro-step"},
};
constexpr Flag kMonitor[] = {
    {.name = "once", .kind = marker, .group = "Watch", .help = "one reading, then end"},
    {.name = "interval", .value = "SECONDS", .group = "Watch", .help = "between two readings"},
    {.name = "plan", .value = "FILE", .group = "Watch", .help = "answer of 'vram --json' to compare with"},
    {.name = "record", .value = "FILE", .group = "Watch", .help = "write a measurement that calibrate can read"},
    {.name = "force", .kind = marker, .group = "Watch", .help = "let --record replace a file"},
    {.name = "hook", .kind = marker, .group = "Watch", .help = "print a TrainerCallback"},
};
constexpr Flag kSpot[] = {
    {.name = "interruptions", .value = "N", .group = "Spot", .help = "interruptions of a day"},
    {.name = "checkpoint-minutes", .value = "MINUTES", .group = "Spot", .help = "to write a checkpoint"},
    {.name = "restart-minutes", .value = "MINUTES", .group = "Spot", .help = "to get a machine again, load and go on"},
};
constexpr Flag kRoi[] = {
    {.name = "hardware-cost", .value = "USD", .group = "Money", .help = "price of the machine"},
    {.name = "hours-per-month", .value = "HOURS", .group = "Money", .help = "hours of training in a month"},
    {.name = "jobs-per-month", .value = "N", .group = "Money", .help = "such jobs in a month, instead of hours"},
    {.name = "months", .value = "N", .group = "Money", .help = "how long it is used"},
    {.name = "setup", .kind = values, .value = "NAME=USD", .group = "Money", .help = "one machine to compare; may be repeated"},
    {.name = "patterns", .kind = marker, .group = "Money", .help = "20, 50, 100 and 200 hours a month by three machines"},
    {.name = "cloud-price", .value = "USD", .group = "Money", .help = "rent of an hour instead of the table's"},
    {.name = "electricity", .value = "USD", .group = "Money", .help = "price of a kilowatt hour"},
    {.name = "watts", .value = "WATTS", .group = "Money", .help = "of the machine at the wall while it trains"},
    {.name = "resale", .value = "USD", .group = "Money", .help = "what the machine brings at the end"},
    {.name = "discount", .value = "PERCENT", .group = "Money", .help = "interest of a year, for the present value"},
    kSpot[0],
    kSpot[1],
    kSpot[2],
};
constexpr Flag kBuild[] = {
    kDeadline,
    kMoney,
    {.name = "for-job", .kind = marker, .group = "Machine", .help = "the cheapest GPU and machine that run the job"},
};
constexpr Flag kGpus[] = {
    {.name = "gpus", .value = "LIST", .group = "Model and GPU", .help = "GPUs, with commas; 'all' for the whole table"},
};
constexpr Flag kProvider = {
    .name = "provider", .value = "NAME", .group = "Money", .help = "one provider alone"};
constexpr Flag kHours = {
    .name = "hours", .value = "HOURS", .group = "Money", .help = "hours of the job"};
constexpr Flag kCloudCompare[] = {kProvider, kDeadline, kMoney, kSpot[0], kSpot[1], kSpot[2]};
constexpr Flag kCloudStrategy[] = {
    kHours,
    kProvider,
    kDeadline,
    kMoney,
    {.name = "urgency", .value = "HOW", .group = "Money", .help = "normal, or urgent: what is done first"},
    kSpot[0],
    kSpot[1],
    kSpot[2],
};
constexpr Flag kCloudBudget[] = {
    kMoney,
    {.name = "models", .value = "LIST", .group = "Model and GPU", .help = "models to choose from, with commas"},
    {.name = "experiments", .value = "N", .group = "Money", .help = "jobs in a month"},
    kHours,
    kProvider,
    kDeadline,
    kSpot[0],
    kSpot[1],
    kSpot[2],
};
constexpr Flag kCloudScript[] = {
    {.name = "platform", .value = "NAME", .group = "Script", .help = "colab, sagemaker, skypilot, slurm or docker"},
    {.name = "dataset", .value = "NAME", .group = "Script", .help = "data set on the Hub, or a jsonl file"},
    kHours,
};
constexpr Flag kValidate[] = {
    {.name = "source", .kind = values, .value = "NAME", .group = "Measurements", .help = "runs of this source alone; may be repeated"},
    {.name = "tolerance", .value = "LIST", .group = "Measurements",
     .help = "percents: allocated=1,under-allocated=3,reserved=3,under-reserved=6"},
};

}  // namespace

std::span<const Flag> common_flags() { return kCommon; }
std::span<const Flag> subject_flags() { return kSubject; }
std::span<const Flag> run_flags() { return kRun; }
std::span<const Flag> parallel_flags() { return kParallel; }
std::span<const Flag> no_flags() { return {}; }
std::span<const Flag> vram_flags() { return kVram; }
std::span<const Flag> ram_flags() { return kRam; }
std::span<const Flag> matrix_flags() { return kMatrix; }
std::span<const Flag> recommend_flags() { return kRecommend; }
std::span<const Flag> check_flags() { return kCheck; }
std::span<const Flag> batch_flags() { return kBatch; }
std::span<const Flag> loop_flags() { return kLoop; }
std::span<const Flag> time_flags() { return kTime; }
std::span<const Flag> dataset_flags() { return kDataset; }
std::span<const Flag> reading_flags() { return kReading; }
std::span<const Flag> calibrate_flags() { return kCalibrate; }
std::span<const Flag> bench_flags() { return kBench; }
std::span<const Flag> data_flags() { return kData; }
std::span<const Flag> plan_flags() { return kPlan; }
std::span<const Flag> storage_plan_flags() { return kStoragePlan; }
std::span<const Flag> layout_flags() { return kLayout; }
std::span<const Flag> storage_bench_flags() { return kStorageBench; }
std::span<const Flag> clean_flags() { return kClean; }
std::span<const Flag> cpu_flags() { return kCpu; }
std::span<const Flag> monitor_flags() { return kMonitor; }
std::span<const Flag> build_flags() { return kBuild; }
std::span<const Flag> gpus_flags() { return kGpus; }
std::span<const Flag> roi_flags() { return kRoi; }
std::span<const Flag> cloud_compare_flags() { return kCloudCompare; }
std::span<const Flag> cloud_strategy_flags() { return kCloudStrategy; }
std::span<const Flag> cloud_budget_flags() { return kCloudBudget; }
std::span<const Flag> cloud_script_flags() { return kCloudScript; }
std::span<const Flag> validate_flags() { return kValidate; }

}  // namespace qwenplan
