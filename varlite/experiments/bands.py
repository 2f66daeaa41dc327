"""Scores of the small models that ship, over sampling seeds: `varlite reproduce fashion`, for data/results/MODEL.json.

Every finished measurement is written at once; the same command again measures what is missing.
"""

from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.empty import parameters
from varlite.checkpoints.load import load, load_tokenizer, shipped
from varlite.evaluation.feature_store import Processes
from varlite.evaluation.judging import PANEL
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.evaluation.small_models import score_tokenizer
from varlite.experiments.scaling_laws import student
from varlite.io.files import read_about, sha256, write_json
from varlite.io.places import CHECKPOINTS, RESULTS
from varlite.io.provenance import command, machine, versions
from varlite.io.records import read_object
from varlite.presets import MODELS, TOKENIZERS
from varlite.speed.timing import seconds_per_image
from varlite.tokenizer import decoder_fingerprint
from varlite.training.run import differences

SCORES = ("accuracy", "fd", "precision", "recall", "recall_within_class")
TIME = "seconds_per_image"
LEVEL = 0.95  # of new measurements that agree with those that ship, this share is found within


def load_results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The records of `reproduce_fashion` in a folder, by model."""
    records = {path.stem: read_object(path) for path in sorted(folder.glob("*.json"))}
    return {name: record for name, record in records.items() if record.get("model") == name}


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
    """Score `models`, by default all, on `num` samples for each sampling seed; tokenizers once, on the whole test set.
    What the panel says of the first seed is under "panels".

    Each record goes to `out`/MODEL.json. The seconds an image takes, in batches of 64, are measured at the end, all
    models in turns; they have no band. Raises ValueError, before anything is measured, for an unknown model, and if
    `out` holds results of other weights or another number.
    """
    if not fashion_models():
        raise FileNotFoundError(
            f"{CHECKPOINTS} holds none of the models that are scored: VARLITE_DATA names the folder"
        )
    for name in models:
        if name not in fashion_models():
            raise ValueError(f"models: {name!r} is none of {', '.join(fashion_models())}")
    records = {name: open_record(out / f"{name}.json", about(name, num)) for name in models or fashion_models()}
    main = Processes(torch.device(device)).main
    for name, record in records.items():
        for seed in (0,) if record["kind"] == "tokenizer" else seeds:
            judged = record["kind"] == "tokenizer" or seed != seeds[0] or str(seed) in record.get("panels", {})
            if str(seed) in record["runs"] and judged:
                continue
            if record["kind"] == "tokenizer":
                result = {"scores": score_tokenizer(load_tokenizer(name)) if main else {}}
            else:
                metrics = (*SCORES, PANEL) if seed == seeds[0] else SCORES
                result = evaluate(Request(name, metrics=metrics, num=num, seed=seed), None, device)
            if not main:
                continue
            scores = result["scores"]
            if PANEL in result:
                record.setdefault("panels", {})[str(seed)] = result[PANEL]
            scores = {score: value for score, value in scores.items() if score not in ("num", "seed", TIME)}
            record["runs"][str(seed)] = scores
            record["command"] = command("reproduce fashion", num=num, seeds=tuple(sorted(map(int, record["runs"]))))
            record["machine"], record["versions"] = machine(), versions("torch_fidelity")
            record["mean"], record["band"] = mean_and_range(record["runs"])
            write_json(out / f"{name}.json", record)
    drawn = {name: record for name, record in records.items() if record["kind"] != "tokenizer"}
    if main and drawn:
        # At the end and in turns, so that a busy machine slows all of them alike.
        loaded = [(*load(name, device=device), Request().settings) for name in drawn]
        for (name, record), seconds in zip(drawn.items(), seconds_per_image(loaded), strict=True):
            record["mean"][TIME], record["machine"] = seconds, machine()
            write_json(out / f"{name}.json", record)
    return records


def about(name: str, num: int) -> dict[str, Any]:
    """What a measurement is of: the model, its weights and the settings."""
    path = shipped(name)
    kind = read_about(path)["kind"]
    module, tokenizer = (load_tokenizer(name),) * 2 if kind == "tokenizer" else load(name)
    record = {"model": name, "kind": kind, "parameters": parameters(module), "weights_sha256": sha256(path)}
    record["decoder_sha256"] = decoder_fingerprint(tokenizer)
    if kind == "tokenizer":
        return record | {"num": 10_000}
    request = Request()
    return record | {"depth": module.config.depth, "num": num, "settings": request.settings}


def open_record(path: Path, of: dict[str, Any], empty: dict[str, Any] | None = None) -> dict[str, Any]:
    """The record in a file, or an empty one. Raises ValueError if the file holds measurements of something else."""
    if not path.exists():
        return of | (empty if empty is not None else {"runs": {}})
    record = read_object(path)
    if changed := differences({name: record.get(name) for name in of}, of):
        raise ValueError(
            f"out: {path} holds other measurements ({'; '.join(changed)}): delete it, or use another --out"
        )
    return record


def mean_and_range(runs: dict[str, dict[str, Any]]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """(mean, [smallest, largest]) over seeds, of every score that is a number."""
    numbers = [name for name, value in next(iter(runs.values())).items() if isinstance(value, float | int)]
    values = {name: [run[name] for run in runs.values()] for name in numbers}
    mean = {name: float(f"{sum(v) / len(v):.6g}") for name, v in values.items()}
    return mean, {name: [min(v), max(v)] for name, v in values.items()}


def against_shipped(
    record: dict[str, Any], shipped: dict[str, Any] | None
) -> list[tuple[str, float, list[float], bool]]:
    """(score, mean, interval, within) of each score that ships for equally many samples; [] where none does.

    The interval is where the mean of as many new sampling seeds lies in 95 of 100 cases, to judge by the seeds that
    ship: with three of them, twice as wide as what they span and more. A thousandth of the value is added for another
    machine's rounding. It knows nothing of other training seeds: every model is one training.
    """
    if shipped is None or any(shipped.get(name) != record.get(name) for name in ("num", "decoder_sha256")):
        return []
    rows = []
    for name in shipped["band"]:
        values = [run[name] for run in shipped["runs"].values()]
        mean, n, new = sum(values) / len(values), len(values), len(record["runs"])
        margin = 1e-3 * abs(mean)
        if n > 1:
            deviation = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
            margin += student(LEVEL, n - 1) * deviation * (1 / n + 1 / new) ** 0.5
        value = record["mean"][name]
        rows.append((name, value, [mean - margin, mean + margin], abs(value - mean) <= margin))
    return rows


def report(records: dict[str, dict[str, Any]], out: Path) -> None:
    """Print a line for each score: what was measured, beside the interval that agrees with what ships."""
    records = {name: record for name, record in records.items() if record["runs"]}  # filled in the main process only
    expected = {} if out.resolve() == RESULTS.resolve() else load_results()
    outside = compared = 0
    for name, record in records.items():
        rows = against_shipped(record, expected.get(name))
        for score, value, (low, high), within in rows:
            print(f"{name:24s} {score:24s} {value:<10.5g} {low:.5g} .. {high:.5g}  {'within' if within else 'OUTSIDE'}")
            outside += not within
        compared += len(rows)
        if not rows:
            shown = ", ".join(f"{k} {v:.5g}" for k, v in record["mean"].items() if k in (*SCORES, "val_mse"))
            other = f"; what ships is of {expected[name]['num']} samples or older" if name in expected else ""
            print(f"{name:24s} {shown}{other}")
    drawn = [record for record in records.values() if record["kind"] != "tokenizer"]
    if drawn:
        seeds = ", ".join(sorted({seed for record in drawn for seed in record["runs"]}, key=int))
        print(f"{drawn[0]['num']} samples for each sampling seed ({seeds}) of one training of each model")
    if compared:
        print(f"{compared - outside} of {compared} scores agree with those that ship")
    print(f"written to {out}")
