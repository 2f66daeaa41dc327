"""The panel of judges in `varlite evaluate`: which images it can score, how it is asked, how its answers are shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.load import load_tokenizer
from varlite.evaluation.feature_store import Rows
from varlite.evaluation.judges.interface import Pictures
from varlite.evaluation.judges.intervals import shuffled
from varlite.evaluation.judges.jury import open_panel
from varlite.evaluation.judges.verdict import Report, summary_line, verdict, verdict_line
from varlite.io.records import read_object

PANEL = "panel"  # its name among the metrics
REFERENCE = "fashion"  # whose test set it compares with
SIZE = (28, 28)
LEAST, MOST = 20, 10_000  # images: fewer have no intervals; of more it looks at so many, drawn at random


def cannot(images: Any, reference: str) -> str | None:
    """Why the panel cannot score these images; None if it can."""
    if reference != REFERENCE:
        return f"its judges compare with the reference {REFERENCE}"
    if tuple(images.size) != SIZE:
        return f"its judges look at images of {SIZE[0]} x {SIZE[1]}"
    if len(images) < LEAST:
        return f"it takes at least {LEAST} images, and there are {len(images)}"
    return None


def kept_arrays(tokens: int) -> dict[str, Any]:
    """What is kept of samples until the panel is asked: the images, and the tokens drawn, -1 where there are none."""
    return {"img": ((1, *SIZE), "uint8"), "drawn": ((tokens,), "int32")}


def keep(images: Any, img_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
    """The blocks of a batch for `kept_arrays`."""
    L, drawn_BL = images.tokenizer.scales.total, images.watch.tokens(images.tokenizer)
    return {"img": img_BCHW, "drawn": torch.full((len(img_BCHW), L), -1) if drawn_BL is None else drawn_BL}


def ask_panel(images: Any, kept: Mapping[str, Rows]) -> Report:
    """The panel's report on images, of samples with what was kept of them. `MOST` bounds what it holds in memory."""
    num = min(len(images), MOST)
    # Not every so-manieth: samples go through the classes in turn, and a step would leave some of them out.
    rows = shuffled(len(images))[:num].sort().values
    own = getattr(images, "tokenizer", None)
    tokenizer = load_tokenizer("fashion-vq") if own is None else own
    panel = open_panel(tokenizer, num)
    labels = None if images.labels is None else images.labels[rows]
    samples = Pictures(kept["img"][rows] if kept else read(images, rows), labels, panel.views)
    if kept and (drawn_NL := kept["drawn"][rows]).min() >= 0:
        samples.once("drawn", lambda: drawn_NL)
    return panel.ask(samples)


def read(images: Any, rows: torch.Tensor) -> torch.Tensor:
    """The images of the given numbers, which rise, read a few at a time."""
    parts = [images.batch(slice(int(part[0]), int(part[-1]) + 1))[part - part[0]] for part in rows.split(100)]
    return torch.cat(parts)


def read_reports(paths: Sequence[Path], num: int) -> dict[str, Report]:
    """Reports by the names of files that `varlite evaluate --out` wrote.

    Raises ValueError for a file without the panel, of another number of images, or for two files of one name.
    """
    reports: dict[str, Report] = {}
    for path in paths:
        record = read_object(path)
        if PANEL not in record:
            raise ValueError(f"against: {path} holds no scores of the panel: write it with varlite evaluate --out")
        if path.stem in reports:
            raise ValueError(f"against: two files are called {path.stem}")
        reports[path.stem] = report = Report.read(record[PANEL], path)
        if report.num != min(num, MOST):
            raise ValueError(f"against: {path} is of {report.num} images, and {min(num, MOST)} are to be scored")
    return reports


def judge_against(mine: Report, others: Mapping[str, Report]) -> dict[str, Any]:
    """The verdict between this set and others, for the record."""
    sets = {"this": mine} | dict(others)
    places = [{"name": p.name, "rank": p.rank, "judge": p.judge, "away": p.away.value} for p in verdict(sets)]
    return {"line": verdict_line(sets), "places": places}


def table(report: Report) -> list[str]:
    """Lines that show what every judge said: value, interval, floor, and how far that is from real pictures."""
    lines = [f"{'judge':20s} {'value':>9s}  {'95 % interval':23s} {'real':>9s}  away"]
    for name, score in report.scores.items():
        interval = f"{score.low:.4g} .. {score.high:.4g}"
        chosen = "  had a part in choices" * (name in report.chosen_with)
        value, floor, away = score.value, score.floor, score.away().value
        lines.append(f"{name:20s} {value:9.4g}  {interval:23s} {floor:9.4g}  {away:.1f}{chosen}")
    lines += [f"left out: {why}" for why in report.left_out.values()]
    return [*lines, f"summary: {summary_line(report)}"]
