"""Training in pictures: what a log tells, while it is being written and after.

Every figure takes a log as `read_log` gives it, or plain arrays, and returns the data that it shows.
"""

import contextlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from ipywidgets import Image
from matplotlib.figure import Figure

from varlite.models import VARConfig
from varlite.nb.plots import scale_colours, scale_names
from varlite.presets import TransformerRecipe
from varlite.scales import Scales

DASHES, MARKERS, HATCHES = ["-", "--", "-.", ":"], ["o", "s", "^", "D", "v"], ["", "////", "xxxx", "...."]
WAIT = 1.0  # seconds between two looks at a log

Log = Sequence[Mapping[str, Any]]


def read_log(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of `log.jsonl` of a training's folder so far; the last may still be in the writing and is left out."""
    path = Path(folder) / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]


def column(log: Log, name: str) -> tuple[list[int], list[Any]]:
    """Steps and values of the lines that have `name`."""
    rows = [line for line in log if name in line]
    return [line["step"] for line in rows], [line[name] for line in rows]


def health(log: Log, vocab: int) -> dict[str, tuple[list[int], np.ndarray]]:
    """What a tokenizer's log says of its codebook: {"perplexity", "used", "dead": (steps, values (steps, K))}.

    Raises ValueError for a log without codebook health, such as a transformer's.
    """
    steps, used = column(log, "codes_used_per_scale")
    if not steps:
        raise ValueError("log: no line has codes_used_per_scale; codebook health is in the logs of tokenizers")
    used_SK = np.array(used)
    perplexity = column(log, "perplexity_per_scale")
    return {
        "perplexity": (perplexity[0], np.array(perplexity[1])),
        "used": (steps, used_SK),
        "dead": (steps, vocab - used_SK),
    }


def codebook(log: Log, scales: Scales, vocab: int) -> dict[str, tuple[list[int], np.ndarray]]:
    """Perplexity, codes used and dead codes of each scale over the steps of a tokenizer's log; returns `health`.

    The grey line is what the whole book has, the black one what any scale uses: a code that no scale uses is lost.
    """
    data = health(log, vocab)
    steps, share = column(log, "codes_used")
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), dpi=85)
    for axis, (name, (at, values_SK)) in zip(axes, data.items(), strict=True):
        lines_by_scale(axis, at, values_SK, scales)
        axis.set(xlabel="step", title={"used": "codes used", "dead": "dead codes"}.get(name, name))
        axis.title.set_fontsize(10)
    axes[0].set(yscale="log", ylim=(0.9, 1.15 * vocab))
    used = [round(x * vocab) for x in share]
    axes[1].plot(steps, used, color="black", linewidth=1.5, label="any")
    axes[2].plot(steps, [vocab - n for n in used], color="black", linewidth=1.5, label="at all scales")
    for axis in axes:
        axis.axhline(vocab, color="gray", linestyle=":", linewidth=1)
    for axis in axes[1:]:
        axis.set_ylim(0, 1.05 * vocab)
    handles, names = axes[1].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncol=len(names), frameon=False)
    sns.despine(figure)
    figure.tight_layout()
    return data


def lines_by_scale(axis, steps: Sequence[int], values_SK: np.ndarray, scales: Scales) -> None:
    """A line a scale, told apart without colour too; a marker where there is room for it."""
    many = len(steps) > 25
    for k, (name, colour) in enumerate(zip(scale_names(scales), scale_colours(scales.K), strict=True)):
        marker = None if many else MARKERS[k % 5]
        axis.plot(steps, values_SK[:, k], DASHES[k % 4], color=colour, marker=marker, markersize=4, label=name)


def draw_losses(figure: Figure, logs: Mapping[str, Log], names: Sequence[str]) -> dict[str, dict[str, tuple]]:
    data: dict[str, dict[str, tuple]] = {name: {} for name in names}
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    palette = sns.color_palette("colorblind", len(logs))
    for axis, name in zip(axes, names, strict=True):
        for i, (run, log) in enumerate(logs.items()):
            data[name][run] = column(log, name)
            few = len(data[name][run][0]) < 25
            axis.plot(*data[name][run], DASHES[i % 4], color=palette[i], label=run, marker="o" if few else None, ms=4)
        axis.set(xlabel="step", title=name)
        axis.title.set_fontsize(10)
        seen = [x for _, values in data[name].values() for x in values]
        if seen and max(seen) > 5 * min(seen) > 0:
            axis.set_yscale("log")
    if len(logs) > 1:
        axes[0].legend(fontsize=8, frameon=False)
    sns.despine(figure)
    figure.tight_layout()
    return data


def losses(logs: Mapping[str, Log] | Log, names: Sequence[str] = ("loss",)) -> dict[str, dict[str, tuple]]:
    """Entries of one log, or of several by name, over the steps: {entry: {name: (steps, values)}}.

    Entries that a log has on some lines only, such as `val_loss`, are drawn where they are.
    """
    logs = logs if isinstance(logs, Mapping) else {"": logs}
    return draw_losses(plt.figure(figsize=(3.4 * len(names) + 1, 2.8), dpi=100), logs, names)


def picture(log: Log) -> bytes:
    """A PNG of what is worth watching in a log so far: the loss and, of a tokenizer, the perplexity of each scale."""
    figure = Figure(figsize=(8, 2.8), dpi=70)  # not pyplot's: a thread may draw it
    left, right = figure.subplots(1, 2)
    left.plot(*column(log, "loss"), "o-", color="black", markersize=4)
    left.set(xlabel="step", ylabel="loss")
    name = next((n for n in ("perplexity_per_scale", "grad_norm") if any(n in line for line in log)), None)
    if name is not None:
        steps, values = column(log, name)
        colours = scale_colours(len(values[0])) if isinstance(values[0], list) else ["black"]
        right.set_prop_cycle(color=colours)
        right.plot(steps, values, "o-", markersize=4)
        right.set(xlabel="step", ylabel=name.replace("_", " "))
    else:
        right.set_axis_off()
    sns.despine(figure)
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def hushed() -> contextlib.AbstractContextManager:
    """Keeps progress bars, which are for terminals, off the page."""
    return contextlib.redirect_stderr(io.StringIO())


@contextlib.contextmanager
def watch(folder: str | Path, screen: Image) -> Iterator[None]:
    """While the block trains in `folder`, in this process or another, `screen` shows the curves of its log.

    The log is the interface: whatever writes it can be watched. Progress bars are kept off the page.
    """
    done = threading.Event()

    def look() -> None:
        shown, ended = -1, False
        while not ended:
            ended = done.wait(WAIT)
            if len(log := read_log(folder)) != shown:
                screen.value, shown = picture(log), len(log)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        with hushed():
            yield
    finally:
        done.set()
        thread.join()


def run(*words: str | Path) -> None:
    """`varlite WORDS` as on the command line. Raises RuntimeError with what it complained of."""
    done = subprocess.run([sys.executable, "-m", "varlite", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"varlite {words[0]}: {done.stderr.strip().splitlines()[-1]}")


def smooth(values_SK: np.ndarray, over: int) -> np.ndarray:
    """Means over the last `over` rows, fewer at the start."""
    sums = np.cumsum(values_SK, 0)
    sums[over:] = sums[over:] - sums[:-over]
    return sums / np.minimum(np.arange(1, len(sums) + 1), over)[:, None]


def by_scale(
    values_SK: Sequence[Sequence[float]] | np.ndarray,
    scales: Scales,
    ylabel: str,
    levels_K: Sequence[float] | None = None,
    limit: float | None = None,
    mark: tuple[int, str] | None = None,
    over: int = 1,
) -> np.ndarray:
    """A line a scale over the steps, averaged over the last `over`; returns them.

    levels_K: a short dash at the right for each scale, what its line should be compared with. limit: a dotted line.
    mark: a step, and what happened there.
    """
    values_SK = smooth(np.asarray(values_SK, float), over)
    figure, axis = plt.subplots(figsize=(6, 3.2), dpi=100)
    steps = list(range(1, len(values_SK) + 1))
    lines_by_scale(axis, steps, values_SK, scales)
    if levels_K is not None:
        right = (1.02 * len(values_SK), 1.1 * len(values_SK))
        for level, colour in zip(levels_K, scale_colours(scales.K), strict=True):
            axis.plot(right, (level, level), color=colour, linewidth=3)
    if limit is not None:
        axis.axhline(limit, color="gray", linestyle=":", linewidth=1.5)
    if mark is not None:
        axis.axvline(mark[0], color="black", linewidth=1)
        axis.annotate(mark[1], (mark[0], 0.85), xycoords=("data", "axes fraction"), xytext=(4, 0),
                      textcoords="offset points", fontsize=9)  # fmt: skip
    axis.set(xlabel="step", ylabel=ylabel)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    return values_SK


def bars(
    rows: Mapping[str, Sequence[float]], scales: Scales, ylabel: str, limit: float | None = None, limit_name: str = ""
) -> dict[str, list[float]]:
    """For each scale a group of bars, one a name; `limit` is a dashed line. Returns {name: values}."""
    figure, axis = plt.subplots(figsize=(6, 2.9), dpi=100)
    width, colours = 0.8 / len(rows), scale_colours(scales.K)
    for i, (name, values_K) in enumerate(rows.items()):
        x = np.arange(scales.K) + (i - (len(rows) - 1) / 2) * width
        fill = [sns.desaturate(colour, 1 - 0.35 * i) for colour in colours]
        axis.bar(x, values_K, width, color=fill, alpha=1 - 0.3 * i, hatch=HATCHES[i % 4], edgecolor="white", label=name)
    if limit is not None:
        axis.axhline(limit, color="gray", linestyle="--", linewidth=1, label=limit_name)
    axis.set_xticks(range(scales.K), scale_names(scales))
    axis.set(xlabel="scale", ylabel=ylabel)
    if len(rows) > 1 or limit is not None:
        axis.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncol=3)
    sns.despine(figure)
    return {name: list(values_K) for name, values_K in rows.items()}


def code_map(panels: Mapping[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> dict[str, np.ndarray]:
    """Codes among what is asked for, a panel a name: (asked_XZ, codes_VZ, used_V), used_V True where a code is chosen.

    The plane is that of the two main directions of what is asked for. Returns the codes' places {name: (V, 2)}.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.3 * len(panels), 3.1), dpi=100, squeeze=False)
    places = {}
    for axis, (name, (asked_XZ, codes_VZ, used_V)) in zip(axes[0], panels.items(), strict=True):
        mean_Z = asked_XZ.mean(0)
        plane_Z2 = torch.linalg.svd(asked_XZ - mean_Z, full_matrices=False).Vh[:2].T
        cloud, places[name] = (((x - mean_Z) @ plane_Z2).numpy() for x in (asked_XZ, codes_VZ))
        used = used_V.numpy()
        axis.scatter(*cloud[:: max(1, len(cloud) // 1000)].T, s=4, color="#bbbbbb", linewidths=0, label="asked for")
        axis.scatter(
            *places[name][~used].T, s=14, marker="x", color="#0173b2", linewidths=0.8, zorder=3, label="code, dead"
        )
        axis.scatter(
            *places[name][used].T, s=16, color="#de8f05", edgecolor="black", linewidths=0.4, label="code, used"
        )
        axis.set(xticks=[], yticks=[], title=name)
        axis.title.set_fontsize(10)
        low, high = np.quantile(cloud, [0.005, 0.995], axis=0)
        margin = 0.25 * (high - low)
        axis.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncol=3, frameon=False)
    figure.tight_layout()
    return places


def ablation(result: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What `varlite reproduce codebook` measured: perplexity of each scale over the steps by remedy, and errors.

    Takes the contents of data/results/codebook.json; returns the perplexities {arm: (steps, K)}.
    """
    scales, vocab, arms = Scales.of(result["config"]["scales"]), result["config"]["vocab"], result["arms"]
    columns = -(-(len(arms) + 1) // 2)
    figure, axes = plt.subplots(2, columns, figsize=(2.5 * columns, 4.8), dpi=75)
    data = {}
    for axis, (name, arm) in zip(axes.flat, arms.items(), strict=False):
        data[name] = np.array([line["perplexity_per_scale"] for line in arm["curve"]])
        lines_by_scale(axis, [line["step"] for line in arm["curve"]], data[name], scales)
        axis.axhline(vocab, color="gray", linestyle=":", linewidth=1)
        axis.set(yscale="log", ylim=(0.9, 1.3 * vocab))
        axis.set_title(f"{name}\n{arm['curve'][-1]['codes_used']:.0%} of codes used", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("perplexity")
    for axis in axes.flat[len(arms) - columns : len(arms)]:
        axis.set_xlabel("step")
    last = axes.flat[len(arms)]
    errors = [arm["val_mse"] for arm in arms.values()]
    last.barh(range(len(arms)), errors, color="#dddddd")
    for i, (name, error) in enumerate(zip(arms, errors, strict=True)):
        last.text(0.02 * max(errors), i, f"{name}  {error:.4f}", va="center", fontsize=8)
    last.invert_yaxis()
    last.set(yticks=[], xticks=[])
    last.set_title("error on held-out\npictures at the end", fontsize=9)
    for axis in axes.flat[len(arms) + 1 :]:
        axis.set_axis_off()
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", bbox_to_anchor=(0.5, 1), ncol=scales.K, frameon=False)
    sns.despine(figure)
    figure.tight_layout()
    return data


def training_flops(config: VARConfig, recipe: TransformerRecipe) -> float:
    """Operations of a whole training, an estimate from shapes: 6 for each weight that a token meets, and attention.

    Forward a weight costs a token one multiplication and one addition, backward twice that. A token meets the matrices
    of attention and feed-forward, 12 C^2 a block at the usual ratio, and the head; the AdaLN's are met once an image.
    """
    C, L = config.width, Scales.of(config.scales).total
    block = (4 + 2 * config.ffn_ratio) * C * C
    weights = config.depth * block + C * (config.z + config.vocab)
    once = 0 if config.shared_adaln else config.depth * 6 * C * C
    attention = config.depth * 2 * L * C  # q k^T and attention x v, of one token
    image = 6 * (L * (weights + attention) + once)
    return image * recipe.batch * recipe.steps
