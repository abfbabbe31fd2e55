"""Trained weights -> model.safetensors in bfloat16 under Step-3's tensor names, with the config files.

    python3 export.py --config ../config.json --weights run/moe/final.pt --out DIR [--dense]
"""

import argparse
import json
import os

import torch
from safetensors.torch import save_file

from model import Config, Model


def step3_config(c):
    """config.json in Step-3's own flat format."""
    return {
        "architectures": ["Step3TextForCausalLM"],
        "model_type": "step3_text",
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_attention_heads": c.num_attention_heads,
        "num_attention_groups": 1,
        "num_hidden_layers": c.num_hidden_layers,
        "max_seq_len": c.max_seq_len,
        "vocab_size": c.vocab_size,
        "rms_norm_eps": c.rms_norm_eps,
        "moe_intermediate_size": c.moe_intermediate_size,
        "moe_num_experts": c.moe_num_experts,
        "moe_top_k": c.moe_top_k,
        "rope_theta": c.rope_theta,
        "rope_scaling": None,
        "max_position_embedding": c.max_seq_len,
        "share_expert_dim": c.share_expert_dim,
        "share_q_dim": c.share_q_dim,
        "head_dim": c.head_dim,
        "norm_expert_weight": False,
        "moe_layers_enum": c.moe_layers_enum,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


GENERATION = {
    "bos_token_id": 0,
    "eos_token_id": 0,
    "do_sample": True,
    "temperature": 0.7,
    "top_p": 0.9,
    "max_new_tokens": 300,
}


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", required=True, nargs="+", help="one file, or the parts that distill.py wrote")
    parser.add_argument("--out", required=True)
    parser.add_argument("--dense", action="store_true")
    args = parser.parse_args()
    config = Config.load(args.config)
    config = config.dense_twin() if args.dense else config
    model = Model(config)
    model.load_state_dict({n: t for path in args.weights for n, t in torch.load(path, map_location="cpu").items()})
    os.makedirs(args.out, exist_ok=True)
    tensors = {name: t.detach().bfloat16().contiguous() for name, t in model.state_dict().items()}
    save_file(tensors, os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})
    write_json(os.path.join(args.out, "config.json"), step3_config(config))
    write_json(os.path.join(args.out, "generation_config.json"), GENERATION)


if __name__ == "__main__":
    main()
