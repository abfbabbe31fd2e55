"""Let the teacher write stories and keep the good ones.

    python3 generate.py --config teacher.json --data data.npz --tokenizer ../tokenizer.json --weights run/teacher.pt \\
        --out run --until S

Writes made.npz (made.tokens, made.starts, made.bytes as in data.npz) and log-made.jsonl; ends at once if made.npz
exists. Openings come from the stories trained on, never from `dev` or the held-out parts.
"""

import argparse
import os
import time

import numpy as np
import torch
from tokenizers import Tokenizer

from gain import context_gain
from model import Config, Model
from renaming import drift
from sample import SEPARATOR_ID, sample
from timed import Log, load_arrays
from train import device_name

SEED = 31
TEMPERATURE, TOP_P = 0.85, 0.95
SHORTEST, LONGEST = 80, 400
GRAM = 12
# The share of held-back real stories that would not be kept for how little their ends follow from their beginnings.
LEAST_GAIN = 0.25


def documents(arrays, name):
    """The token arrays of a source, without the leading separator."""
    return [d[1:] for d in np.split(arrays[name + ".tokens"], arrays[name + ".starts"][1:])]


def grams(tokens, n):
    """A 64-bit hash of every n neighbouring tokens."""
    if len(tokens) < n:
        return np.empty(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.uint64), n)
    out = np.zeros(len(windows), np.uint64)
    for column in windows.T:
        out = out * np.uint64(0x9E3779B97F4A7C15) + column + np.uint64(1)
    return out


def repetition(tokens, n=4):
    """The share of n-grams that occurred before in the same text."""
    found = grams(tokens, n)
    return 1 - len(np.unique(found)) / max(len(found), 1)


class Filter:
    """Says why a text is not kept, or None; remembers what it kept."""

    def __init__(self, arrays, tokenizer, model):
        self.tokenizer, self.model = tokenizer, model
        stories = documents(arrays, "stories")
        self.gain = float(np.quantile(context_gain(model, documents(arrays, "dev")), LEAST_GAIN))
        self.repetition = float(np.quantile([repetition(d) for d in stories[:2000]], 0.9))
        self.known = self.table(arrays, ["stories", "renamed", "children"])
        self.held_out = self.table(arrays, ["dev", "valid_tinystories", "valid_children"])
        self.seen = set()

    @staticmethod
    def table(arrays, names):
        return np.unique(np.concatenate([grams(arrays[name + ".tokens"], GRAM) for name in names]))

    @staticmethod
    def share(found, table):
        """How many of the hashes the sorted table holds, in [0, 1]."""
        at = np.searchsorted(table, found).clip(max=len(table) - 1)
        return (table[at] == found).mean()

    def reason(self, tokens):
        """What is wrong with one text [tokens], but for what `together` says."""
        if not SHORTEST <= len(tokens) <= LONGEST:
            return "length"
        if repetition(tokens) > self.repetition:
            return "repeats"
        drifted = drift(self.tokenizer.decode(tokens.tolist()))
        if drifted is not None:
            return drifted
        found = grams(tokens, GRAM)
        if self.share(found, self.held_out) > 0.1:
            return "held out"
        if self.share(found, self.known) > 0.3:
            return "copy"
        middle = tokens[20:60].tobytes()
        if middle in self.seen:
            return "twice"
        self.seen.add(middle)
        return None

    def together(self, texts):
        """Those of the texts whose ends follow from their beginnings as in most real stories."""
        gains = context_gain(self.model, texts)
        return [text for text, gain in zip(texts, gains) if gain >= self.gain]


def openings(stories, rows, random):
    """Half the rows start from nothing, half from the first 3 to 15 tokens of a training story."""
    out = []
    for _ in range(rows):
        size = int(random.integers(3, 16)) if random.random() < 0.5 else 0
        out.append([SEPARATOR_ID, *stories[random.integers(len(stories))][:size].tolist()])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--rows", type=int, default=4096)
    args = parser.parse_args()
    path = os.path.join(args.out, "made.npz")
    if os.path.exists(path):
        return
    log, device = Log(os.path.join(args.out, "log-made.jsonl")), device_name()
    model = Model(Config.load(args.config))
    model.load_state_dict(torch.load(args.weights, map_location="cpu"))
    model = model.to(device).eval()
    if device == "cuda":
        cos, sin = model.cos, model.sin
        model.bfloat16()
        model.cos, model.sin = cos, sin  # angles stay float32
    arrays = load_arrays(args.data)
    keep, random = Filter(arrays, Tokenizer.from_file(args.tokenizer), model), np.random.default_rng(SEED)
    stories = documents(arrays, "renamed")
    log(phase="start", repetition_limit=keep.repetition, gain_limit=keep.gain)
    kept, counts, batch, spent = [], {}, 0, 0.0
    while batch == 0 or time.time() + spent < args.until:
        began = time.time()
        prompts = openings(stories, args.rows, random)
        until = args.until - 2
        texts = sample(model, prompts, TEMPERATURE, TOP_P, LONGEST + 24, SEED + batch, until)
        sampled, good = time.time() - began, []
        for ids, ended in texts:
            tokens = np.array(ids, np.uint16)
            reason = keep.reason(tokens) if ended else "no end"
            if reason is None:
                good.append(tokens)
            else:
                counts[reason] = counts.get(reason, 0) + 1
        together = keep.together(good)
        counts["apart"] = counts.get("apart", 0) + len(good) - len(together)
        kept += [np.concatenate([[SEPARATOR_ID], tokens]).astype(np.uint16) for tokens in together]
        batch, spent = batch + 1, time.time() - began
        log(phase="made", batch=batch, sampling=round(sampled, 1), batch_seconds=round(spent, 1), kept=len(kept), **counts)
    if not kept:
        log(phase="nothing kept")
        return
    tokens = np.concatenate(kept)
    starts = np.cumsum([0] + [len(k) for k in kept])[:-1].astype(np.int64)
    np.savez_compressed(path, **{"made.tokens": tokens, "made.starts": starts, "made.bytes": np.array(0)})
    log(phase="saved", stories=len(kept), tokens=len(tokens), late=round(time.time() - args.until, 1))


if __name__ == "__main__":
    main()
