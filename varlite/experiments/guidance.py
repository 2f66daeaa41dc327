"""What guidance and top-k do to the scores of one model: `varlite reproduce guidance`, for data/results/guidance.json.

Two sweeps with the panel, on the whole test set; and the choice of guidance and top-p on one half of it (tuning.py).
Every finished measurement is written at once; the same command again measures what is missing.
"""

from pathlib import Path
from typing import Any

import torch

from varlite.evaluation.feature_store import Processes
from varlite.evaluation.judging import PANEL
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.experiments.bands import SCORES, about, open_record
from varlite.experiments.tuning import lines, tune
from varlite.io.files import write_json
from varlite.io.places import RESULTS
from varlite.io.provenance import command, machine, versions
from varlite.io.records import read_object

BY_CFG = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
BY_TOP_K = (0, 1, 10, 50, 100, 256)  # 0 keeps all 512


def load_guidance(folder: Path = RESULTS) -> dict[str, Any] | None:
    """The record of `reproduce_guidance` in a folder; None where there is none."""
    path = folder / "guidance.json"
    return read_object(path) if path.exists() else None


def reproduce_guidance(
    out: Path, num: int = 2000, model: str = "fashion-var-d4", device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Score a model over guidance at the papers' top-p, and over top-k without it, and choose guidance and top-p by
    several judges; written to `out`/guidance.json."""
    path = out / "guidance.json"
    record = open_record(path, about(model, num) | {"model": model, "seed": 0}, {"cfg": [], "top_k": []})
    sweeps: dict[str, list[dict[str, Any]]] = {
        "cfg": [{"cfg": cfg, "top_k": 0, "top_p": 0.96} for cfg in BY_CFG],
        "top_k": [{"cfg": 1.5, "top_k": top_k, "top_p": 0.0} for top_k in BY_TOP_K],
    }

    def keep() -> None:
        about = {"command": command("reproduce guidance", num=num), "machine": machine()}
        record.update(about | {"versions": versions("torch_fidelity")})
        write_json(path, record)

    for name, rows in sweeps.items():
        for settings in rows[len(record[name]) :]:
            result = evaluate(Request(model, metrics=(*SCORES, PANEL), num=num, **settings), None, device)
            if not result:
                continue
            scores = {score: result["scores"][score] for score in SCORES}
            record[name].append(settings | scores | {PANEL: result[PANEL]})
            keep()
    if Processes(torch.device(device)).main:
        tune(model, num, record.setdefault("tuning", {}), keep)
    return record


def report(record: dict[str, Any]) -> None:
    """Print a line for each setting."""
    for row in [*record["cfg"], *record["top_k"]]:
        shown = "  ".join(f"{name} {row[name]:.3f}" for name in SCORES)
        print(f"cfg {row['cfg']:<4g} top-k {row['top_k']:<4d} top-p {row['top_p']:<5g} {shown}")
    print(f"each of {record['num']} samples, one sampling seed")
    if "tuning" in record:
        print("\n".join(lines(record["tuning"])))
