"""The ladder and the ablation: many small models, trained alike and one after another by one command that resumes.

All see the same token maps, equally many and in the same order. `varlite reproduce sweep`, for data/results/sweep.json,
which scaling_laws.py and the notebooks read.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from varlite.checkpoints.cards import read_card, read_log
from varlite.io.files import sha256, write_json
from varlite.io.provenance import command, machine
from varlite.models import kind_of
from varlite.presets import MODELS, TransformerRecipe, choose, ladder
from varlite.training.options import Options
from varlite.training.train_transformer import train

VALIDATE_EVERY = 150
CURVE = ("step", "loss", "val_loss", "val_loss_last", "val_error", "val_error_last", "seconds")

# Models whose difference is discussed: three trainings each, which show how far chance goes.
COMPARED = (
    "fashion-var-d4",
    "fashion-raster-d4",
    "fashion-var-d4-plain",
    "fashion-var-d4-unnormed",
    "fashion-raster-d4-plain",
    "fashion-mvar-d4",
)

# What is trained, in this order: (preset, seed).
SWEEPS: dict[str, list[tuple[str, int]]] = {
    "fashion": [
        *((f"fashion-var-d{depth}", 0) for depth in (4, 1, 2, 3)),
        *((f"fashion-mvar-d{depth}", 0) for depth in (4, 2)),
        ("fashion-var-d5", 0),
        *((preset, 0) for preset in COMPARED[1:-1]),
        *((preset, seed) for seed in (1, 2) for preset in COMPARED),
        ("fashion-var-d6", 0),
    ]
}


def sweep(
    out: Path, runs: Path = Path("runs/sweep"), options: Options = Options(), name: str = "fashion"
) -> dict[str, Any]:
    """Train every model of sweep `name` in a folder of `runs`, and write all curves to `out`/sweep.json after each.

    After an interruption the same command goes on; finished runs are kept. `options.seed` is added to each run's own.
    Raises ValueError for an unknown sweep, and for a recipe or configuration other than that of a run begun.
    """
    arms = choose(SWEEPS, name, "sweep")
    done: dict[str, Any] = {}
    result = {"command": command("reproduce sweep", options), "machine": machine(), "runs": done}
    for preset, seed in arms:
        row = MODELS[preset]
        run = run_name(preset, seed)
        recipe = (*changes(row.recipe, ladder(row.config.depth), options), *options.recipe)
        of_run = replace(options, seed=options.seed + seed, recipe=recipe)
        path = train(preset, name, runs / run, options=of_run, validate_every=VALIDATE_EVERY)
        done[run] = summary(path)
        write_json(out / "sweep.json", result)
    return result


def run_name(preset: str, seed: int) -> str:
    """The folder of a training, among those of all seeds."""
    return f"{preset}@{seed}" if seed else preset


def ships(preset: str) -> bool:
    """Whether what ships was trained as the ladder's models are."""
    recipe, budget = ladder(MODELS[preset].config.depth), read_card(preset).get("training", {}).get("recipe", {})
    return (budget.get("steps"), budget.get("batch")) == (recipe.steps, recipe.batch)


def changes(own: TransformerRecipe, wanted: TransformerRecipe, options: Options) -> tuple[str, ...]:
    """What turns a preset's own recipe into the ladder's, as words for `Options.recipe`; options take precedence."""
    names = [field.name for field in fields(wanted) if getattr(options, field.name, None) is None]
    return tuple(f"{name}={getattr(wanted, name)}" for name in names if getattr(wanted, name) != getattr(own, name))


def summary(path: Path) -> dict[str, Any]:
    """A finished run: what its card says, and the points at which it was validated."""
    card = read_card(str(path.parent))["training"]
    lines = read_log(path.parent)
    points = [{key: line[key] for key in CURVE} for line in lines if "val_loss" in line]
    batch, kind = card["recipe"]["batch"], kind_of(MODELS[card["preset"]].config).name
    return {
        "preset": card["preset"],
        "kind": kind,
        "depth": card["model"]["depth"],
        "seed": card["seed"],
        "config": card["model"],
        "recipe": card["recipe"],
        "minutes": card["minutes"],
        "checksum": sha256(path),
        "curve": [{"images": point["step"] * batch} | point for point in points],
    }


def report(record: dict[str, Any]) -> None:
    """Print a line for each run."""
    for run, found in record["runs"].items():
        print(f"{run:28s} test loss {found['curve'][-1]['val_loss']:.4f}, {found['minutes']} minutes")
