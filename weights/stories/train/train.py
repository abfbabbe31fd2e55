"""Train the model, or its dense twin: everything first, then mostly stories with early stopping.

    python3 train.py --config ../config.json --data data.npz --out run/moe [--dense] [--seconds 540]

The last phase is run several times with different seeds, each stopped at its lowest loss on the training
stories held back for that; the average of their weights is the result.

Writes to the output folder: log.jsonl (losses), state.pt (to go on from, with the same command),
pretrain.pt (weights before the last phase), best1.pt, best2.pt, … and their average, final.pt.
"""

import argparse
import dataclasses
import json
import math
import os
import time

import numpy as np
import torch

from data import Mixture, packed_rows
from model import Config, Model
from optim import Optimizer

SEED = 1
BALANCE, ROUTER_Z = 0.01, 1e-4
MUON_LR, ADAM_LR, DECAY = 0.02, 0.012, 0.1
FINISHES = 3
PARTS = ["dev", "valid_tinystories", "valid_children", "valid_books"]


@dataclasses.dataclass
class Phase:
    """A stretch of training: rows per batch from each source, learning-rate factors, dropout."""

    steps: int
    rows: dict
    warmup: int
    start: float
    end: float
    hold: float
    dropout: float
    every: int

    def scale(self, step):
        """Linear warm-up, `start` for the first `hold` of the steps, then linearly to `end`."""
        if step < self.warmup:
            return self.start * (step + 1) / self.warmup
        done = max(0.0, (step / self.steps - self.hold) / max(1 - self.hold, 1e-9))
        return self.start + (self.end - self.start) * done


PHASES = {
    "pretrain": Phase(6500, {"stories": 4, "children": 1, "books": 17, "extra": 42}, 100, 1, 0.4, 0.5, 0.1, 250),
    "finish": Phase(400, {"stories": 44, "children": 4, "books": 8, "extra": 8}, 20, 0.4, 0.0, 0.1, 0.2, 20),
}


def device_name():
    return "cuda" if torch.cuda.is_available() else "cpu"


def compile_model(model):
    """Compile block by block: equal blocks share one compilation."""
    torch._dynamo.config.recompile_limit = 64
    for block in model.model.layers:
        block.compile()
    model.loss = torch.compile(model.loss)


def autocast():
    return torch.autocast(device_name(), torch.bfloat16)


class Evaluator:
    """Loss on the packed held-out parts, in the training precision."""

    def __init__(self, arrays, length, rows, device):
        self.parts = {}
        for part in PARTS:
            inputs, targets = packed_rows(arrays[part + ".tokens"], length)
            pad = -len(inputs) % rows
            inputs = np.pad(inputs, ((0, pad), (0, 0)))
            targets = np.pad(targets, ((0, pad), (0, 0)), constant_values=-100)
            batches = [torch.from_numpy(a).to(device).split(rows) for a in (inputs, targets)]
            self.parts[part] = (list(zip(*batches)), int((targets >= 0).sum()), int(arrays[part + ".bytes"]))

    @torch.no_grad()
    def run(self, model, names=PARTS):
        """{part: (nats a token, bits a byte)}."""
        model.eval()
        out = {}
        for part in names:
            batches, tokens, size = self.parts[part]
            total = 0.0
            for inputs, targets in batches:
                with autocast():
                    total += model.loss(model(inputs)[0], targets).item()
            out[part] = (total / tokens, total / math.log(2) / size)
        model.train()
        return out


def train_step(model, optimizer, rows, scale):
    """One update; (loss in nats a token, balancing losses, each layer's expert usage)."""
    inputs, targets = rows[:, :-1], rows[:, 1:]
    with autocast():
        h, routers = model(inputs)
        loss = model.loss(h, targets) / targets.numel()
    total = loss
    for balance, z, _ in routers:
        total = total + BALANCE * balance + ROUTER_Z * z
    total.backward()
    optimizer.step(scale)
    return loss.detach(), [usage.detach() for _, _, usage in routers]


class Run:
    """A model, its optimizer and its folder."""

    def __init__(self, config, arrays, out, seconds):
        self.device = device_name()
        torch.set_float32_matmul_precision("high")
        self.arrays, self.out, self.deadline = arrays, out, time.time() + seconds
        self.model = Model(config).initialise(SEED).to(self.device)
        self.start_again(SEED)
        self.tokens, self.spent, self.began = 0, 0.0, time.time()
        os.makedirs(out, exist_ok=True)
        if self.device == "cuda":
            compile_model(self.model)

    def path(self, name):
        return os.path.join(self.out, name)

    def elapsed(self):
        return self.spent + time.time() - self.began

    def log(self, **fields):
        line = json.dumps(fields | {"tokens": self.tokens, "seconds": round(self.elapsed(), 1)})
        print(line, flush=True)
        with open(self.path("log.jsonl"), "a") as file:
            file.write(line + "\n")

    def start_again(self, seed):
        """A fresh optimizer and step count."""
        torch.manual_seed(seed)
        self.optimizer, self.step, self.seed = Optimizer(self.model, MUON_LR, ADAM_LR, DECAY), 0, seed

    def save(self):
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counters": (self.step, self.tokens, self.elapsed()),
        }
        torch.save(state, self.path("state.tmp"))
        os.replace(self.path("state.tmp"), self.path("state.pt"))

    def restore(self):
        state = torch.load(self.path("state.pt"), map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.spent = state["counters"]

    def load(self, name):
        self.model.load_state_dict(torch.load(self.path(name), map_location=self.device))

    def steps(self, name):
        """Train one phase; yields the held-out losses at every evaluation."""
        phase, length = PHASES[name], self.model.config.max_seq_len
        total = sum(phase.rows.values())
        mixture = Mixture(self.arrays, phase.rows, length, self.seed * 100, self.device)
        evaluator = Evaluator(self.arrays, length, total, self.device)
        for _ in range(self.step):
            mixture.batch()
        self.model.train()
        self.model.set_dropout(phase.dropout)
        losses = []
        while self.step < phase.steps:
            rows, scale = mixture.batch(), phase.scale(self.step)
            loss, usage = train_step(self.model, self.optimizer, rows, scale)
            losses.append(loss)
            self.step, self.tokens = self.step + 1, self.tokens + total * length
            if self.step % phase.every and self.step < phase.steps:
                continue
            result = evaluator.run(self.model)
            least = min((u.min() * u.numel() / u.sum()).item() for u in usage) if usage else None
            train, losses = torch.stack(losses).mean().item(), []
            epochs = {n: s.epochs for n, s in mixture.streams.items()}
            self.log(phase=name, seed=self.seed, step=self.step, train=train, least_expert=least, epochs=epochs, **result)
            yield result

    def pretrain(self):
        """The first phase; False if the time ran out before its end."""
        if os.path.exists(self.path("state.pt")):
            self.restore()
        for _ in self.steps("pretrain"):
            if time.time() > self.deadline:
                self.save()
                return False
        self.save()
        torch.save(self.model.state_dict(), self.path("pretrain.pt"))
        return True

    def finish(self, seed, patience=6):
        """The last phase from pretrain.pt; best{seed}.pt holds the weights of the lowest loss."""
        self.load("pretrain.pt")
        self.start_again(seed)
        first = PHASES["pretrain"]
        self.tokens = first.steps * sum(first.rows.values()) * self.model.config.max_seq_len
        best, worse = math.inf, 0
        for result in self.steps("finish"):
            worse += 1
            if result["dev"][0] < best:
                best, worse = result["dev"][0], 0
                torch.save(self.model.state_dict(), self.path(f"best{seed}.pt"))
            if worse >= patience:
                break

    def average(self, seeds):
        """final.pt: the mean of the weights that the seeds ended with."""
        states = [torch.load(self.path(f"best{seed}.pt"), map_location=self.device) for seed in seeds]
        mean = {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}
        self.model.load_state_dict(mean)
        torch.save(mean, self.path("final.pt"))
        rows, length = sum(PHASES["finish"].rows.values()), self.model.config.max_seq_len
        result = Evaluator(self.arrays, length, rows, self.device).run(self.model)
        self.log(phase="average", seeds=list(seeds), **result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--dense", action="store_true", help="train the dense model of equal active size")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this long; run again to go on")
    args = parser.parse_args()
    config = Config.load(args.config)
    run = Run(config.dense_twin() if args.dense else config, np.load(args.data), args.out, args.seconds)
    print("parameters: %d, active %d" % run.model.parameter_counts(), flush=True)
    if not os.path.exists(run.path("pretrain.pt")) and not run.pretrain():
        print("stopped; the same command goes on")
        return
    seeds = range(1, FINISHES + 1)
    for seed in seeds:
        if not os.path.exists(run.path(f"best{seed}.pt")):
            run.finish(seed)
    run.average(seeds)


if __name__ == "__main__":
    main()
