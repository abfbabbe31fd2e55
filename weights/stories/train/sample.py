"""Sampling with cached keys and values, for any model of model.py."""

import time

import torch
import torch.nn.functional as F

from model import rotate

SEPARATOR_ID = 0


class Decoder:
    """Logits of the next token for rows that are all at the same position."""

    def __init__(self, model, rows, length):
        self.model, weight = model, model.lm_head.weight
        shape = (len(model.model.layers), rows, length, model.config.head_dim)
        self.keys, self.values = weight.new_zeros(shape), weight.new_zeros(shape)

    def attend(self, layer, x, at):
        """Every head is a query row of one attention over the shared keys."""
        a, cos, sin = self.model.model.layers[layer].self_attn, self.model.cos[at], self.model.sin[at]
        q = a.wq(a.inter_norm(a.q_proj(x))).unflatten(-1, (a.heads, a.head_dim))
        keys, values = self.keys[layer], self.values[layer]
        keys[:, at], values[:, at] = rotate(a.k_proj(x), cos, sin), a.v_proj(x)
        past = slice(0, at + 1)
        y = F.scaled_dot_product_attention(
            rotate(q, cos, sin).unsqueeze(1), keys[:, None, past], values[:, None, past]
        )
        return a.o_proj(y.flatten(1))

    def step(self, tokens, at):
        """tokens int64 [rows] at position `at` -> float32 logits [rows, vocab]."""
        h = self.model.model.embed_tokens(tokens)
        for layer, block in enumerate(self.model.model.layers):
            h = h + self.attend(layer, block.input_layernorm(h), at)
            x = block.post_attention_layernorm(h)
            h = h + (block.mlp(x) if block.mlp is not None else block.share_expert(x) + block.moe(x)[0])
        return self.model.logits(h).float()

    def keep(self, rows):
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


def draw(logits, temperature, top_p, random):
    """One token a row: the most probable ones that together reach `top_p`, by their probabilities."""
    p, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    p = p.masked_fill(p.cumsum(-1) - p >= top_p, 0.0)
    noise = torch.empty_like(p).exponential_(generator=random)
    return order.gather(-1, (p / noise).argmax(-1, keepdim=True)).squeeze(-1)


@torch.no_grad()
def sample(model, prompts, temperature, top_p, length, seed, until=float("inf"), every=32):
    """Continue prompts (ids, led by the separator) to at most `length` tokens each.

    Returns [(ids without separators, ended by itself)] in the prompts' order. Rows that have ended are
    dropped every so many steps. Nothing is sampled after the second `until` of time.time().
    """
    device = model.lm_head.weight.device
    random = torch.Generator(device).manual_seed(seed)
    sizes = torch.tensor([len(p) for p in prompts], device=device)
    tokens = torch.zeros(len(prompts), length, dtype=torch.long)
    for row, prompt in zip(tokens, prompts):
        row[: len(prompt)] = torch.tensor(prompt)
    tokens, number = tokens.to(device), torch.arange(len(prompts), device=device)
    decoder, ended = Decoder(model, len(prompts), length), torch.zeros(len(prompts), dtype=torch.bool, device=device)
    out = [None] * len(prompts)

    def collect(rows, at):
        texts = zip(number[rows].tolist(), tokens[rows, 1 : at + 1].tolist(), ended[rows].tolist())
        for i, ids, end in texts:
            out[i] = (ids[: ids.index(SEPARATOR_ID)] if end else ids, end)

    at = 0
    for at in range(1, length):
        new = draw(decoder.step(tokens[:, at - 1], at - 1), temperature, top_p, random)
        free = at >= sizes
        tokens[:, at] = torch.where(free, new, tokens[:, at])
        ended |= free & (new == SEPARATOR_ID)
        if at % every:
            continue
        if ended.any():
            collect(ended, at)
            rows = ~ended
            number, sizes, tokens, ended = number[rows], sizes[rows], tokens[rows], ended[rows]
            decoder.keep(rows)
        if len(number) == 0 or time.time() > until:
            break
    collect(torch.ones_like(ended), at)
    return out
