"""Logs and measurements -> curve.json, curve.svg, experts.json, experts.svg.

    python3 plot.py MOE_LOG.jsonl DENSE_LOG.jsonl DISTILL_LOG.jsonl EVAL.json OUT_DIR

EVAL.json is evaluate.py's of the distilled model.
"""

import json
import os
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "stories", "font.size": 9})
import matplotlib.pyplot as plt  # noqa: E402

STUDENT_BATCH = 64 * 1024  # tokens of a step of distill.py
KEEP = ["phase", "seed", "step", "tokens", "train", "dev", "valid_tinystories", "valid_children", "valid_books"]


def read_log(path):
    """The log's rows; losses of the parts as nats a token, every finish counted from the end of pretraining."""
    rows = [json.loads(line) for line in open(path)]
    base = max(row["tokens"] for row in rows if row["phase"] == "pretrain")
    each = base // max(row["step"] for row in rows if row["phase"] == "pretrain")
    out = []
    for row in rows:
        if row["phase"] == "finish":
            row["tokens"] = base + row["step"] * each
        kept = {k: row[k] for k in KEEP if k in row}
        out.append({k: round(v[0], 4) if isinstance(v, list) else round(v, 4) if isinstance(v, float) else v for k, v in kept.items()})
    return out


def read_distillation(path):
    """The rows of the second stage that tell of the student; tokens count from the stage's beginning."""
    out = []
    for row in map(json.loads, open(path)):
        if row["phase"] == "distill" or (row["phase"] == "start" and "valid_books" in row):
            row |= {"phase": "distill", "step": row.get("step", 0)}
            row["tokens"] = row["step"] * STUDENT_BATCH
            out.append({k: round(row[k], 4) if isinstance(row[k], float) else row[k] for k in KEEP if k in row})
    return out


def save(figure, path, title):
    """As SVG, with a title for those who cannot see it."""
    figure.savefig(path, metadata={"Date": None, "Title": title})


def plot_distillation(rows, axes):
    """Held-out losses, and the state that was kept: the lowest loss on the stories held back for that."""
    later, x = rows[1:], [r["tokens"] / 1e6 for r in rows]
    axes.plot(x[1:], [r["train"] for r in later], ":", color="tab:blue", label="training (mixed loss)")
    axes.plot(x, [r["valid_books"] for r in rows], "--", color="tab:blue", label="held-out books")
    axes.plot(x, [r["valid_tinystories"] for r in rows], "-", color="tab:blue", label="held-out stories")
    kept = min(rows, key=lambda r: r["dev"])
    axes.axvline(kept["tokens"] / 1e6, color="black", linewidth=0.6, linestyle=":", label="kept")
    axes.set(xlabel="million tokens", title="second stage: distillation")


def plot_curves(curves, path):
    figure, (left, right, second) = plt.subplots(1, 3, figsize=(12, 3.8), constrained_layout=True)
    plot_distillation(curves["distilled"], second)
    for (name, rows), colour in zip(list(curves.items())[:2], ["tab:blue", "tab:orange"]):
        first = [r for r in rows if r["phase"] == "pretrain"]
        x = [r["tokens"] / 1e6 for r in first]
        left.plot(x, [r["train"] for r in first], ":", color=colour, label=f"{name}, training")
        left.plot(x, [r["valid_books"] for r in first], "--", color=colour, label=f"{name}, held-out books")
        left.plot(x, [r["valid_tinystories"] for r in first], "-", color=colour, label=f"{name}, held-out stories")
        for seed in sorted({r["seed"] for r in rows if r["phase"] == "finish"}):
            last = [r for r in rows if r["phase"] == "finish" and r["seed"] == seed]
            x = [r["tokens"] / 1e6 for r in last]
            label = [f"{name}, training", f"{name}, held-out stories"] if seed == 1 else [None, None]
            right.plot(x, [r["train"] for r in last], ":", color=colour, label=label[0])
            right.plot(x, [r["valid_tinystories"] for r in last], "-", color=colour, label=label[1], linewidth=0.9)
        mean = [r for r in rows if r["phase"] == "average"][-1]["valid_tinystories"]
        right.axhline(mean, color=colour, linestyle="--", linewidth=0.8, label=f"{name}, stories, averaged weights")
    left.set(xlabel="million tokens", ylabel="loss, nats per token", title="first stage: everything", ylim=(1.9, 4.6))
    right.set(xlabel="million tokens", title="first stage, end: mostly stories, three seeds")
    for axes in (left, right, second):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    save(figure, path, "Losses of the mixture and of the dense baseline, and of the mixture during distillation")


def plot_experts(usage, path):
    """One row of bars a layer; 1 is an even share."""
    parts = list(usage)
    layers = len(usage[parts[0]])
    figure, axes = plt.subplots(layers, 1, figsize=(9, 1.5 * layers), sharex=True, constrained_layout=True)
    for layer, ax in enumerate(axes):
        for i, part in enumerate(parts):
            row = usage[part][layer]
            ax.bar([e + 0.27 * (i - 1) for e in range(len(row))], row, 0.27, label=part)
        ax.axhline(1, color="black", linewidth=0.6)
        ax.axhline(0.2, color="red", linewidth=0.6, linestyle=":")
        ax.set(ylabel=f"layer {layer + 1}", xticks=range(len(row)))
    axes[0].legend(fontsize=7, ncols=3)
    axes[0].set_title("how often each expert is chosen, relative to an even share (dotted: 20 %)")
    axes[-1].set_xlabel("expert")
    save(figure, path, "How often each expert of each layer is chosen on the held-out texts")


def main(moe_log, dense_log, distill_log, evaluation, out):
    curves = {"MoE": read_log(moe_log), "dense": read_log(dense_log), "distilled": read_distillation(distill_log)}
    with open(os.path.join(out, "curve.json"), "w") as file:
        lines = {n: ",\n  ".join(json.dumps(r) for r in rows) for n, rows in curves.items()}
        file.write("{\n" + ",\n".join(f' "{n}": [\n  {text}\n ]' for n, text in lines.items()) + "\n}\n")
    plot_curves(curves, os.path.join(out, "curve.svg"))
    usage = {part: v["expert_usage"] for part, v in json.load(open(evaluation))["parts"].items()}
    with open(os.path.join(out, "experts.json"), "w") as file:
        rows = {p: ",\n  ".join(json.dumps(r) for r in layers) for p, layers in usage.items()}
        file.write("{\n" + ",\n".join(f' "{p}": [\n  {text}\n ]' for p, text in rows.items()) + "\n}\n")
    plot_experts(usage, os.path.join(out, "experts.svg"))


if __name__ == "__main__":
    main(*sys.argv[1:])
