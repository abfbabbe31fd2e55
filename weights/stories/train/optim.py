"""Muon for the weight matrices, AdamW for embeddings, head, routers and norms."""

import torch


def orthogonalise(m, steps=5):
    """Push the singular values of every matrix of a stack [n, rows, columns] towards 1 (Newton-Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = m.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if tall else x


class Muon:
    """Momentum, then an orthogonal update; matrices of one shape are handled as one stack."""

    def __init__(self, params, lr, momentum=0.95, decay=0.1):
        self.lr, self.momentum, self.decay = lr, momentum, decay
        shapes = {}
        for p in params:
            shapes.setdefault(tuple(p.shape[-2:]), []).append(p)
        self.groups = list(shapes.values())
        self.buffers = [torch.zeros_like(self.stack(g, g)) for g in self.groups]

    @staticmethod
    def stack(group, tensors):
        return torch.cat([t.reshape(-1, *p.shape[-2:]) for p, t in zip(group, tensors)])

    @torch.no_grad()
    def step(self, scale):
        for group, buffer in zip(self.groups, self.buffers):
            grad = self.stack(group, [p.grad for p in group])
            buffer.lerp_(grad, 1 - self.momentum)
            update = orthogonalise(grad.lerp(buffer, self.momentum)).float()
            rows, columns = update.shape[-2:]
            lr = self.lr * scale
            pieces = update.split([p.numel() // (rows * columns) for p in group])
            torch._foreach_mul_(group, 1 - lr * self.decay)
            steps = [u.view_as(p) for u, p in zip(pieces, group)]
            torch._foreach_add_(group, steps, alpha=-lr * max(1.0, rows / columns) ** 0.5)

    def state_dict(self):
        return self.buffers

    def load_state_dict(self, buffers):
        for mine, other in zip(self.buffers, buffers):
            mine.copy_(other)


class Optimizer:
    """Both of them under one learning-rate factor."""

    def __init__(self, model, muon_lr, adam_lr, decay):
        def plain(name, p):
            return p.dim() < 2 or "embed" in name or "lm_head" in name or "moe.gate.weight" in name

        named = list(model.named_parameters())
        self.adam_lr = adam_lr
        self.muon = Muon([p for n, p in named if not plain(n, p)], muon_lr, decay=decay)
        rest = [p for n, p in named if plain(n, p)]
        self.adam = torch.optim.AdamW(
            rest, adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=rest[0].is_cuda
        )
        self.params = [p for _, p in named]

    def step(self, scale):
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * scale
        self.muon.step(scale)
        self.adam.step()
        for p in self.params:
            p.grad = None

    def state_dict(self):
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state):
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
