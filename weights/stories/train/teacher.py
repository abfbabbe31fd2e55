"""Train the teacher: a dense model eight times as large, on everything and then on mostly stories.

    python3 teacher.py --config teacher.json --data data.npz --out run --pretrain-until S --until S

S are seconds as `date +%s` prints them. Writes teacher.pt (bf16) and log-teacher.jsonl; ends at once if
teacher.pt exists. teacher-pretrain.pt holds the weights between the two phases.
"""

import argparse
import os
import time

import torch

from data import Mixture
from model import Config, Model
from optim import Optimizer
from timed import Average, Log, factor, load_arrays, train_until
from train import Evaluator, autocast, compile_model, device_name

SEED = 11
MUON_LR, ADAM_LR, DECAY = 0.02, 0.005, 0.1
PRETRAIN = {"stories": 2, "renamed": 6, "children": 1, "books": 14, "extra": 17}
FINISH = {"stories": 13, "renamed": 17, "children": 2, "books": 4, "extra": 4}


def cross_entropy(model, rows):
    """Nats a token."""
    inputs, targets = rows[:, :-1], rows[:, 1:]
    with autocast():
        return model.loss(model(inputs)[0], targets) / targets.numel()


def shrink(rows, by):
    """The same mixture in smaller batches, for a trial on a small machine."""
    return {name: max(1, count // by) for name, count in rows.items()}


def evaluation(evaluator, names):
    """A function of the model: {part: nats a token}."""
    return lambda model: {part: nats for part, (nats, _) in evaluator.run(model, names).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--pretrain-until", type=float, required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--shrink", type=int, default=1, help="divide the rows of a batch by this")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    done, middle = (os.path.join(args.out, name) for name in ("teacher.pt", "teacher-pretrain.pt"))
    if os.path.exists(done):
        return
    log, device = Log(os.path.join(args.out, "log-teacher.jsonl")), device_name()
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(SEED)
    arrays, config = load_arrays(args.data), Config.load(args.config)
    model = Model(config).initialise(SEED).to(device)
    log(phase="start", parameters=model.parameter_counts()[0], device=device)
    if device == "cuda":
        compile_model(model)
    rows = sum(shrink(PRETRAIN, args.shrink).values())
    assert rows == sum(shrink(FINISH, args.shrink).values()) or args.shrink > 1
    evaluate = evaluation(Evaluator(arrays, config.max_seq_len, rows, device), ["dev", "valid_books"])

    def phase(name, counts, until, dropout, decay, schedule, every):
        model.set_dropout(dropout)
        optimizer = Optimizer(model, MUON_LR, ADAM_LR, DECAY)
        mixture = Mixture(arrays, shrink(counts, args.shrink), config.max_seq_len, SEED, device)
        average = Average(model, decay)
        return train_until(
            until, model, optimizer, mixture, cross_entropy, schedule, evaluate, average,
            lambda **fields: log(phase=name, **fields), every,
        )  # fmt: skip

    if os.path.exists(middle):
        model.load_state_dict(torch.load(middle, map_location=device))
    else:
        first = phase(
            "pretrain", PRETRAIN, args.pretrain_until, 0.1, 0.98, lambda p: factor(p, 1.0, 0.4, 0.3), 200
        )
        model.load_state_dict(first)
        torch.save(first, middle)
    best = phase("finish", FINISH, args.until, 0.3, 0.98, lambda p: factor(p, 0.3, 0.0, 0.0), 25)
    torch.save({name: t.bfloat16() for name, t in best.items()}, done)
    log(phase="saved", late=round(time.time() - args.until, 1))


if __name__ == "__main__":
    main()
