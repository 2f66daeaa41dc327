"""Codebook collapse, and what each remedy changes: one small tokenizer, trained briefly with each.

`varlite reproduce codebook`, for data/results/codebook.json.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from varlite.checkpoints.cards import read_log
from varlite.io.files import write_json
from varlite.io.provenance import command, machine
from varlite.presets import TOKENIZERS, TokenizerRecipe
from varlite.training.options import Options
from varlite.training.recipes import override
from varlite.training.train_tokenizer import train_config

# fashion-vq with fewer channels at the lowest resolution, to be quick.
CONFIG = replace(TOKENIZERS["fashion-vq"].config, multipliers=(1, 2, 2), decoder_blocks=(0, 1, 1))
BARE = TokenizerRecipe(
    steps=300, batch=64, lr=1e-3, warmup=50, ema=0.98, l1=0.2, quantizer=0.2, start="noise", reseed=False
)
ARMS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "start on residuals": {"start": "residuals"},
    "start on k-means": {"start": "kmeans"},
    "follow the mean": {"codebook": "mean"},
    "cosine lookup": {"znorm": True},
    "re-seed dead codes": {"reseed": True},
    "start on residuals, re-seed": {"start": "residuals", "reseed": True},
}
CURVE = ("step", "l2", "codes_used", "codes_used_per_scale", "perplexity_per_scale")


def ablate_codebook(
    out: Path, data: str = "fashion", runs: Path = Path("runs/codebook"), options: Options = Options()
) -> dict[str, Any]:
    """Train every arm in a folder of `runs`; curves and final scores go to `out`/codebook.json. It resumes."""
    recipe, arms = override(BARE, options), {}
    line = command("reproduce codebook", options, data=data)
    for name, changes in ARMS.items():
        config = replace(CONFIG, znorm=changes.get("znorm", False))
        of_arm = replace(recipe, **{key: value for key, value in changes.items() if key != "znorm"})
        folder = runs / name.replace(",", "").replace(" ", "-")
        train_config(config, of_arm, name, data, folder, options, line)
        log = read_log(folder)
        curve = [{key: line[key] for key in CURVE} for line in log]
        arms[name] = {"changes": changes, "curve": curve, "val_mse": log[-1]["val_mse"]}
    result = {"command": line, "machine": machine(), "seed": options.seed}
    result |= {"config": asdict(CONFIG), "recipe": asdict(recipe), "arms": arms}
    write_json(out / "codebook.json", result)
    return result


def report(record: dict[str, Any]) -> None:
    """Print a line for each arm."""
    for name, arm in record["arms"].items():
        last = arm["curve"][-1]
        used, perplexity = f"{last['codes_used']:.0%} of codes used", last["perplexity_per_scale"]
        print(f"{name:28s} error {arm['val_mse']:.4f}, {used}, perplexity {perplexity}")
