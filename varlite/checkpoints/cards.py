"""What lies beside a model's weights: its card, and the log of its training."""

import json
from pathlib import Path
from typing import Any

from varlite.io.places import CHECKPOINTS


def card_folder(name: str) -> Path:
    """Folder of a model that ships, else the folder of that name."""
    return CHECKPOINTS / name if (CHECKPOINTS / name).is_dir() else Path(name)


def read_card(name: str) -> dict[str, Any]:
    """The card of a model that ships, or of a folder written by a training; {} where there is none."""
    path = card_folder(name) / "card.json"
    return json.loads(path.read_text()) if path.exists() else {}


def last_logged(name: str) -> dict[str, Any]:
    """The last line of the training's log: losses, speed, and of a tokenizer the health of its codebook."""
    path = card_folder(name) / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1]) if lines else {}
