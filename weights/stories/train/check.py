"""Compare the model of the first stage, the student and the teacher: losses, expert usage, repetition, how well texts
hold together, samples.

    python3 check.py --first run/first --tokenizer ../tokenizer.json --config teacher.json --run run --corpus CORPUS \\
        --out OUT --until S

CORPUS needs valid.txt.xz only. Writes check.json and samples.md; the least important parts come last and are left
out when the time is over.
"""

import argparse
import json
import os
import time

import numpy as np
import torch
from tokenizers import Tokenizer

from data import read_validation
from evaluate import load_model, measure
from gain import context_gain
from model import Config, Model
from renaming import drift
from sample import SEPARATOR_ID, sample
from train import device_name

PROMPTS = [
    "Once upon a time, there was a little girl named Lily. She found a red ball",
    "One day, a small bird could not fly. It asked a wise owl",
    "Tom and his dog Max went to the beach.",
    "There was a big bear who was very hungry.",
    "Mia did not want to share her new toy train with her brother.",
    "Once upon a time, there was a boy named Ben. Ben wanted to bake a cake for his mom.",
    "A little fish lived in a blue lake. One day, she saw something shiny",
    "Sara and Tim were playing in the park when it started to rain.",
    "Once there was a lonely dragon who",
    "It was a cold winter day. Anna put on her warm coat and",
    "The old farmer had a lazy donkey.",
    "Max lost his favorite teddy bear. He looked under the bed",
    "Once upon a time, in a small house, there lived a mouse named Pip. Pip loved cheese.",
    "Lucy was afraid of the dark.",
    "A rabbit and a turtle wanted to have a race.",
    "Grandma gave Sam a little seed. She told him to",
    "One night, a girl looked out of the window and saw a star fall.",
    "Jack was angry because his sister broke his toy car.",
    "The cat sat on a tall tree and could not get down.",
    "Every morning, a kind baker made bread for the whole village.",
]
NEW_TOKENS = 200
# Tokens of a held-out story that are continued to see whether names and things last.
OPENING = 16
PARTS = ["valid_tinystories", "valid_children", "valid_books"]


def word_repetition(text, n=4):
    """(n-grams of words seen before in the same text, n-grams)."""
    words = text.split()
    found = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(found) - len(set(found)), len(found)


def continuations(model, tokenizer, temperature, until):
    """One continuation of every prompt, with the figures over all of them."""
    prompts = [[SEPARATOR_ID, *tokenizer.encode(p).ids] for p in PROMPTS]
    # Every row may take up to `length` tokens in all: long enough for the longest prompt, cut to NEW_TOKENS below.
    length = max(map(len, prompts)) + NEW_TOKENS
    texts, repeated, total, sizes, ended = [], 0, 0, [], 0
    for prompt, (ids, end) in zip(prompts, sample(model, prompts, temperature, 0.9, length, 5, until)):
        new = ids[len(prompt) - 1 :]
        ended += end and len(new) < NEW_TOKENS
        new = new[:NEW_TOKENS]
        text = tokenizer.decode(new)
        again, grams = word_repetition(text)
        repeated, total = repeated + again, total + grams
        sizes.append(len(new))
        texts.append(text)
    figures = {
        "repeated_4_word_share": round(repeated / max(total, 1), 4),
        "ended": ended,
        "median_tokens": sorted(sizes)[len(sizes) // 2],
        "shortest": min(sizes),
    }
    return texts, figures


def held_together(texts, judge, tokenizer):
    """Figures of texts (token arrays of at least 100): names that drift, and what their beginnings tell of their ends."""
    texts = [text[:NEW_TOKENS] for text in texts if len(text) >= 100]
    figures = {"texts": len(texts)}
    figures["names_drift"] = round(sum(drift(tokenizer.decode(t.tolist())) is not None for t in texts) / len(texts), 4)
    if judge is not None:
        gains = context_gain(judge, texts)
        figures |= {"gain_median": round(float(np.median(gains)), 4), "gain_10": round(float(np.quantile(gains, 0.1)), 4)}
    return figures


def continued(model, openings, temperature, until):
    """Stories that begin with the given tokens."""
    prompts = [[SEPARATOR_ID, *opening] for opening in openings]
    texts = sample(model, prompts, temperature, 0.9, NEW_TOKENS + 1, 6, until)
    return [np.array(ids, np.uint16) for ids, _ in texts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", required=True, help="folder of the model that distillation began with")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--until", type=float, required=True)
    args = parser.parse_args()
    device, tokenizer = device_name(), Tokenizer.from_file(args.tokenizer)
    result, markdown = {}, []

    def load_parts(model, names):
        paths = [os.path.join(args.run, name) for name in names]
        if not all(map(os.path.exists, paths)):
            return None
        state = {n: t.float() for path in paths for n, t in torch.load(path, map_location="cpu").items()}
        model.load_state_dict(state)
        return model.to(device).eval()

    models = {
        "student": load_parts(
            Model(Config.load(os.path.join(args.first, "config.json"))), ["student-0.pt", "student-1.pt"]
        ),
        "first": load_model(args.first, device),
        "teacher": load_parts(Model(Config.load(args.config)), ["teacher.pt"]),
    }
    models = {name: model for name, model in models.items() if model is not None}

    def write():
        with open(os.path.join(args.out, "check.json"), "w") as file:
            json.dump(result, file, indent=1)
        with open(os.path.join(args.out, "samples.md"), "w") as file:
            file.write("\n".join(markdown))

    for name, model in models.items():
        result[name] = {"samples": {}, "parts": {}}
        for temperature in (0.8, 0.7):
            texts, figures = continuations(model, tokenizer, temperature, args.until)
            result[name]["samples"][str(temperature)] = figures
            print(name, temperature, figures, flush=True)
            markdown += [f"# {name}, temperature {temperature}", "", json.dumps(figures), ""]
            markdown += [f"**{p}**{t}\n" for p, t in zip(PROMPTS, texts)]
            write()
    documents = read_validation(args.corpus)
    real = [np.array(e.ids, np.uint16) for e in tokenizer.encode_batch(documents["valid_tinystories"])]
    openings, judge = [text[:OPENING].tolist() for text in real], models.get("teacher")
    result["real"] = {"together": held_together(real, judge, tokenizer)}
    for name, model in models.items():
        texts = continued(model, openings, 0.7, args.until)
        result[name]["together"] = held_together(texts, judge, tokenizer)
        print(name, result[name]["together"], flush=True)
    print("real", result["real"]["together"], flush=True)
    write()
    for part in PARTS:
        for name, model in models.items():
            if time.time() > args.until:
                return
            figures = measure(model, documents[part], tokenizer)
            result[name]["parts"][part] = figures
            least = [min(row) for row in figures.get("expert_usage", [])]
            print(name, part, figures["loss"], figures["bits_per_byte"], "least experts", least, flush=True)
            write()


if __name__ == "__main__":
    main()
