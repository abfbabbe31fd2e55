"""Reference values for tests of other implementations, computed here in float32.

    python3 fixtures.py MODEL_DIR CORPUS OUT_DIR

logits.safetensors   input_ids [20, 48], lengths [20], positions [20, 8], logits [20, 8, vocab] as 16-bit multiples of
                     logit_step
valid-sample.txt     the first held-out stories, about 20 kB
perplexity.json      its perplexity, with its tokens and how the windows are cut
tokenizer-cases.json 1,000 strings with their ids, and id sequences with their text
"""

import json
import math
import os
import random
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from data import SEPARATOR, read_validation, split_documents
from evaluate import load_model

CONVENTION = (
    "The text is split at lines that hold only <|endoftext|>; every document loses its last newline. "
    "Tokens: id 0 (<|endoftext|>) before every document and once more at the end; no other special tokens. "
    "Windows: consecutive, not overlapping, of max_seq_len tokens, the last one shorter; positions start at 0 "
    "in each. The first token of a window is not predicted; all others are. "
    "Perplexity: exp of the mean negative log-likelihood of the predicted tokens."
)


@torch.no_grad()
def routing_margin(model, ids):
    """Least distance of router logits between the last expert chosen and the first one not.

    Near 0, rounding may swap the two. Not of probabilities: a router that is sure of its first expert gives the
    third and the fourth so little that they are always close.
    """
    margins, h = [], model.model.embed_tokens(torch.tensor([ids]))
    for block in model.model.layers:
        attended = h + block.self_attn(block.input_layernorm(h), model.cos[: len(ids)], model.sin[: len(ids)])
        if block.moe is not None:
            router = block.moe.gate(block.post_attention_layernorm(attended)).sort(descending=True).values
            last, next_one = router[..., model.config.moe_top_k - 1], router[..., model.config.moe_top_k]
            margins.append((last - next_one).min().item())
        h = block(h, model.cos[: len(ids)], model.sin[: len(ids)])[0]
    return min(margins)


# Logits are kept to half of this, a twentieth of the tolerance of the test that reads them; +-64 fit into 16 bits.
LOGIT_STEP = 2.0**-9


@torch.no_grad()
def logits_fixture(model, tokenizer, parts, length=48, count=8):
    """Logits at eight positions of the first tokens of 20 documents without near ties in the routing."""
    rows = []
    for part, wanted in {"valid_tinystories": 12, "valid_children": 4, "valid_books": 4}.items():
        starts = ([tokenizer.token_to_id(SEPARATOR), *tokenizer.encode(d).ids][:length] for d in parts[part])
        clear = (row for row in starts if routing_margin(model, row) > 1e-3)
        rows += [next(clear) for _ in range(wanted)]
    ids = torch.zeros(len(rows), length, dtype=torch.int32)
    positions = torch.zeros(len(rows), count, dtype=torch.int32)
    logits = torch.zeros(len(rows), count, model.config.vocab_size)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        positions[i] = torch.linspace(0, len(row) - 1, count).round()
        h, _ = model(torch.tensor([row]))
        logits[i] = model.logits(h)[0, positions[i].long()]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int32)
    steps = (logits / LOGIT_STEP).round()
    if steps.abs().max() > 32767:
        raise ValueError(f"logits beyond 16 bits: {logits.abs().max()}")
    return {
        "input_ids": ids,
        "lengths": lengths,
        "positions": positions,
        "logits": steps.to(torch.int16),
        "logit_step": torch.tensor([LOGIT_STEP]),
    }


@torch.no_grad()
def perplexity(model, tokenizer, text):
    """Perplexity of a text in non-overlapping windows, as CONVENTION says."""
    start, length = tokenizer.token_to_id(SEPARATOR), model.config.max_seq_len
    ids = [i for d in split_documents(text) for i in [start, *tokenizer.encode(d).ids]] + [start]
    nats, predicted, windows = 0.0, 0, []
    for at in range(0, len(ids), length):
        window = torch.tensor([ids[at : at + length]])
        if window.shape[1] < 2:
            continue
        logp = model.logits(model(window)[0])[0, :-1].double().log_softmax(-1)
        loss = -logp.gather(1, window[0, 1:, None]).sum().item()
        windows.append({"start": at, "predicted": window.shape[1] - 1, "nats": loss})
        nats, predicted = nats + loss, predicted + window.shape[1] - 1
    return {
        "convention": CONVENTION,
        "max_seq_len": length,
        "tokens": len(ids),
        "predicted": predicted,
        "nats": nats,
        "loss": nats / predicted,
        "perplexity": math.exp(nats / predicted),
        "windows": windows,
        "input_ids": ids,
    }


HOSTILE = [
    "", " ", "  ", "\n", "\r\n", "\r", "\t", "\0", "\x7f", "\x85", "\xa0", "\ufeff", "\u200b", "\u200d", "\u2028",
    "\ufffd", "\ufffe", "\U0010ffff", "a" * 300, " " * 200, "\n" * 100, "\t \n" * 40, "= " * 60, "0" * 80,
    "<|endoftext|>", "<|endoftext|><|endoftext|>", " <|endoftext|> ", "a<|endoftext|>b", "\n<|endoftext|>\n",
    "<|endoftext|", "|endoftext|>", "<|ENDOFTEXT|>", "<|endo<|endoftext|>ftext|>", "<｜endoftext｜>",
    "don't can't I'll we've you're he'd I'm it's", "DON'T IT'S 'tis ''s 's's", "don’t it’s",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️ ☃", "e\u0301 é a\u0300\u0301\u0302\u0303", "ﬁ ﬀ ℌ ① ² ½", "Ａｂｃ　ｄｅｆ",
    "日本語のテキスト。漢字とかな", "中文文本，没有空格。", "한국어 문장입니다", "ᄒ\u1161\u11ab", "العربية من اليمين", "עברית מימין לשמאל",
    "\u202eabc\u202c \u2066x\u2069", "हिन्दी क्षत्रिय", "ไทยไม่มีช่องว่าง", "Ελληνικά ΣΊΣΥΦΟΣ ς", "Русский текст", "İstanbul ıI",
    "ß ẞ straße STRASSE", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈𐎀", "Z̸̢̛̤͇a̶l̵g̶o̷", "  leading", "trailing  ", "a  b   c    d", "a\u00a0b\u2003c\u3000d",
    "line\r\nline\rline\nline\n\n\r\n", "x=1;if(a<b&&c>d){return\t\"q\\n\";}", "https://example.org/a?b=c&d=%20#e",
    "1234567890 3.14159 -1e-10 0x1F 1,000,000", "!!!???...---___***", "\"'`“”‘’«»", "Ġ Ċ ĉ Ā ġĠĊ", "�\0\x01\x02\x1f\x7f",
]
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " ", "  \t\n\r", ".,;:!?'\"-()",
    "éèüñçøåßœ", "👍🏽😀❤️‍🔥🇩🇪👩‍🚀", "\u0300\u0301\u0308\u0323\u20dd", "\u200b\u200c\u200d\u2060\ufeff\u00ad",
    "\x00\x01\x07\x08\x1b\x7f\x80\x85\x9f", "日本語漢字かなカナ中文", "한글", "ابجدهوزعربي", "אבגדה", "अआइकखग्ि", "กขคงไใ่้",
    "αβγδΣς", "бвгдЖЯ", "𝔸𝕏𐍈𠀀\U000e0001", "\u2028\u2029\u00a0\u2003\u3000\u202e\u2066",
]


def random_string(choose, words):
    """A few runs, each of one alphabet, of words, of one repeated character or of any characters."""
    out = []
    for _ in range(choose.randint(1, 7)):
        kind, size = choose.random(), choose.randint(1, 9)
        if kind < 0.3:
            out.append(choose.choice(["", " "]) + choose.choice([" ", " ", "\n"]).join(choose.choices(words, k=size)))
        elif kind < 0.75:
            out.append("".join(choose.choices(choose.choice(ALPHABETS), k=size)))
        elif kind < 0.83:
            out.append(choose.choice(choose.choice(ALPHABETS)) * choose.randint(2, 30))
        elif kind < 0.88:
            out.append(SEPARATOR)
        else:
            points = [choose.choice([choose.randrange(0x3000), choose.randrange(0x110000)]) for _ in range(size)]
            out.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
    return "".join(out)


def tokenizer_fixture(tokenizer, documents, seed=1):
    """Strings with ids and decoded text, and random ids with decoded text."""
    choose = random.Random(seed)
    words = " ".join(documents[:50]).split(" ")
    texts = dict.fromkeys(HOSTILE)
    while len(texts) < 1000:
        texts[random_string(choose, words)] = None
    cases = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids)})
    vocab = tokenizer.get_vocab_size()
    pools = [range(vocab), range(1, 257)]
    rows = [choose.choices(choose.choice(pools), k=choose.randint(1, 12)) for _ in range(200)]
    decode = [{"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False)} for ids in rows]
    notes = "text = decode(ids) with special tokens kept; `decoded` drops them"
    return {"notes": notes, "cases": cases, "decode": decode}


def write(path, value, **options):
    with open(path, "w", encoding="ascii") as file:
        json.dump(value, file, **options)
        file.write("\n")


def main(folder, corpus, out):
    torch.set_grad_enabled(False)
    tokenizer, model = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), load_model(folder)
    parts = read_validation(corpus)
    os.makedirs(out, exist_ok=True)
    save_file(logits_fixture(model, tokenizer, parts), os.path.join(out, "logits.safetensors"))
    text = ""
    for document in parts["valid_tinystories"]:
        if len(text) < 20000:
            text += document + "\n" + SEPARATOR + "\n"
    with open(os.path.join(out, "valid-sample.txt"), "w", encoding="utf-8", newline="") as file:
        file.write(text)
    result = perplexity(model, tokenizer, text)
    write(os.path.join(out, "perplexity.json"), result)
    print({k: v for k, v in result.items() if k not in ("input_ids", "windows", "convention")})
    cases = tokenizer_fixture(tokenizer, parts["valid_tinystories"])
    write(os.path.join(out, "tokenizer-cases.json"), cases, separators=(",", ":"))


if __name__ == "__main__":
    main(*sys.argv[1:])
