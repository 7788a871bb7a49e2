#!/usr/bin/env python3
"""fettle-cli's token ids against Hugging Face `tokenizers`, on text chosen to be unpleasant.

    check_tokenizer.py FETTLE_CLI [MODEL_FOLDER ...]     default: resources/demo/teacher and resources/demo/draft
"""
import json
import pathlib
import random
import subprocess
import sys

import interop_env

interop_env.ensure({"tokenizers": "tokenizers>=0.20"})

from tokenizers import Tokenizer  # noqa: E402

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \t \n ", "a", " a", "a ", "  a", "a  b", "a   b    c",
    "Question: What colour is the velmor?\nAnswer: blue\n\n", "The 3 cats ate 12 fish, 345 eggs and 6789 nuts.", "3.14159 -2e10 1,000,000 0x7f",
    "don't can't we'll they've I'm he'd it's DON'T CAN'T WE'LL '' 's 't 're", "it’s “quoted” – dashes — and … dots",
    "naïve café jalapeño Zürich Ærøskøbing", "nai\u0308ve cafe\u0301 A\u030a \u1e9b\u0323", "e\u0301\u0301\u0301\u0301", "\u0301 starts with a mark",
    "Привет, мир! Ёлка", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم ١٢٣", "नमस्ते दुनिया १२३", "สวัสดีชาวโลก", "안녕하세요 세계", "日本語のテキスト、漢字とカナ。", "你好，世界！１２３", "𠜎𠜱𠝹",
    "😀", "😀😃 mixed 👍🏽 text 👩‍👩‍👧‍👦 🇨🇭🇫🇷", "❤️ ❤ ☺️", "\u200b zero \u200d width \ufeff bom", "non\u00a0breaking\u2003em\u3000ideographic\u2028line\u2029para\u0085nel",
    "tabs\tand\x0bvertical\x0cform\x1cfs\x1f", "control \x01\x02\x7f\x80\x9f", "\ufffd replacement \U0010ffff", "a\u0000b".replace("\u0000", "\u0001"),
    "if (x != y) { return *p++ << 2; } // comment", "<html><body class=\"x\">&amp;</body></html>", "https://example.org/a?b=c&d=%20#e", "\\n \\t \\\\ \"\" ''", "snake_case camelCase SCREAMING-KEBAB __init__",
    "!!!???...,,,;;;", "$$$ €5 £6 ¥7 ₿8", "x²+y³=½·¼ № ™ ①②Ⅷ", "ᵃᵇᶜ ˈstress ʰ", "words\n\n\nparagraph\n  indented\n\ttabbed\n", "trailing spaces   \n   leading", "   \n\n   x", "end with newline\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababababababab", "The the THE tHe", "ﬁ ﬂ ligatures ǅ titlecase ß ẞ İ ı",
    "before<|endoftext|>after", "<|endoftext|>", "<|endoftext", "<bos>x<eos>", "<unk> <pad> </s>",
]


def random_texts(count=60):
    rng = random.Random(5)
    ranges = [(0x20, 0x7e), (0xa0, 0x17f), (0x300, 0x36f), (0x400, 0x4ff), (0x5d0, 0x6ff), (0x900, 0x97f), (0x2000, 0x206f), (0x2190, 0x27bf),
              (0x3040, 0x30ff), (0x4e00, 0x4fff), (0xac00, 0xacff), (0x1f300, 0x1f6ff)]
    for _ in range(count):
        yield "".join(chr(rng.randint(*rng.choice(ranges))) if rng.random() < 0.7 else rng.choice(" \n\t'19aZ") for _ in range(rng.randint(1, 40)))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cli = sys.argv[1]
    demo = interop_env.ROOT / "resources" / "demo"
    bad = 0
    for folder in map(pathlib.Path, sys.argv[2:] or [demo / "teacher", demo / "draft"]):
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        checked = wrong = 0
        for text in [*TEXTS, *random_texts()]:
            # With the special tokens the tokenizer itself adds, or without: one of the two, the same for all texts.
            expected = [tokenizer.encode(text, add_special_tokens=flag).ids for flag in (True, False)]
            run = subprocess.run([cli, "tokenize", str(folder), "--text", text, "--json"], capture_output=True, text=True, encoding="utf-8")
            if run.returncode:
                sys.exit(f"{folder.name}: tokenize ended with {run.returncode} on {text!r}: {run.stderr.strip()[-300:]}")
            ids = json.loads(run.stdout)["ids"]
            checked += 1
            if ids not in expected:
                wrong += 1
                if wrong <= 10:
                    print(f"{folder.name}: {text!r}\n  fettle       {ids}\n  hugging face {expected[0]}")
        print(f"{folder.name}: {checked - wrong} of {checked} texts agree")
        bad += wrong
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
