"""Training against the clock: the learning rate follows the share of the time that has passed.

Used by teacher.py and distill.py, whose phases have to end at a given second on any machine.
"""

import contextlib
import json
import math
import time

import numpy as np
import torch


def load_arrays(*paths):
    """The arrays of some .npz files, later files adding to earlier ones."""
    arrays = {}
    for path in paths:
        arrays |= dict(np.load(path))
    return arrays


class Log:
    """JSON lines with the seconds since the start."""

    def __init__(self, path):
        self.path, self.began = path, time.time()

    def __call__(self, **fields):
        line = json.dumps(fields | {"seconds": round(time.time() - self.began, 1)})
        print(line, flush=True)
        with open(self.path, "a") as file:
            file.write(line + "\n")


class Average:
    """Exponential moving average of a model's parameters."""

    def __init__(self, model, decay):
        self.params, self.decay, self.steps = list(model.parameters()), decay, 0
        self.mean = [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def update(self):
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        torch._foreach_lerp_(self.mean, self.params, 1 - decay)

    @contextlib.contextmanager
    def applied(self):
        """Inside, the model has the averaged parameters."""
        with torch.no_grad():
            own = [p.detach().clone() for p in self.params]
            torch._foreach_copy_(self.params, self.mean)
            yield
            torch._foreach_copy_(self.params, own)


def factor(progress, start, hold, end, warmup=0.02):
    """Learning-rate factor at `progress` in [0, 1]: warm-up, `start` until `hold`, then linearly to `end`."""
    if progress < warmup:
        return start * max(progress / warmup, 0.01)
    return start + (end - start) * max(0.0, (progress - hold) / (1 - hold))


def train_until(until, model, optimizer, mixture, objective, schedule, evaluate, average, log, every):
    """Train until the second `until` of time.time(); the averaged weights of the lowest loss, as a state dict.

    objective(model, rows) gives the loss; schedule(progress) the learning-rate factor; evaluate(model) fields
    to log, among them `dev`, the loss to choose by. One batch runs before the clock starts: it compiles.
    """
    model.train()
    objective(model, mixture.batch()).backward()
    evaluate(model)
    optimizer.step(0.0)
    start, step, losses, best, kept = time.time(), 0, [], math.inf, None
    while True:
        progress = (time.time() - start) / max(until - start, 1e-9)
        over = progress >= 1
        if not over:
            loss = objective(model, mixture.batch())
            loss.backward()
            optimizer.step(schedule(progress))
            average.update()
            losses.append(loss.detach())
            step += 1
        if step % every and not over:
            continue
        with average.applied():
            result = evaluate(model)
            if kept is None or result["dev"] < best:
                best, kept = result["dev"], {n: t.detach().clone() for n, t in model.state_dict().items()}
        train = torch.stack(losses).mean().item() if losses else None
        losses = []
        epochs = {name: s.epochs for name, s in mixture.streams.items()}
        log(step=step, progress=round(progress, 3), train=train, best=best, epochs=epochs, **result)
        if over:
            return kept
