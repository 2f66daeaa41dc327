"""What sampling and training cost on this machine, for data/results/speed.json and mvar-carried.json.

`varlite reproduce speed` and `varlite reproduce mvar-state`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from varlite import drawing
from varlite.checkpoints.assemble import twin
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.experiments.bands import SCORES, open_record
from varlite.experiments.scaling_laws import size
from varlite.inference import prepare
from varlite.io.files import write_json
from varlite.io.memory import keep_freed_memory
from varlite.io.provenance import command, machine, versions
from varlite.models import kind_of
from varlite.speed.mvar_state import CFG, SCHEDULES, WIDTH, open_gates, state_bytes, time_both_ways
from varlite.speed.mvar_state import DEPTHS as DEPTHS_BY_SIDE
from varlite.speed.side_by_side import CPU, bench
from varlite.speed.stopwatch import Round, Way, figure, measure
from varlite.speed.ways import open_model, sample
from varlite.tokenizer import VQVAE, TokenizerConfig

BENCHES: dict[str, dict[str, Any]] = {
    "VAR-d16, batch 1": {"name": "var-d16", "batch": 1, "precision": "int8"},
    "VAR-d16, batch 4": {"name": "var-d16", "batch": 4, "precision": "int8"},
    "fashion-var-d4, batch 64": {"name": "fashion-var-d4", "batch": 64, "precision": "int8"},
    "training fashion-var-d4": {"name": "fashion-var-d4", "batch": 64, "what": "train"},
    "training fashion-var-d2": {"name": "fashion-var-d2", "batch": 64, "what": "train"},
}
QUALITY = ("fashion-var-d4", "fashion-var-d6", "fashion-mvar-d4")  # to be scored in int8
BATCHES = (1, 2, 4, 8, 16, 32, 64)
DEPTHS = (1, 2, 3, 4, 5, 6)


def reproduce_speed(out: Path, num: int = 10_000, rounds: int = 5, device: torch.device = CPU) -> dict[str, Any]:
    """Every bench, the cost over batch size, depth and resolution, and on a CPU the scores of `num` samples in int8.

    Written to `out`/speed.json part by part; finished parts are kept. Raises ValueError if the file holds those of
    another kind of device, or number of rounds or samples.
    """
    path = out / "speed.json"
    record = open_record(path, {"device": device.type, "rounds": rounds, "num": num}, {"bench": {}, "int8": {}})
    parts_before = count_parts(record)
    for title, options in BENCHES.items():
        if title not in record["bench"]:
            record["bench"][title] = bench(**options, device=device, rounds=rounds)
            write_json(path, record)
    parts: dict[str, Callable] = {"batch": over_batch, "depth": over_depth, "resolution": over_resolution}
    for name, part in parts.items():
        if name not in record:
            record[name] = part(rounds, device)
            write_json(path, record)
    for name in QUALITY if device.type == "cpu" else ():
        if name not in record["int8"]:
            scores = evaluate(Request(name, metrics=SCORES, num=num, precision="int8"), None, device)["scores"]
            record["int8"][name] = {score: scores[score] for score in SCORES}
            write_json(path, record)
    if count_parts(record) > parts_before or "command" not in record:
        record |= {"command": command("reproduce speed", num=num), "machine": machine()}
        record["versions"] = versions("torch_fidelity")
        write_json(path, record)
    return record


def count_parts(record: dict[str, Any]) -> int:
    """How much of speed.json has been measured."""
    return len(record) + len(record["bench"]) + len(record["int8"])


def over_batch(rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """fashion-var-d4, decoding included."""
    model, tokenizer, _ = open_model("fashion-var-d4", device)
    return timed({B: (model, tokenizer, B) for B in BATCHES}, "batch", rounds, device)


def over_depth(rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """The models of the ladder, 64 images at a time; `size` is the N of the scaling laws."""
    models = {d: open_model(f"fashion-var-d{d}", device)[:2] for d in DEPTHS}
    rows = timed({d: (*pair, 64) for d, pair in models.items()}, "depth", rounds, device)
    return [row | {"size": size(models[row["depth"]][0].config)} for row in rows]


def over_resolution(rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """VAR and M-VAR of depth 4 and width 256 on random weights, one image at a time, with a minimal decoder."""
    rows = []
    for kind in ("var", "mvar"):
        works = {}
        for side, sides in SCHEDULES.items():
            of = kind_of(kind)
            torch.manual_seed(0)
            model = open_gates(of.model(of.config(depth=4, width=256, heads=4, scales=sides)).eval()).to(device)
            net: dict[str, Any] = {"ch": 32, "multipliers": (1, 1), "encoder_blocks": (0, 0), "decoder_blocks": (0, 0)}
            works[side] = (model, VQVAE(TokenizerConfig(scales=sides, **net)).eval().to(device), 1)
        tokens = {side: model.scales.total for side, (model, _, _) in works.items()}
        found = timed(works, "side", rounds, device)
        rows += [{"kind": kind, "tokens": tokens[row["side"]]} | row for row in found]
    return rows


def timed(
    works: Mapping[int, tuple[Any, VQVAE, int]], name: str, rounds: int, device: torch.device
) -> list[dict[str, Any]]:
    """A row for each work, (model, tokenizer, batch), measured in turns: medians per image."""
    keep_freed_memory()
    ready = {id(model): prepare(twin(model)) for model, _, _ in works.values()}
    ways = {
        x: Way(partial(sample, ready[id(model)], tokenizer, batch, "float32", drawing.keep_top))
        for x, (model, tokenizer, batch) in works.items()
    }
    found: dict[int, list[Round]] = {x: [] for x in works}
    for i in range(rounds + 1):
        for x, way in ways.items():
            found[x].append(measure(way, i, device))
    rows = []
    for x, (_, _, batch) in works.items():
        counted = found[x][1:]
        ms = {s: figure(median(1000 * sum(r.stages[s]) for r in counted) / batch) for s in counted[0].stages}
        by_scale = zip(*(r.stages["transformer"] for r in counted), strict=True)
        row = {name: x, "seconds_per_image": figure(median(r.seconds for r in counted) / batch), "ms_by_stage": ms}
        rows.append(row | {"transformer_ms_by_scale": [figure(1000 * median(t) / batch) for t in by_scale]})
    return rows


def report_speed(record: dict[str, Any]) -> None:
    """Print a line for each bench."""
    for title, found in record["bench"].items():
        print(f"{title}: " + ", ".join(f"{way} {s['median']} times" for way, s in found["speedup"].items()))


def reproduce_mvar_state(out: Path, rounds: int = 5) -> dict[str, Any]:
    """M-VAR with its state carried and re-scanned: times at 256 and 512, and the memory of the state at 1024 too.

    Written to `out`/mvar-carried.json.
    """
    record = {
        "command": command("reproduce mvar-state", rounds=rounds),
        "machine": f"{machine()}, {torch.get_num_threads()} threads",
        "settings": {"batch": 1, "cfg": CFG, "top_k": 0, "top_p": 0},
        "timed": {
            str(side): time_both_ways(SCHEDULES[side], depth, WIDTH, rounds) for side, depth in DEPTHS_BY_SIDE.items()
        },
        "state_bytes_per_layer": {str(side): state_bytes(sides, WIDTH) for side, sides in SCHEDULES.items()},
    }
    write_json(out / "mvar-carried.json", record)
    return record


def report_mvar_state(record: dict[str, Any]) -> None:
    """Print a line for each size that was timed, and for each whose state was measured."""
    for side, found in record["timed"].items():
        equal = f"{found['tokens_equal']:.1%} of tokens equal"
        print(f"{side} x {side}: carried {found['speedup']:.2f} times as fast, {equal}")
    for side, kept in record["state_bytes_per_layer"].items():
        print(f"{side} x {side}, kept per layer: " + ", ".join(f"{n} {b / 2**20:.2f} MiB" for n, b in kept.items()))
