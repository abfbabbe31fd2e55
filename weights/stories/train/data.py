"""Corpus files -> token arrays -> batches.

A document is the text between two lines `<|endoftext|>`, without its last newline.
As tokens it is the special token `<|endoftext|>` followed by the encoded text, so that
the start of one document also ends the one before it.

    python3 data.py CORPUS TOKENIZER.json OUT.npz [N]

N keeps every N-th document of the extra books only, which saves the time to encode the others.
"""

import hashlib
import lzma
import os
import re
import sys

import numpy as np

from renaming import renamed

SEPARATOR = "<|endoftext|>"
# Letters of valid_parts.txt, one a document of valid.txt: which part it belongs to.
# How many times every story is read again with other names and things.
RENAMINGS, RENAMING_SEED = 5, 41
PARTS = {"t": "valid_tinystories", "c": "valid_children", "b": "valid_books"}


def split_documents(text):
    """The documents of a text, in order, without separators and without their last newline."""
    pieces = re.split(r"^<\|endoftext\|>\n?", text, flags=re.M)
    return [piece.removesuffix("\n") for piece in pieces if piece]


def read_documents(corpus, name):
    """The documents of CORPUS/name.txt.xz (or name.txt)."""
    path = os.path.join(corpus, name + ".txt")
    opener = open if os.path.exists(path) else lzma.open
    with opener(path if opener is open else path + ".xz", "rt", encoding="utf-8", newline="") as file:
        return split_documents(file.read())


def held_back(document):
    """True for the 2 % of the training stories kept for early stopping."""
    return hashlib.sha256(document.encode()).digest()[0] < 5


def read_sources(corpus, extra_every=1):
    """All parts: four to train on, one of them renamed too, `dev` for early stopping, three to report on."""
    stories = read_documents(corpus, "train_tinystories")
    children = read_documents(corpus, "train_children")
    known = set(stories) | set(children)
    sources = {
        "stories": [d for d in stories if not held_back(d)],
        "children": children,
        "books": [d for d in read_documents(corpus, "train") if d not in known],
        "extra": read_documents(corpus, "extra_books")[::extra_every],
        "dev": [d for d in stories if held_back(d)],
    }
    random = np.random.default_rng(RENAMING_SEED)
    sources["renamed"] = [renamed(d, random) for _ in range(RENAMINGS) for d in sources["stories"]]
    return sources | read_validation(corpus)


def read_validation(corpus):
    """The three held-out parts of valid.txt."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "valid_parts.txt")) as file:
        letters = file.read().replace("\n", "")
    documents = read_documents(corpus, "valid")
    assert len(documents) == len(letters)
    return {part: [d for d, c in zip(documents, letters) if c == letter] for letter, part in PARTS.items()}


def encode_documents(tokenizer, documents):
    """(tokens uint16, start of every document), each document led by the special token."""
    start = tokenizer.token_to_id(SEPARATOR)
    rows = [[start] + e.ids for e in tokenizer.encode_batch(documents)]
    starts = np.cumsum([0] + [len(row) for row in rows])[:-1]
    return np.concatenate([np.array(row, dtype=np.uint16) for row in rows]), starts.astype(np.int64)


def prepare(corpus, tokenizer_path, out, extra_every=1):
    """Encode every source into one npz file."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_path)
    arrays = {}
    for name, documents in read_sources(corpus, int(extra_every)).items():
        tokens, starts = encode_documents(tokenizer, documents)
        size = sum(len(d.encode()) for d in documents)
        arrays |= {name + ".tokens": tokens, name + ".starts": starts, name + ".bytes": np.array(size)}
        print(f"{name:18} {len(documents):6} documents {size:10} bytes {len(tokens):9} tokens", flush=True)
    np.savez(out, **arrays)


class Stream:
    """Endless rows of `length + 1` tokens; documents are shuffled anew each epoch."""

    def __init__(self, tokens, starts, length, seed, device):
        import torch

        self.torch, self.length = torch, length
        self.tokens = torch.from_numpy(tokens.astype(np.int16)).to(device)
        self.starts = torch.from_numpy(starts).to(device)
        self.sizes = torch.diff(self.starts, append=torch.tensor([len(tokens)], device=device))
        self.random = torch.Generator(device="cpu").manual_seed(seed)
        self.order, self.at, self.epochs = self.tokens, len(tokens), 0

    def shuffle(self):
        """Lay the documents out in a new order."""
        torch = self.torch
        order = torch.randperm(len(self.starts), generator=self.random).to(self.starts.device)
        sizes = self.sizes[order]
        shift = self.starts[order] - (sizes.cumsum(0) - sizes)
        index = torch.repeat_interleave(shift, sizes) + torch.arange(len(self.tokens), device=shift.device)
        self.order, self.at, self.epochs = self.tokens[index], 0, self.epochs + 1

    def take(self, rows):
        """The next rows, int64 [rows, length + 1]; neighbours share one token."""
        torch, out, need = self.torch, [], rows * self.length + 1
        while need > 0:
            if self.at >= len(self.order) - 1:
                self.shuffle()
            piece = self.order[self.at : self.at + need]
            self.at += len(piece)
            need -= len(piece)
            out.append(piece)
        self.at -= 1
        flat = torch.cat(out).long()
        return flat.unfold(0, self.length + 1, self.length)


class Mixture:
    """Batches with a fixed number of rows from every source."""

    def __init__(self, arrays, rows, length, seed, device):
        self.rows = rows
        self.streams = {
            name: Stream(arrays[name + ".tokens"], arrays[name + ".starts"], length, seed + i, device)
            for i, name in enumerate(rows)
        }

    def batch(self):
        torch = next(iter(self.streams.values())).torch
        return torch.cat([self.streams[name].take(count) for name, count in self.rows.items()])


def packed_rows(tokens, length):
    """Evaluation rows of one source: (inputs, targets), targets past the end are -100."""
    rows = -(-len(tokens) // length)
    flat = np.full(rows * length + 1, -100, dtype=np.int64)
    flat[: len(tokens)] = tokens
    inputs = np.maximum(flat[:-1], 0).reshape(rows, length)
    return inputs, flat[1:].reshape(rows, length)


if __name__ == "__main__":
    prepare(*sys.argv[1:])
