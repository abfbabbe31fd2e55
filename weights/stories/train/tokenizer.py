"""Train the byte-level BPE tokenizer.

    python3 tokenizer.py CORPUS OUT_DIR [VOCAB]
"""

import json
import os
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from data import SEPARATOR, read_documents


def train_tokenizer(corpus, out, vocab=4096):
    """Learn merges from the training text, the stories and children's books counted twice."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    names = ["train", "train_tinystories", "train_children"]
    tokenizer.train_from_iterator((d for name in names for d in read_documents(corpus, name)), trainer)
    os.makedirs(out, exist_ok=True)
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SEPARATOR,
        "eos_token": SEPARATOR,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
    }
    with open(os.path.join(out, "tokenizer_config.json"), "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    train_tokenizer(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
