"""Train the model of the first stage further, on real and made-up stories, towards the teacher's probabilities.

    python3 distill.py --student run/first --config teacher.json --teacher run/teacher.pt --data data.npz run/made.npz \\
        --out run --until S

Writes student-0.pt and student-1.pt (bf16, half of the tensors each, for export.py) and log-student.jsonl; ends at
once if student-1.pt exists. Without made.npz the made stories' rows are real ones.
"""

import argparse
import os

import torch

from data import Mixture
from evaluate import load_model
from model import Config, Model
from optim import Optimizer
from teacher import evaluation, shrink
from timed import Average, Log, factor, load_arrays, train_until
from train import MUON_LR, ROUTER_Z, DECAY, Evaluator, autocast, compile_model, device_name

SEED = 21
ADAM_LR, BALANCE, DROPOUT = 0.012, 0.02, 0.05
ROWS = {"stories": 8, "renamed": 10, "made": 24, "children": 4, "books": 9, "extra": 9}
# How much of each source's loss is for the token that came next; the rest is for the teacher's probabilities. Made
# stories were drawn below temperature 1, so that their tokens alone would make the student too sure.
NEXT_TOKEN = {"stories": 0.5, "renamed": 0.3, "made": 0.1, "children": 0.5, "books": 0.5, "extra": 0.5}
REPORT = ["dev", "valid_tinystories", "valid_children", "valid_books"]


def mixed_loss(logits, teacher_logits, targets, share):
    """Mean over the tokens of share [rows] * cross-entropy + the rest * cross-entropy to the teacher."""
    logp = logits.float().log_softmax(-1)
    hard = -logp.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    soft = -(teacher_logits.float().softmax(-1) * logp).sum(-1)
    share = share.unsqueeze(-1)
    return (share * hard + (1 - share) * soft).mean()


class Distillation:
    """The objective; keeps the experts balanced as train.py does."""

    def __init__(self, teacher, share):
        self.teacher, self.share = teacher, share
        self.loss = torch.compile(mixed_loss) if share.is_cuda else mixed_loss

    def __call__(self, model, rows):
        inputs, targets = rows[:, :-1], rows[:, 1:]
        with autocast():
            with torch.no_grad():
                teacher_logits = self.teacher.logits(self.teacher(inputs)[0])
            h, routers = model(inputs)
            total = self.loss(model.logits(h), teacher_logits, targets, self.share)
        for balance, z, _ in routers:
            total = total + BALANCE * balance + ROUTER_Z * z
        return total


@torch.no_grad()
def least_experts(model, inputs):
    """Per layer, how often its least used expert is chosen, relative to an even share."""
    model.eval()
    with autocast():
        usage = [u for _, _, u in model(inputs)[1]]
    model.train()
    return [round((u.min() * u.numel() / u.sum()).item(), 3) for u in usage]


def save_parts(state, out):
    """Two files of half the tensors each."""
    names = sorted(state)
    for part in range(2):
        torch.save({n: state[n].bfloat16().cpu() for n in names[part::2]}, os.path.join(out, f"student-{part}.pt"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--student", required=True, help="folder of the model to begin with")
    parser.add_argument("--config", required=True, help="the teacher's shape")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--data", required=True, nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--shrink", type=int, default=1, help="divide the rows of a batch by this")
    args = parser.parse_args()
    if os.path.exists(os.path.join(args.out, "student-1.pt")):
        return
    log, device = Log(os.path.join(args.out, "log-student.jsonl")), device_name()
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(SEED)
    arrays = load_arrays(*(path for path in args.data if os.path.exists(path)))
    if "made.tokens" not in arrays:
        log(phase="no made stories")
        arrays |= {"made." + key: arrays["stories." + key] for key in ("tokens", "starts", "bytes")}
    teacher = Model(Config.load(args.config))
    teacher.load_state_dict(torch.load(args.teacher, map_location="cpu"))
    teacher = teacher.to(device).eval().requires_grad_(False)
    model = load_model(args.student, device)
    length, counts = model.config.max_seq_len, shrink(ROWS, args.shrink)
    evaluator = Evaluator(arrays, length, sum(counts.values()), device)
    story_rows = evaluator.parts["valid_tinystories"][0][0][0]
    log(phase="start", **evaluation(evaluator, REPORT)(model), least_experts=least_experts(model, story_rows))
    if device == "cuda":
        # Two models run the same block code: compile each for its own sizes instead of one for any.
        torch._dynamo.config.automatic_dynamic_shapes = False
        compile_model(model)
        compile_model(teacher)
    model.set_dropout(DROPOUT)
    share = torch.tensor([NEXT_TOKEN[name] for name, n in counts.items() for _ in range(n)], device=device)
    losses = evaluation(evaluator, REPORT)
    best = train_until(
        args.until, model, Optimizer(model, MUON_LR, ADAM_LR, DECAY), Mixture(arrays, counts, length, SEED, device),
        Distillation(teacher, share), lambda p: factor(p, 0.5, 0.1, 0.0),
        lambda m: losses(m) | {"least_experts": least_experts(m, story_rows)}, Average(model, 0.99),
        lambda **fields: log(phase="distill", **fields), 100,
    )  # fmt: skip
    save_parts(best, args.out)
    log(phase="saved")


if __name__ == "__main__":
    main()
