"""Guidance and top-p chosen by several judges together, on pictures that the test does not see.

There is no held-out part of the training set: tokenizer, models and both classifiers were trained on all of it, so a
model that repeats it would win. Instead the test set is cut in two, `VALIDATION` and `TEST`, and no network has seen
either. Every setting of the grid is scored against the first half by the judges `TUNED_BY`; the verdict between the
settings chooses. The chosen one, and today's default, are then drawn anew with another seed and scored against the
second half by all judges; those by which it was chosen, or that look through the same networks, have no vote there.

`best_by` says which setting each judge would have chosen alone. They do not agree, and no rule can please them all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from varlite.checkpoints.load import load
from varlite.evaluation.drawn_sets import draw_set
from varlite.evaluation.judges.jury import Panel, open_panel
from varlite.evaluation.judges.verdict import CHOSEN_WITH, Report, verdict, verdict_line
from varlite.evaluation.rejection import NO_VOTE
from varlite.evaluation.request import Request

VALIDATION, TEST = torch.arange(0, 10_000, 2), torch.arange(1, 10_000, 2)  # rows of the test set
CFG, TOP_P = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0), (0.0, 0.96, 0.9, 0.8)  # top-p 0 keeps all
TUNED_BY = (
    "fd_first", "fd_second", "tokens", "token_pairs", "drawn_tokens", "drawn_pairs", "sw_pixels", "sw_patches",
)  # fmt: skip
HAD_A_PART = CHOSEN_WITH | NO_VOTE["fashion-judge"] | set(TUNED_BY)
SEEDS = {"validation": 0, "test": 1}


def named(settings: Mapping[str, float]) -> str:
    return f"cfg {settings['cfg']:g}, top-p {settings['top_p']:g}"


def tune(
    name: str, num: int, found: dict[str, Any], keep: Callable[[], None], grid: Sequence[Mapping[str, float]] = (),
    least: Panel | None = None, all_judges: Panel | None = None,
) -> None:  # fmt: skip
    """Fill `found` with rows of the grid, the choice and its test; `keep` is called after every measurement.

    num: samples for each setting. What `found` holds already is not measured again. grid, and the panels before the two
    halves, are for tests.
    """
    model, tokenizer = load(name)
    grid = grid or [{"cfg": cfg, "top_p": top_p} for cfg in CFG for top_p in TOP_P]
    done = found.setdefault("validation", {})
    if any(named(settings) not in done for settings in grid):
        panel = least or before_half(tokenizer, num)
        for settings in grid:
            if named(settings) not in done:
                samples, _ = draw_set(model, tokenizer, panel.views, num, SEEDS["validation"], **settings)
                done[named(settings)] = {**settings, "panel": panel.ask(samples, ()).record()}
                keep()
    reports = {key: Report.read(row["panel"], key) for key, row in done.items()}
    chosen = verdict(reports)[0].name
    found["best_by"] = {judge: best(reports, judge) for judge in next(iter(reports.values())).scores}
    default = Request().settings
    tested = {"default": {key: default[key] for key in ("cfg", "top_p")}, "chosen": settings_of(done[chosen])}
    if found.get("chosen") != tested["chosen"] or "test" not in found:
        panel = all_judges or open_panel(tokenizer, num, rows=TEST)
        found["test"] = {}
        for key, settings in tested.items():
            samples, _ = draw_set(model, tokenizer, panel.views, num, SEEDS["test"], **settings)
            found["test"][key] = {**settings, "panel": panel.ask(samples, HAD_A_PART).record()}
        found["chosen"] = tested["chosen"]
    both = {key: Report.read(row["panel"], key) for key, row in found["test"].items()}
    found["verdict"] = verdict_line(both)
    keep()


def before_half(tokenizer: Any, num: int) -> Panel:
    """The judges that choose, before the validation half."""
    panel = open_panel(tokenizer, num, imagenet=False, rows=VALIDATION)
    panel.judges = [judge for judge in panel.judges if judge.name in TUNED_BY]
    return panel


def settings_of(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: row[key] for key in ("cfg", "top_p")}


def best(reports: Mapping[str, Report], judge: str) -> str:
    """The setting that is nearest to real pictures by one judge."""
    return min(reports, key=lambda key: reports[key].scores[judge].away().value)


def lines(found: Mapping[str, Any]) -> list[str]:
    """What was chosen, what each judge would have chosen alone, and the test."""
    places = verdict({key: Report.read(row["panel"], key) for key, row in found["validation"].items()})
    shown = [f"{p.name:22s} rank {p.rank:<5g} worst {p.away.value:5.1f} ({p.judge})" for p in places]
    shown += [f"{judge} alone would choose {setting}" for judge, setting in found["best_by"].items()]
    return [*shown, f"chosen: {named(found['chosen'])}", f"on the other half: {found['verdict']}"]
