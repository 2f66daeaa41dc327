"""The ablation of VAR's table 3 at small scale: from raster order to next-scale, adding one thing at a time.

The models are those of `varlite reproduce sweep`, or what ships where it was trained alike. Blocks, images, order of
the data and learning rate are equal. They differ in what a row names and in what comes with it: AdaLN adds 49 % to the
parameters, and raster order has a tokenizer of one scale. A row of a single training has no range, and its difference
to others is one run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.empty import parameters
from varlite.checkpoints.load import load, weights_file
from varlite.evaluation.judges.verdict import Report, voters_of
from varlite.evaluation.judging import PANEL
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.experiments.bands import SCORES, mean_and_range, open_record
from varlite.experiments.scaling_laws import flops
from varlite.experiments.sweep import ships
from varlite.io.files import sha256, write_json
from varlite.io.provenance import command, machine
from varlite.speed.timing import seconds_per_image

# The papers keep 900 of 4,096 codes; of 512 that is 112.
ALL = {"cfg": 0.0, "top_k": 0, "top_p": 0.0}
TOP_K = {"cfg": 0.0, "top_k": 112, "top_p": 0.0}
GUIDED = {"cfg": 1.5, "top_k": 112, "top_p": 0.0}


@dataclass(frozen=True)
class Arm:
    """One row of the table: its number there, what it adds, and the run and settings that are measured."""

    row: int
    step: str
    run: str
    settings: dict[str, Any]


ROWS = [
    Arm(1, "AR: raster scan", "fashion-raster-d4-plain", ALL),
    Arm(2, "next-scale", "fashion-var-d4-plain", ALL),
    Arm(3, "+ AdaLN", "fashion-var-d4-unnormed", ALL),
    Arm(4, "+ top-k", "fashion-var-d4-unnormed", TOP_K),
    Arm(5, "+ guidance", "fashion-var-d4-unnormed", GUIDED),
    Arm(6, "+ attention normalisation", "fashion-var-d4", GUIDED),
    Arm(7, "+ scale up", "fashion-var-d5", GUIDED),
]
# Not in the paper: the raster model with everything that VAR has, and M-VAR.
BESIDE = [
    Arm(8, "raster scan with all of it", "fashion-raster-d4", GUIDED),
    Arm(9, "M-VAR", "fashion-mvar-d4", GUIDED),
]

# The row that each is held against: the one before it, and for those that are not in the paper all that VAR has.
AGAINST = {**{row: row - 1 for row in range(2, 8)}, 8: 6, 9: 6}


def reproduce_ablation(
    out: Path, runs: Path, num: int = 10_000, seed: int = 0, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Measure every row, once for each training seed in `runs`; written to `out`/ablation.json.

    Scores of all training seeds of a row are under "runs"; time, FLOPs and parameters are those of the first. Finished
    measurements are kept. Raises FileNotFoundError, before anything is measured, for a run that is not trained.
    """
    of_row = {row.row: sources(runs, row.run) for row in ROWS + BESIDE}
    path = out / "ablation.json"
    record = open_record(path, {"num": num, "seed": seed}, {"scores": {}})
    for row in ROWS + BESIDE:
        done = record["scores"].setdefault(str(row.row), {})
        for training_seed, source in of_row[row.row].items():
            checksum = sha256(weights_file(source))
            if done.get(training_seed, {}).get("weights_sha256") == checksum and PANEL in done[training_seed]:
                continue
            request = Request(source, metrics=(*SCORES, PANEL), num=num, seed=seed, **row.settings)
            result = evaluate(request, None, device)
            done[training_seed] = {name: result["scores"][name] for name in SCORES} | {"weights_sha256": checksum}
            done[training_seed] |= {PANEL: result[PANEL]}
            write_json(path, record)
    record["rows"] = table_rows(record["scores"], {row: found["0"] for row, found in of_row.items()}, device)
    record |= {"command": command("reproduce ablation", num=num), "machine": machine()}
    write_json(path, record)
    return record


def sources(runs: Path, name: str) -> dict[str, str]:
    """{training seed: what `load` takes} of one model. Raises FileNotFoundError where the first is neither trained in
    `runs` nor ships."""
    found = {"0": runs / name} | {path.name.partition("@")[2]: path for path in sorted(runs.glob(f"{name}@*"))}
    finished = {seed: str(path) for seed, path in found.items() if (path / "model.safetensors").exists()}
    if "0" not in finished and not ships(name):
        raise FileNotFoundError(f"{found['0']} holds no finished training: `varlite reproduce sweep` trains them all")
    return {"0": name} | finished


def table_rows(
    scores: dict[str, dict[str, dict[str, Any]]], first: dict[int, str], device: str | torch.device
) -> list[dict[str, Any]]:
    """The table: what each row is, what it costs, and mean and range of its scores over training seeds."""
    loaded = {row: load(source, device=device) for row, source in first.items()}
    rows = ROWS + BESIDE
    seconds = seconds_per_image([(*loaded[row.row], row.settings) for row in rows])
    table = []
    for row, time in zip(rows, seconds, strict=True):
        model, runs = loaded[row.row][0], scores[str(row.row)]
        mean, band = mean_and_range({seed: {name: run[name] for name in SCORES} for seed, run in runs.items()})
        table.append(
            {"row": row.row, "step": row.step, "model": row.run, "settings": row.settings}
            | {"parameters": parameters(model), "gflop_per_image": round(flops(model.config, "sampling") / 1e9, 4)}
            | {"seconds_per_image": time, "relative_cost": round(time / seconds[0], 3)}
            | {"runs": runs, "mean": mean, "band": band}
        )
    return table


def agreement(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """What judges that had no part in any choice say of two rows, over all trainings of both.

    Returns {"nearer": those that find every training of `now` nearer to real pictures than every one of `before`,
    "farther": the reverse, "cannot tell": the others}.
    """
    sides = [{seed: Report.read(run[PANEL], row["step"]) for seed, run in row["runs"].items()} for row in (before, now)]
    found: dict[str, list[str]] = {"nearer": [], "farther": [], "cannot tell": []}
    for judge in voters_of({f"{i}@{seed}": one for i, side in enumerate(sides) for seed, one in side.items()}):
        was, are = ([report.scores[judge].away().value for report in side.values()] for side in sides)
        says = "nearer" if max(are) < min(was) else "farther" if max(was) < min(are) else "cannot tell"
        found[says].append(judge)
    return found


def report(record: dict[str, Any]) -> None:
    """Print a line for each row, with the range over training seeds and, if both have several, what the judges say of
    it and the row that it is held against."""
    rows = {row["row"]: row for row in record["rows"]}
    for row in record["rows"]:
        low, high = row["band"]["fd"]
        seeds = f"{low:.3f} to {high:.3f}, {len(row['runs'])} training seeds" if low < high else "one training seed"
        print(f"{row['step']:28s} fd {row['mean']['fd']:.3f} ({seeds}) accuracy {row['mean']['accuracy']:.1%}")
        before = rows.get(AGAINST.get(row["row"]))
        if before and min(len(before["runs"]), len(row["runs"])) > 1:
            found = agreement(before, row)
            counts = ", ".join(f"{len(judges)} {says}" for says, judges in found.items())
            print(f"{'':28s} other judges, against {before['step']}: {counts}")
