"""What lies beside a model's weights: its card, and the log of its training."""

from pathlib import Path
from typing import Any

from varlite.io.files import read_about
from varlite.io.places import CHECKPOINTS, expand_home
from varlite.io.records import check_entries, parse_object, read_object, read_text
from varlite.presets import MODELS

MODEL, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.safetensors", "config.json"
CARD = {"training": dict, "started_from": dict, "scores": dict, "panel": dict, "scores_command": str}
# Of the scores, those that the table of models shows.
SCORES = {
    "val_mse": float, "codes_used": float, "perplexity_per_scale": list[float], "accuracy": float, "fd": float,
    "recall": float, "val_loss": float, "shows_class": float, "coherent": float,
}  # fmt: skip
LOG = {"step": int, "seconds": float}


def card_folder(name: str) -> Path:
    """Folder of a model that ships, else the folder of that name."""
    ships = Path(name).name == name not in ("", "..") and (CHECKPOINTS / name).is_dir()
    return CHECKPOINTS / name if ships else expand_home(name)


def lies_beside_a_transformer(file: Path) -> bool:
    """Whether this is the tokenizer of a transformer's folder, or of its repository: the card there is not its own."""
    if file.name != TOKENIZER:
        return False
    config = file.parent / CONFIG
    kind = read_object(config).get("kind") if config.exists() else None
    return (file.parent / MODEL).exists() or kind not in (None, "tokenizer")


def read_card(name: str) -> dict[str, Any]:
    """The card of a model that ships, or of a folder written by a training; {} where there is none.

    Raises ValueError, naming file and entry, for a card that was damaged.
    """
    path = card_folder(name) / "card.json"
    card = read_object(path) if path.exists() else {}
    check_entries(card, CARD, path)
    check_entries(card.get("scores", {}), SCORES, f"{path}: its scores")
    return card


def class_names(name: str | Path, weights: str | Path | None = None) -> list[str]:
    """Names of the classes that a model was trained on, in order; [] where its file does not say, as published ones."""
    from varlite.checkpoints.load import weights_file

    preset = MODELS.get(str(name))
    if preset is not None and preset.hub is not None:
        return []
    names = read_about(weights_file(name, weights)).get("classes")
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def read_log(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a training's log so far: losses, speed, and of a tokenizer the health of its codebook.

    A line that is still being written does not count. Raises ValueError, naming file and line, for a damaged one.
    """
    path = Path(folder) / "log.jsonl"
    records = []
    for number, line in enumerate(read_text(path).split("\n")[:-1] if path.exists() else [], 1):
        records.append(parse_object(line, f"{path}, line {number}"))
        check_entries(records[-1], LOG, f"{path}, line {number}")
    return records


def last_logged(name: str) -> dict[str, Any]:
    """The last line of the log beside a card; {} where there is none."""
    lines = read_log(card_folder(name))
    return lines[-1] if lines else {}
