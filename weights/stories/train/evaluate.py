"""Measure an exported model in float32: loss per part of the held-out text, expert usage.

    python3 evaluate.py MODEL_DIR CORPUS OUT.json [TOKENIZER.json]

Every document is evaluated alone: led by `<|endoftext|>`, ended by predicting `<|endoftext|>`, in pieces
of max_seq_len predictions. Bits per byte count the bytes of the text only.
"""

import json
import math
import os
import sys

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from data import SEPARATOR, read_validation
from model import Config, Model


def load_model(folder, device="cpu"):
    """The exported weights, computed in float32."""
    model = Model(Config.load(os.path.join(folder, "config.json")))
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    model.load_state_dict({name: t.float() for name, t in tensors.items()})
    return model.eval().to(device)


def pieces(ids, length):
    """(inputs, targets) of one document in pieces of at most `length` predictions."""
    for at in range(0, len(ids) - 1, length):
        part = ids[at : at + length + 1]
        yield part[:-1], part[1:]


@torch.no_grad()
def measure(model, documents, tokenizer):
    """Loss figures of some documents and, per mixture layer, how often each expert was chosen."""
    start, device = tokenizer.token_to_id(SEPARATOR), model.cos.device
    nats, count, usage = 0.0, 0, 0
    for document in documents:
        ids = [start, *tokenizer.encode(document).ids, start]
        for inputs, targets in pieces(ids, model.config.max_seq_len):
            h, routers = model(torch.tensor([inputs], device=device))
            nats += model.loss(h, torch.tensor([targets], device=device)).item()
            count += len(targets)
            if routers:
                usage = usage + torch.stack([r[2] for r in routers]).cpu() * len(targets)
    size = sum(len(d.encode()) for d in documents)
    result = {
        "documents": len(documents),
        "bytes": size,
        "predicted_tokens": count,
        "loss": nats / count,
        "perplexity": math.exp(nats / count),
        "bits_per_byte": nats / math.log(2) / size,
    }
    if isinstance(usage, torch.Tensor):
        fair = model.config.moe_top_k / model.config.moe_num_experts
        result["expert_usage"] = [[round(u, 4) for u in row] for row in (usage / count / fair).tolist()]
    return result


def main(folder, corpus, out, tokenizer_path=None):
    tokenizer = Tokenizer.from_file(tokenizer_path or os.path.join(folder, "tokenizer.json"))
    model = load_model(folder, "cuda" if torch.cuda.is_available() else "cpu")
    total, active = model.parameter_counts()
    result = {"parameters": total, "active_parameters": active, "parts": {}}
    for part, documents in read_validation(corpus).items():
        result["parts"][part] = measure(model, documents, tokenizer)
        print(part, {k: v for k, v in result["parts"][part].items() if k != "expert_usage"}, flush=True)
    with open(out, "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
