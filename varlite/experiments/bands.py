"""The numbers that `data/results/` holds for the small models, measured again: `varlite reproduce`.

fashion     every model that ships: scores over seeds in MODEL.json, compared with the band that ships
ablation    VAR's table 3 at small scale, in ablation.json (ablation.py)
guidance    fashion-var-d4 over guidance and over top-k, in guidance.json

Every finished measurement is written at once; the same command again measures what is missing.
"""

import json
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.empty import parameters
from varlite.checkpoints.load import load, load_tokenizer, shipped
from varlite.evaluation.feature_store import Processes
from varlite.evaluation.scoring import Request, evaluate
from varlite.evaluation.small_models import score_tokenizer
from varlite.io.files import read_model, sha256, write_json
from varlite.io.places import CHECKPOINTS, RESULTS
from varlite.io.provenance import command, machine, versions
from varlite.presets import MODELS, TOKENIZERS
from varlite.speed.timing import seconds_per_image
from varlite.training.run import differences

SCORES = ("accuracy", "fd", "precision", "recall", "recall_within_class")
TIME = "seconds_per_image"
BY_CFG = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
BY_TOP_K = (0, 1, 10, 50, 100, 256)  # 0 keeps all 512


def load_results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """What was measured of the small models, by name: the files of `reproduce_fashion`."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {name: record for name, record in records.items() if record.get("model") == name}


def load_guidance(folder: Path = RESULTS) -> dict[str, Any] | None:
    """What `reproduce_guidance` measured, or None."""
    path = folder / "guidance.json"
    return json.loads(path.read_text()) if path.exists() else None


def fashion_models() -> list[str]:
    """The tokenizers and transformers of Fashion-MNIST whose weights ship."""
    return [name for name in (TOKENIZERS | MODELS) if name.startswith("fashion") and (CHECKPOINTS / name).is_dir()]


def reproduce_fashion(
    out: Path,
    num: int = 10_000,
    seeds: tuple[int, ...] = (0, 1, 2),
    models: tuple[str, ...] = (),
    device: str | torch.device = "cpu",
) -> dict[str, dict[str, Any]]:
    """Measure `models`, default all, with `num` samples for each seed; a tokenizer once, on the whole test set.

    The time of an image, in batches of 64, is measured at the end, of all models in turns; it has no band.
    Raises ValueError if `out` holds results of other weights or another number, before anything is measured.
    """
    for name in models:
        if name not in fashion_models():
            raise ValueError(f"models: {name!r} is none of {', '.join(fashion_models())}")
    records = {name: open_record(out / f"{name}.json", about(name, num)) for name in models or fashion_models()}
    main = Processes(torch.device(device)).main
    for name, record in records.items():
        for seed in (0,) if record["kind"] == "tokenizer" else seeds:
            if str(seed) in record["runs"]:
                continue
            if record["kind"] == "tokenizer":
                scores = score_tokenizer(load_tokenizer(name)) if main else {}
            else:
                scores = evaluate(Request(name, metrics=SCORES, num=num, seed=seed), None, device).get("scores", {})
            if not main:
                continue
            scores = {score: value for score, value in scores.items() if score not in ("num", "seed", TIME)}
            record["runs"][str(seed)] = scores
            record["command"] = command(
                "reproduce fashion", num=num, seeds=tuple(sorted(int(s) for s in record["runs"]))
            )
            record["machine"], record["versions"] = machine(), versions("torch_fidelity")
            record["mean"], record["band"] = summary(record["runs"])
            write_json(out / f"{name}.json", record)
    drawn = {name: record for name, record in records.items() if record["kind"] != "tokenizer"}
    if main and drawn:
        # Last and in turns, however long and on however busy a machine the scores were measured.
        loaded = [(*load(name, device=device), Request().settings) for name in drawn]
        for (name, record), seconds in zip(drawn.items(), seconds_per_image(loaded), strict=True):
            record["mean"][TIME] = seconds
            write_json(out / f"{name}.json", record)
    return records


def reproduce_guidance(
    out: Path, num: int = 2000, model: str = "fashion-var-d4", device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Scores over guidance at the papers' top-p, and over top-k without top-p, so that it acts alone."""
    path = out / "guidance.json"
    record = open_record(path, about(model, num) | {"model": model, "seed": 0}, {"cfg": [], "top_k": []})
    sweeps: dict[str, list[dict[str, Any]]] = {
        "cfg": [{"cfg": cfg, "top_k": 0, "top_p": 0.96} for cfg in BY_CFG],
        "top_k": [{"cfg": 1.5, "top_k": top_k, "top_p": 0.0} for top_k in BY_TOP_K],
    }
    for name, rows in sweeps.items():
        for settings in rows[len(record[name]) :]:
            result = evaluate(Request(model, metrics=SCORES, num=num, **settings), None, device)
            if not result:
                continue
            record[name].append(settings | {score: result["scores"][score] for score in SCORES})
            record["command"], record["machine"] = command("reproduce guidance", num=num), machine()
            record["versions"] = versions("torch_fidelity")
            write_json(path, record)
    return record


def about(name: str, num: int) -> dict[str, Any]:
    """What a measurement is of."""
    path = shipped(name)
    kind = read_model(path)[0]["kind"]
    module = load_tokenizer(name) if kind == "tokenizer" else load(name)[0]
    record = {"model": name, "kind": kind, "parameters": parameters(module), "weights_sha256": sha256(path)}
    if kind == "tokenizer":
        return record | {"num": 10_000}
    request = Request()
    return record | {"depth": module.config.depth, "num": num, "settings": request.settings}


def open_record(path: Path, of: dict[str, Any], empty: dict[str, Any] | None = None) -> dict[str, Any]:
    """The record in a file, or an empty one. Raises ValueError if the file's is of something else."""
    if not path.exists():
        return of | (empty if empty is not None else {"runs": {}})
    record = json.loads(path.read_text())
    if changed := differences({name: record.get(name) for name in of}, of):
        raise ValueError(
            f"out: {path} holds other measurements ({'; '.join(changed)}): delete it, or use another --out"
        )
    return record


def summary(runs: dict[str, dict[str, Any]]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """(mean, [smallest, largest]) over seeds, of every score that is a number."""
    numbers = [name for name, value in next(iter(runs.values())).items() if isinstance(value, float | int)]
    values = {name: [run[name] for run in runs.values()] for name in numbers}
    mean = {name: float(f"{sum(v) / len(v):.6g}") for name, v in values.items()}
    return mean, {name: [min(v), max(v)] for name, v in values.items()}


def compare(record: dict[str, Any], expected: dict[str, Any] | None) -> list[tuple[str, float, list[float], bool]]:
    """(score, mean, band, within) of each score that has an expected band, of as many images; [] without one.

    Of three seeds, the smallest and largest leave out half of what other seeds give: within is no farther outside than
    the band is wide, or by a thousandth of the value, for another machine's rounding. Times are not compared.
    """
    if expected is None or expected["num"] != record["num"]:
        return []
    rows = []
    for name, (low, high) in expected["band"].items():
        value, slack = record["mean"][name], max(high - low, 1e-3 * abs(high))
        rows.append((name, value, [low, high], low - slack <= value <= high + slack))
    return rows


def report(records: dict[str, dict[str, Any]], out: Path) -> None:
    """Print what was measured beside what ships, and whether it agrees."""
    records = {name: record for name, record in records.items() if record["runs"]}  # none but in the main process
    expected = {} if out.resolve() == RESULTS.resolve() else load_results()
    outside = compared = 0
    for name, record in records.items():
        rows = compare(record, expected.get(name))
        for score, value, (low, high), within in rows:
            print(f"{name:24s} {score:24s} {value:<10.5g} {low:.5g} .. {high:.5g}  {'within' if within else 'OUTSIDE'}")
            outside += not within
        compared += len(rows)
        if not rows:
            shown = ", ".join(f"{k} {v:.5g}" for k, v in record["mean"].items() if k in (*SCORES, "val_mse"))
            other = f"; the band that ships is of {expected[name]['num']} samples" if name in expected else ""
            print(f"{name:24s} {shown}{other}")
    if compared:
        print(f"{compared - outside} of {compared} scores are within the band that ships")
    print(f"written to {out}")
