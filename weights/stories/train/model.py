"""Step-3 in PyTorch: module names equal the checkpoint's tensor names.

The experts of a layer are evaluated all at once and weighted by the router, zero for those not
chosen. That is the exact result, and on a model this small one large matrix product is faster than sorting
tokens by expert.
"""

import dataclasses
import json

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass(frozen=True)
class Config:
    """The fields of Step-3's config.json that a model needs."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    head_dim: int
    share_q_dim: int
    vocab_size: int
    moe_layers_enum: str
    moe_num_experts: int
    moe_intermediate_size: int
    share_expert_dim: int
    moe_top_k: int = 3
    max_seq_len: int = 1024
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000

    @classmethod
    def load(cls, path):
        """Read a config.json, ignoring fields that do not change the arithmetic."""
        with open(path) as file:
            raw = json.load(file)
        assert raw["model_type"] == "step3_text" and not raw["norm_expert_weight"]
        return cls(**{f.name: raw[f.name] for f in dataclasses.fields(cls) if f.name in raw})

    def moe_layers(self):
        return {int(n) for n in self.moe_layers_enum.split(",") if n}

    def dense_twin(self):
        """The baseline: no routed experts, a shared one as wide as what a token activates here."""
        active = self.share_expert_dim + self.moe_top_k * self.moe_intermediate_size
        router = -(-self.moe_num_experts // 24) * 8
        return dataclasses.replace(self, moe_num_experts=0, share_expert_dim=active + router)


class RMSNorm(nn.Module):
    """Normalise in float32, then multiply by a plain gamma."""

    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        x32 = x.float()
        y = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return y.to(x.dtype) * self.weight


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


def rotate(x, cos, sin):
    """Rotary embedding over the last dimension, pairs (i, i + d/2)."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Attention(nn.Module):
    """Multi-matrix factorisation attention: low-rank query, one shared key and value head."""

    def __init__(self, c):
        super().__init__()
        self.heads, self.head_dim = c.num_attention_heads, c.head_dim
        self.q_proj = linear(c.hidden_size, c.share_q_dim)
        self.inter_norm = RMSNorm(c.share_q_dim, c.rms_norm_eps)
        self.wq = linear(c.share_q_dim, self.heads * self.head_dim)
        self.k_proj = linear(c.hidden_size, self.head_dim)
        self.v_proj = linear(c.hidden_size, self.head_dim)
        self.o_proj = linear(self.heads * self.head_dim, c.hidden_size)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q = self.wq(self.inter_norm(self.q_proj(x)))
        q = rotate(q.view(batch, length, self.heads, self.head_dim).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).unsqueeze(1), cos, sin)
        v = self.v_proj(x).unsqueeze(1).to(q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    """SwiGLU; `dims` is the width."""

    def __init__(self, hidden, dims):
        super().__init__()
        self.gate_proj, self.up_proj = linear(hidden, dims), linear(hidden, dims)
        self.down_proj = linear(dims, hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Stacked(nn.Module):
    """One weight per expert, each [out, in]."""

    def __init__(self, experts, outputs, inputs):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))


def top_mask(probabilities, count):
    """True at the `count` largest entries of each row."""
    rest = probabilities
    for _ in range(count):
        rest = rest.masked_fill(rest >= rest.amax(-1, keepdim=True), -1.0)
    return rest < 0


class Experts(nn.Module):
    """Softmax over all experts, the top k kept with their probabilities as they are."""

    def __init__(self, c):
        super().__init__()
        experts, hidden, dims = c.moe_num_experts, c.hidden_size, c.moe_intermediate_size
        self.top_k = c.moe_top_k
        self.gate = linear(hidden, experts)
        self.gate_proj = Stacked(experts, dims, hidden)
        self.up_proj = Stacked(experts, dims, hidden)
        self.down_proj = Stacked(experts, hidden, dims)

    def forward(self, x):
        """(output, balancing loss, router z-loss, share of the tokens that chose each expert)."""
        experts, dims, hidden = self.gate_proj.weight.shape
        with torch.autocast(x.device.type, enabled=False):
            router = F.linear(x.float(), self.gate.weight)
            probabilities = router.softmax(-1)
            chosen = top_mask(probabilities.detach(), self.top_k)
            weights = probabilities * chosen
        gate = F.linear(x, self.gate_proj.weight.flatten(0, 1))
        up = F.linear(x, self.up_proj.weight.flatten(0, 1))
        inner = (F.silu(gate) * up).unflatten(-1, (experts, dims)) * weights.unsqueeze(-1).to(gate.dtype)
        down = self.down_proj.weight.permute(1, 0, 2).reshape(hidden, experts * dims)
        usage = chosen.float().flatten(0, -2).mean(0)
        balance = experts / self.top_k * (usage * probabilities.flatten(0, -2).mean(0)).sum()
        return F.linear(inner.flatten(-2), down), balance, router.logsumexp(-1).square().mean(), usage


class Block(nn.Module):
    """Attention and a dense or mixture-of-experts layer, each added to the stream."""

    def __init__(self, c, moe):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = None if moe else FeedForward(c.hidden_size, c.intermediate_size)
        self.share_expert = FeedForward(c.hidden_size, c.share_expert_dim) if moe else None
        self.moe = Experts(c) if moe and c.moe_num_experts else None
        self.dropout = 0.0

    def drop(self, x):
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def forward(self, h, cos, sin):
        h = h + self.drop(self.self_attn(self.input_layernorm(h), cos, sin))
        x = self.post_attention_layernorm(h)
        if self.mlp is not None:
            return h + self.drop(self.mlp(x)), None
        y = self.share_expert(x)
        if self.moe is None:
            return h + self.drop(y), None
        routed, *router = self.moe(x)
        return h + self.drop(y + routed), router


class Model(nn.Module):
    """The whole model; `forward` gives the stream before the head and the routers' figures."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        moe = c.moe_layers()
        self.model.layers = nn.ModuleList(Block(c, n in moe) for n in range(c.num_hidden_layers))
        self.model.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = linear(c.hidden_size, c.vocab_size)
        angles = torch.outer(
            torch.arange(c.max_seq_len, dtype=torch.float64),
            c.rope_theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim),
        )
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    @torch.no_grad()
    def initialise(self, seed):
        """Projections by their fan-in, those that write into the stream zero."""
        random = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.dim() == 1:
                weight.fill_(1.0)
            elif "o_proj" in name or "down_proj" in name:
                weight.zero_()
            else:
                std = 0.3 if "embed" in name else 0.6 * weight.shape[-1] ** -0.5
                weight.copy_(torch.randn(weight.shape, generator=random) * std)
        return self

    def set_dropout(self, p):
        for block in self.model.layers:
            block.dropout = p

    def forward(self, tokens):
        length = tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        h, routers = self.model.embed_tokens(tokens), []
        for block in self.model.layers:
            h, router = block(h, cos, sin)
            if router is not None:
                routers.append(router)
        return h, routers

    def logits(self, h):
        return self.lm_head(self.model.norm(h))

    def loss(self, h, targets):
        """Sum of the negative log-likelihoods (nats); targets of -100 do not count."""
        logits = self.logits(h).float().flatten(0, 1)
        return F.cross_entropy(logits, targets.flatten(), ignore_index=-100, reduction="sum")

    def parameter_counts(self):
        """(all, used for one token)."""
        total = sum(p.numel() for p in self.parameters())
        routed = sum(p.numel() for n, p in self.named_parameters() if ".moe." in n and "moe.gate." not in n)
        experts = max(self.config.moe_num_experts, 1)
        return total, total - routed + routed * self.config.moe_top_k // experts
