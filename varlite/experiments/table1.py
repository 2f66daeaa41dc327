"""VAR's table 1 in small: every family of image generators on the same pictures, at the same size and budget.

    varlite reproduce table1

The paper compares generators of 138 million to two billion weights, each trained by its own authors for as long as they
liked. Here all see equally many images, in the same order, at the same rates; their weights differ by less than 3
percent; and all autoencoders have the same architecture. M-VAR has two rows: one is narrower, so that it has as many
weights as VAR, the other has VAR's width and half as many weights again. Each family is trained three times, which
shows how far chance goes. What is measured: the panel of judges, seconds an image, how often the model runs, and
quality against time, each family along the dial that is its own. The paper's GAN rows have no counterpart: none is
trained here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.cards import read_card
from varlite.checkpoints.empty import parameters
from varlite.checkpoints.load import load, weights_file
from varlite.evaluation.judges.verdict import Report, verdict
from varlite.evaluation.judging import PANEL
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.experiments.bands import SCORES, mean_and_range, open_record
from varlite.experiments.sweep import changes, run_name, ships
from varlite.io.files import sha256, write_json
from varlite.io.provenance import command, machine, versions
from varlite.io.records import read_object
from varlite.models import kind_of
from varlite.presets import MODELS, ladder
from varlite.speed.timing import seconds_per_image
from varlite.tokenizer import decoder_fingerprint, fingerprint
from varlite.training.options import Options
from varlite.training.train_transformer import train

RUNS = Path("runs/table1")
SINGLE, BATCH = 1, 64  # batches that are timed
SEEDS = (0, 1, 2)  # of training


@dataclass(frozen=True)
class Family:
    """A row: what the paper's table calls it, the preset, and its own dial: other ways of sampling, as options of
    `Request`, along which quality is bought with time."""

    name: str
    preset: str
    dial: tuple[Mapping[str, Any], ...] = ()


def guidance(*values: float) -> tuple[Mapping[str, Any], ...]:
    return tuple({"cfg": value} for value in values)


def steps(*values: str) -> tuple[Mapping[str, Any], ...]:
    return tuple({"dials": tuple(value.split())} for value in values)


FAMILIES = (
    Family("next scale: VAR", "fashion-var-d4", guidance(0.0, 0.75, 3.0)),
    Family("next scale: M-VAR, as many weights as VAR", "fashion-mvar-d4-narrow", guidance(0.0, 0.75, 3.0)),
    Family("next scale: M-VAR, half as many again", "fashion-mvar-d4", guidance(0.0, 0.75, 3.0)),
    Family("next scale, sees the last one only", "fashion-markov-d4", guidance(0.0, 0.75, 3.0)),
    Family(
        "next scale of whole latents: FlexVAR", "fashion-flexvar-d4",
        steps("sides=1,3,7", "sides=1,2,4,7", "sides=1,2,3,4,5,6,7"),
    ),
    Family("raster order", "fashion-raster-d4", guidance(0.0, 0.75, 3.0)),
    Family("masked prediction: MaskGIT", "fashion-maskgit-d4", steps("steps=2", "steps=4", "steps=16")),
    Family(
        "diffusion: DiT by flow matching", "fashion-dit-d4",
        steps("steps=4 solver=euler", "steps=8 solver=euler", "steps=4", "steps=16"),
    ),
)  # fmt: skip


def trainings() -> list[tuple[int, Family]]:
    """(seed, family) of every training, all first seeds first."""
    return [(seed, family) for seed in SEEDS for family in FAMILIES]


def open_families(runs: Path = RUNS, options: Options = Options()) -> dict[str, dict[int, str]]:
    """{preset: {training seed: what `load` takes}} of every family, trained by the ladder's recipe in a folder of
    `runs` unless a run there has finished, or what ships was trained so; resumable."""
    found: dict[str, dict[int, str]] = {family.preset: {} for family in FAMILIES}
    for seed, family in trainings():
        folder = runs / run_name(family.preset, seed)
        found[family.preset][seed] = trained(family.preset, folder, replace(options, seed=options.seed + seed))
    return found


def trained(preset: str, folder: Path, options: Options) -> str:
    """A finished run, the preset that ships, or a training that begins or goes on now."""
    if (folder / "card.json").exists():
        return str(folder)
    row = MODELS[preset]
    ours = replace(options, device="auto") == Options()  # no changes asked for
    if ours and ships(preset):
        return preset
    words = (*changes(row.recipe, ladder(row.config.depth), options), *options.recipe)
    return str(train(preset, "fashion", folder, options=replace(options, recipe=words)).parent)


def reproduce_table1(
    out: Path, runs: Path = RUNS, num: int = 10_000, of_dial: int = 2000, seed: int = 0, options: Options = Options(),
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Train and measure every family; written to `out`/table1.json after each measurement, and resumed from it.

    num: samples for a row of the table. of_dial: samples for a point of the curves, which fashion-classifier alone
    scores. What is said of each training is under "trainings"; costs and dials are of the first. Times are taken at the
    end, all in turns. Raises ValueError if `out` holds measurements of something else.
    """
    models = open_families(runs, options)
    path = out / "table1.json"
    record = open_record(path, {"num": num, "of_dial": of_dial, "seed": seed}, {"families": {}})
    rows = record["families"]
    for training, family in trainings():
        source, key = models[family.preset][training], str(training)
        row = rows[family.preset] = {"trainings": {}, "dial": []} | rows.get(family.preset, {}) | {"name": family.name}
        of = weights(source)
        if row["trainings"].get(key, {}).get("weights") != of:
            row["dial"] = row["dial"] if training else []
            row["trainings"][key] = {"weights": of} | measure(source, {}, num, seed, device, (*SCORES, PANEL))
            write_json(path, record)
        for point in () if training else family.dial[len(row["dial"]) :]:
            row["dial"].append({"settings": point} | measure(source, point, of_dial, seed, device, SCORES))
            write_json(path, record)
    first = {preset: sources[0] for preset, sources in models.items()}
    for family, cost in zip(FAMILIES, costs(first, device), strict=True):
        row = rows[family.preset] | cost[0]
        row["mean"], row["band"] = mean_and_range({key: one["scores"] for key, one in row["trainings"].items()})
        rows[family.preset] = row
        for point, of_point in zip(row["dial"], cost[1:], strict=True):
            point |= of_point
    record["families"] = rows = {family.preset: rows[family.preset] for family in FAMILIES}  # in the table's order
    # Judges of tokens have no vote: the families' tokenizers differ, and `verdict` sees it.
    record["places"] = {str(seed): order(rows, str(seed)) for seed in SEEDS}
    record |= {"machine": machine(), "versions": versions("torch_fidelity")}
    record |= {"command": command("reproduce table1", options, num=num, of_dial=of_dial)}
    write_json(path, record)
    return record


def order(rows: Mapping[str, Any], seed: str) -> list[dict[str, Any]]:
    """The panel's order of the families, by their trainings of one seed."""
    reports = {name: Report.read(row["trainings"][seed][PANEL], name) for name, row in rows.items()}
    return [{"family": p.name, "rank": p.rank, "judge": p.judge, "away": p.away.value} for p in verdict(reports)]


def load_table1(folder: Path) -> dict[str, Any] | None:
    """What `reproduce_table1` wrote into a folder."""
    path = folder / "table1.json"
    return read_object(path) if path.exists() else None


def weights(source: str) -> dict[str, str]:
    """Checksums of what makes the pictures: the transformer's file, the two halves of the tokenizer."""
    tokenizer = load(source)[1]
    return {
        "model": sha256(weights_file(source)),
        "tokenizer": fingerprint(tokenizer),
        "decoder": decoder_fingerprint(tokenizer),
    }


def measure(
    source: str, settings: Mapping[str, Any], num: int, seed: int, device: str | torch.device, metrics: tuple[str, ...]
) -> dict[str, Any]:
    """{"scores", perhaps "panel"} of `num` samples."""
    found = evaluate(Request(source, metrics=metrics, num=num, seed=seed, **settings), None, device)
    return {"scores": {name: found["scores"][name] for name in SCORES}} | {k: found[k] for k in (PANEL,) if k in found}


def costs(models: Mapping[str, str], device: str | torch.device) -> list[list[dict[str, Any]]]:
    """For each family what its row costs, then each point of its dial; the row also says what the model weighs and
    what its training took."""
    ways = [(family, point) for family in FAMILIES for point in ({}, *family.dial)]
    timed = []
    for family, point in ways:
        model, tokenizer = load(models[family.preset], device=device, dials=point.get("dials", ()))
        others = {name: value for name, value in point.items() if name != "dials"}
        timed.append((model, tokenizer, Request(**others).settings))
    single, batch = (seconds_per_image(timed, batch=size) for size in (SINGLE, BATCH))
    found: dict[str, list[dict[str, Any]]] = {family.preset: [] for family in FAMILIES}
    for (family, _), (model, _, _), one, many in zip(ways, timed, single, batch, strict=True):
        kind = kind_of(model.config).model
        cost = {"seconds_alone": one, "seconds_per_image": many, "evaluations": kind.evaluations(model.config)}
        cost["gflop_per_image"] = round(kind.flops(model.config, "sampling") / 1e9, 4)
        if not found[family.preset]:
            card = read_card(models[family.preset])["training"]
            recipe = card["recipe"]
            cost |= {"parameters": parameters(model), "images_seen": recipe["steps"] * recipe["batch"]}
            cost |= {"minutes_of_training": card["minutes"], "training_seed": card["seed"]}
        found[family.preset].append(cost)
    return list(found.values())


def report(record: Mapping[str, Any]) -> None:
    """Print a line for each family, then the panel's order, with the ranks of every training."""
    for row in record["families"].values():
        mean, (low, high) = row["mean"], row["band"]["fd"]
        print(
            f"{row['name']:41s} accuracy {mean['accuracy']:.1%}, fd {mean['fd']:.2f} ({low:.2f} to {high:.2f}), "
            f"recall {mean['recall']:.2f}, {row['parameters'] / 1e6:.2f} M weights, "
            f"{row['evaluations']} evaluations, {1000 * row['seconds_per_image']:.1f} ms an image"
        )
    for place in record["places"]["0"]:
        ranks = ", ".join(f"{rank:g}" for rank in ranks_of(record, place["family"]))
        print(f"ranks {ranks:12s} {place['family']:24s} {place['away']:.1f} by {place['judge']}")


def ranks_of(record: Mapping[str, Any], family: str) -> list[float]:
    """The rank of a family by each of its trainings."""
    return [place["rank"] for places in record["places"].values() for place in places if place["family"] == family]
