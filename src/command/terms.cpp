#include "command/terms.hpp"

namespace qwenplan {
namespace {

constexpr std::string_view kOracle =
    "counted by PyTorch's own dispatcher on the real modelling code of transformers, PEFT and "
    "bitsandbytes (tests/reference)";

constexpr TermEntry kTerms[] = {
    {"weights", "The base model's parameters as they lie on the GPU.",
     "sum over tensors of round_up(elements * bytes, 512); 4 bits an element in a quantized linear "
     "layer; "
     "embedding, norms and head stay in --weights, or fp32 after --kbit-upcast",
     "model, --method, --quant, --weights, --precision, --kbit-upcast", "exact", kOracle},
    {"quantization", "What bitsandbytes keeps beside packed weights to unpack them.",
     "per linear layer of n weights: 4 * n/64 bytes of scales and a table of 16 values; with "
     "double "
     "quantization n/64 bytes, 4 * n/64/256 bytes of second scales, a table of 256 values and an "
     "offset",
     "model, --quant, --double-quant", "exact",
     "bitsandbytes, functional.py: QuantState, quantize_4bit"},
    {"adapters", "The parameters of LoRA.",
     "rank * (inputs + outputs) of each adapted layer, in --adapter-dtype",
     "model, --lora-r, --lora-targets, --adapter-dtype, --modules-to-save", "exact",
     "PEFT, tuners/lora/layer.py: update_layer"},
    {"buffers", "Tensors of the model that are not trained, such as rotary frequencies.",
     "head_dim / 2 fp32 values, twice in transformers 5", "model, --stack", "exact", kOracle},
    {"inputs", "Token ids, labels and the padding mask.", "8 bytes * batch * length each",
     "--batch, --seq-len, --padded", "exact", kOracle},
    {"gradients", "Gradients of what is trained.",
     "bytes of the trained parameters in their own format, from backward to the end of the step; "
     "with "
     "--grad-accum of two or more they are alive in the later forwards too",
     "--method, --lora-r, --weights, --adapter-dtype, --grad-accum", "emulated", kOracle},
    {"optimizer", "States that the optimizer keeps from the first step on.",
     "AdamW: two values a trained parameter in its format; 8-bit: two bytes and 4/256 * 2 of "
     "scales; SGD with "
     "momentum: one value; paged states lie in unified memory and are not counted here",
     "--optimizer, --method, --lora-r", "emulated",
     "torch/optim/adam.py; bitsandbytes, optim/optimizer.py: small tensors stay in fp32"},
    {"activations", "What forward keeps for backward.",
     "each operation of the decoder layer keeps what its derivative needs; with checkpointing each "
     "layer keeps "
     "its input alone, and backward runs one layer again at a time",
     "model, --seq-len, --batch, --checkpointing, --attention, --lora-targets, --lora-dropout, "
     "--precision, --stack",
     "emulated", kOracle},
    {"logits",
     "The scores of every word of the vocabulary for every token, and the loss's copies of them.",
     "batch * length * vocabulary * (2 bytes of logits + 4 of the fp32 copy + 4 of log-softmax); "
     "in backward "
     "12 bytes: log-softmax, its gradient and that of the loss. --loss chunked holds them for a "
     "piece of the tokens and a copy of the head in fp32; --loss fused for about hidden / vocabulary "
     "of the tokens, and the gradients of hidden states and head instead",
     "model's vocabulary, --seq-len, --batch, --loss, --keep-outputs", "emulated",
     "transformers, loss/loss_utils.py; torch: log_softmax and nll_loss; TRL, sft_trainer.py; Liger, "
     "ops/fused_linear_cross_entropy.py"},
    {"temporary", "What lives within an operation or until the next one.",
     "gradients on their way through backward, dequantized weights, copies of another format, the "
     "optimizer's "
     "temporaries (foreach AdamW: one copy of what is trained)",
     "model, --quant, --optimizer, --seq-len, --batch", "emulated", kOracle},
    {"workspace", "Buffers of cuBLAS and of attention kernels, taken from the same allocator.",
     "cuBLAS: about 8.1 MiB a handle (:4096:2:16:8), 32 MiB on Hopper; flash attention's backward: "
     "row sums, an "
     "fp32 accumulator of dq, and dk and dv of all heads where heads are grouped",
     "--gpu, --attention, --seq-len, --batch, model", "literature",
     "aten/src/ATen/cuda/CUDABlas.cpp: getCUDABlasLtWorkspaceSize; flash_api.cpp: mha_bwd"},
    {"communication", "Buffers of several GPUs that talk to each other.", "none on one GPU",
     "--gpus", "exact", "by definition"},
    {"context", "What a CUDA process holds before PyTorch allocates anything.",
     "the driver's context, kernels and libraries of this GPU; a range, since it grows with the "
     "driver",
     "--gpu", "measured", "nvidia-smi of a process less torch.cuda.memory_reserved()"},
    {"allocated", "Bytes of tensors that are alive: torch.cuda.max_memory_allocated().",
     "the emulated step allocates and frees storages in PyTorch's order; sizes round up to 512 "
     "bytes; the "
     "peak over all phases of two steps",
     "the run, --stack, --gpu", "emulated", kOracle},
    {"reserved", "Bytes that PyTorch's caching allocator holds: torch.cuda.max_memory_reserved().",
     "the same trace through the allocator's own rules: segments of 2 and 20 MiB, larger ones "
     "rounded up to "
     "2 MiB, best fit, split, merge",
     "the trace", "emulated", "c10/cuda/CUDACachingAllocator.cpp"},
    {"device", "What nvidia-smi shows for the process.", "reserved + context", "the trace, --gpu",
     "emulated", "by definition"},
    {"usable", "What the GPU has for the run.",
     "what the driver reports as total (or the nominal size less a margin, where it is not known) "
     "less "
     "--vram-in-use",
     "--gpu, --vram, --vram-in-use", "vendor", "data/gpus.json"},
    {"fits", "The verdict.",
     "fits: device.high <= usable. tight: the likely value alone fits, or the step completes only "
     "by flushing "
     "the allocator's cache. exceeds: neither",
     "device, usable", "exact", "by definition"},
    {"flushes", "Times a step that the allocator gives cached memory back to the driver to go on.",
     "the trace through an allocator of the GPU's size: where a new segment does not fit, all "
     "unused segments "
     "are released; out of memory only if that is not enough",
     "the trace, --gpu, --vram", "emulated",
     "c10/cuda/CUDACachingAllocator.cpp: release_cached_blocks"},
    {"tokens", "How many tokens a file of examples has.",
     "without --tokenizer the sum over scripts of characters * tokens of a character, lowest, likely and "
     "highest; with it each text is counted by byte-level BPE. The template's marks and the end of each "
     "sequence are added",
     "dataset, --tokenizer, --template, --model", "measured", "data/tokens.json"},
    {"cut", "Tokens of sequences beyond --seq-len, which a trainer drops.",
     "sum over sequences of max(0, length - seq_len)", "dataset, --seq-len", "exact", "by definition"},
    {"padding", "Tokens of a batch that are no text: each sequence is filled up to the longest.",
     "sum over lengths l of l * (F(l)^batch - F(l - 1)^batch), times the sequences, less their own "
     "tokens; F(l): the share of sequences up to l",
     "dataset, --batch, --seq-len", "exact", "the mean of the longest of a batch in random order"},
    {"packed", "Rows of --seq-len tokens that hold several sequences whole.",
     "best fit, the longest first: each sequence goes to the fullest row that has room for it",
     "dataset, --seq-len", "exact", "TRL, data_utils.py: pack_dataset, strategy bfd"},
    {"matrix", "The share of a card's tensor rate that large matrix products reach.",
     "one coefficient for all cards, fitted to published runs; the board's power limit holds products "
     "down further",
     "data/calibration.json, --gpu", "fitted", "qwenplan calibrate --published"},
    {"bandwidth", "The share of the memory's rate that streaming kernels reach; as a bound, that they "
     "take most of a step.",
     "one coefficient for all cards, fitted to published runs", "data/calibration.json, --gpu", "fitted",
     "qwenplan calibrate --published"},
    {"compute", "As a bound: matrix products take most of a step.",
     "kernels whose FLOPs over the rate exceed their bytes over the bandwidth", "the trace, --gpu", "fitted",
     "qwenplan time"},
    {"launch", "Time that the card waits for the host to launch kernels.",
     "the host launches kernels in order ahead of the card; the card waits for those that come late",
     "the trace, data/calibration.json", "fitted", "qwenplan calibrate --published"},
    {"input", "Time that a step waits for its batches.",
     "--load-ms an example: between two steps without workers, beside the step with them",
     "--load-ms, --workers, --batch, --grad-accum", "assumed", "qwenplan time"},
    {"linear", "Time of the matrix products of the decoder layers' base weights.",
     "FLOPs of products in whole tiles of 64 over the rate, or bytes over the bandwidth", "the trace, --gpu",
     "fitted", "qwenplan calibrate --published"},
    {"attention", "Time of attention itself: scores, softmax and values.",
     "FLOPs over a fitted share of the products' rate; fused attention leaves out what the causal mask "
     "hides",
     "--attention, --seq-len, --gpu", "fitted", "qwenplan calibrate --published"},
    {"head", "Time of the output head and the loss.", "as of linear", "model's vocabulary, --loss, --gpu",
     "fitted", "qwenplan calibrate --published"},
    {"elementwise", "Time of kernels that stream tensors: norms, activations, sums, casts.",
     "bytes read and written over the bandwidth", "the trace, --gpu", "fitted",
     "qwenplan calibrate --published"},
    {"dequantization", "Time of unpacking quantized weights before products.",
     "bytes read and written over the bandwidth, in forward, recomputation and backward", "--quant, --gpu",
     "fitted", "qwenplan calibrate --published"},
    {"recomputation", "Time of running layers forward again in backward.",
     "the forward work of the checkpointed layers", "--checkpointing, --gpu", "fitted",
     "qwenplan calibrate --published"},
    {"job-usd", "What a job costs on a rented machine.",
     "hours of the job on its card x US dollars an hour of the whole machine; the range of the hours is that of the money",
     "hours of qwenplan time, data/prices.json", "fitted", "qwenplan time, by definition"},
    {"spot-hours", "Hours of a job on a machine that is taken away now and then.",
     "M e^(R/M) (e^((t + d)/M) - 1) work / t: M the mean time between interruptions, d to write a checkpoint, R to go "
     "on, t the time between checkpoints that costs least",
     "hours, --interruptions, --checkpoint-minutes, --restart-minutes", "assumed", "daly-2006, equations 20 and 37"},
    {"breakeven", "Jobs until a machine has paid for itself.",
     "price / (rent of a job - electricity of a job), electricity at the wall: (card's watts + 100) / 0.9 x hours x price of a "
     "kilowatt hour; jobs / jobs a month in months",
     "hours and watts of qwenplan time, data/prices.json, --electricity, --hardware-cost", "fitted", "qwenplan roi, by definition"},
    {"deadline", "Whether a job is done in time.",
     "meets: the high value of its hours <= --deadline; tight: the likely value alone; misses: neither. Of --budget the same "
     "with its cost",
     "hours, --deadline, --budget", "fitted", "by definition"},
};

}  // namespace

std::span<const TermEntry> terms() { return kTerms; }

}  // namespace qwenplan
