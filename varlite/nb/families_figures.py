"""Figures and tables of notebook 12: families of generators side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from varlite.checkpoints.load import load
from varlite.experiments.table1 import ranks_of
from varlite.nb import plots
from varlite.sampling import generate
from varlite.tokenizer import VQVAE

SHOWN = (1, 2, 4, 6, 7, 8)  # passes of MaskGIT
SOLVERS = {"euler": (3, 7, 15), "heun": (2, 4, 8)}  # steps, of equal cost


def table(record: Mapping[str, Any]) -> list[str]:
    """Lines of `reproduce table1`: a row for each family, means over its trainings; of FD also their range."""
    heads = "".join(f" {head:>6s}" for head in ("acc.", "prec.", "recall", "ms", "alone"))
    lines = [f"{'':41s}  weights  runs {'FD (range)':>20s}{heads}"]
    for row in record["families"].values():
        scores, (low, high) = row["mean"], row["band"]["fd"]
        fd = f"{scores['fd']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(
            f"{row['name']:41s} {row['parameters'] / 1e6:6.2f} M {row['evaluations']:5d} {fd:>20s} "
            f"{scores['accuracy']:6.1%} {scores['precision']:6.2f} {scores['recall']:6.2f} "
            f"{1000 * row['seconds_per_image']:6.1f} {1000 * row['seconds_alone']:6.0f}"
        )
    return lines


def places(record: Mapping[str, Any]) -> list[str]:
    """Lines of the panel's order: the ranks of the trainings, family, how far the worst judge finds the first one, and
    which judge that is."""
    names = {preset: row["name"] for preset, row in record["families"].items()}
    return [
        f"{', '.join(f'{rank:g}' for rank in ranks_of(record, place['family'])):14s} {names[place['family']]:41s} "
        f"{place['away']:6.1f} by {place['judge']}"
        for place in record["places"]["0"]
    ]


def by_judge(record: Mapping[str, Any], unknown: str = "-") -> list[str]:
    """Lines of how far from real pictures each judge finds each family, a mean over its trainings; some draw no tokens
    to judge."""
    rows = record["families"]
    names = [preset.removeprefix("fashion-").replace("-d4", "").replace("mvar-narrow", "narrow") for preset in rows]
    lines = [f"{'':18s}" + "".join(f"{name:>9s}" for name in names)]
    panels = {preset: [one["panel"]["scores"] for one in row["trainings"].values()] for preset, row in rows.items()}
    for judge in next(iter(panels.values()))[0]:
        cells = [[scores[judge]["away"] for scores in found if judge in scores] for found in panels.values()]
        shown = (format(sum(away) / len(away), ".1f") if away else unknown for away in cells)
        lines.append(f"{judge:18s}" + "".join(f"{cell:>9s}" for cell in shown))
    return lines


def quality_against_time(record: Mapping[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """A curve for each family over its dial, in the dial's order: {name: (milliseconds an image, FD)}.

    Those whose dial is guidance are in a panel of their own. Euler's method has a curve beside Heun's.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    panels: dict[str, dict[str, list[str]]] = {"guidance (cfg)": {}, "scales, passes, steps": {}}
    for row in record["families"].values():
        # The row itself has more samples, and FD falls with their number, so that only points of the dial compare.
        for point in row["dial"]:
            title, name, value = read_dial(row["name"], point["settings"])
            times, distances = curves.setdefault(name, ([], []))
            times.append(1000 * point["seconds_per_image"])
            distances.append(point["scores"]["fd"])
            panels[title].setdefault(name, []).append(value)
    axes = plots.panels(2, 4.8, 3.6, sharey=True)
    for axis, (title, named) in zip(axes, panels.items(), strict=True):
        plots.draw_lines(axis, {name: curves[name] for name in named})
        for name, values in named.items():
            for value, time, fd in zip(values, *curves[name], strict=True):
                axis.annotate(value, (time, fd), (3, 3), textcoords="offset points", fontsize=7)
        axis.set(title=title, xlabel="milliseconds an image, batches of 64", xscale="log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        plots.legend(axis, loc="lower left", fontsize=7)
    axes[0].set(ylabel="FD", ylim=(0, 1.05 * max(fd for _, distances in curves.values() for fd in distances)))
    return curves


def read_dial(name: str, settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """Panel, curve and value of a point of the dial."""
    if "cfg" in settings:
        return "guidance (cfg)", name, f"{settings['cfg']:g}"
    dials = dict(dial.split("=") for dial in settings["dials"])
    euler = ", Euler's method" * ("solver" in dials)
    return "scales, passes, steps", name + euler, dials.get("steps") or str(len(dials["sides"].split(",")))


@torch.no_grad()
def filling_in(
    tokenizer: VQVAE, maps: Sequence[torch.Tensor], kept: Sequence[torch.Tensor], shown: Sequence[int] = SHOWN
) -> list[float]:
    """Pictures after some passes of MaskGIT, grey where no token is kept yet; returns the share that is.

    maps, kept: tokens (B, l) after each pass, and booleans of those that stay.
    """
    h, w = tokenizer.scales.last
    H, W = tokenizer.image_size()
    columns = []
    for t in shown:
        img_B1HW = (tokenizer.decode([maps[t - 1]]) + 1) / 2
        seen = kept[t - 1].view(-1, 1, h, w).repeat_interleave(H // h, 2).repeat_interleave(W // w, 3)
        columns.append(torch.where(seen, img_B1HW, 0.5))
    plots.image_grid(list(torch.stack(columns, 1)), (), [f"pass {t}" for t in shown])
    return [kept[t - 1].float().mean().item() for t in shown]


def solvers(tokenizer: VQVAE, label_B: torch.Tensor, seed_B: torch.Tensor) -> dict[str, torch.Tensor]:
    """Samples of fashion-dit-d4 from the same noise by Euler's and Heun's method, at about equal cost."""
    found = {}
    for solver, counts in SOLVERS.items():
        for steps in counts:
            model, _ = load("fashion-dit-d4", dials=(f"solver={solver}", f"steps={steps}"))
            name = f"{solver}, {steps} steps: {model.evaluations(model.config)} runs"
            found[name] = generate(model, tokenizer, label_B, seeds=seed_B)
    plots.image_grid({name: list(images) for name, images in found.items()})
    return found
