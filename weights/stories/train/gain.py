"""How much the end of a text follows from its beginning."""

import numpy as np
import torch
import torch.nn.functional as F

from sample import SEPARATOR_ID

NEAR = 32
ROWS = 256


def probabilities(model, rows):
    """Log-probability of every token but the first, [rows, length - 1]."""
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=rows.is_cuda):
        logits = model.logits(model(rows[:, :-1])[0])
    return -F.cross_entropy(logits.float().transpose(1, 2), rows[:, 1:], reduction="none")


@torch.no_grad()
def context_gain(model, texts):
    """Nats a token, [texts], by which all that stands before beats the last 32 to 63 tokens alone.

    Taken over the tokens from position 64 on; 0 for shorter texts. `texts` are token arrays without separators.
    """
    device, out = model.lm_head.weight.device, np.zeros(len(texts))
    for begin in range(0, len(texts), ROWS):
        some = texts[begin : begin + ROWS]
        width = -(-(max(map(len, some)) + 1) // NEAR) * NEAR
        tokens = torch.full((len(some), width), SEPARATOR_ID)
        for row, text in zip(tokens, some):
            row[1 : len(text) + 1] = torch.from_numpy(text.astype(np.int64))
        tokens = tokens.to(device)
        sizes = torch.tensor([len(text) + 1 for text in some], device=device)
        far = probabilities(model, tokens)[:, 2 * NEAR - 1 :]
        windows = tokens.unfold(1, 2 * NEAR, NEAR)[:, 1:]  # each begins NEAR tokens before those it is asked for
        near = probabilities(model, windows.reshape(-1, 2 * NEAR))[:, NEAR - 1 :]
        near = near.reshape(len(some), -1)
        counted = torch.arange(2 * NEAR, width, device=device) < sizes[:, None]
        gain = ((far - near) * counted).sum(1) / counted.sum(1).clamp(min=1)
        out[begin : begin + len(some)] = gain.cpu().numpy()
    return out
