"""`varlite evaluate`: score a model of ours, print the scores, keep them."""

import json
from pathlib import Path
from typing import Any

from varlite.evaluation import fashion
from varlite.evaluation.classifier import accuracy, load_classifier
from varlite.files import read_model, write_json
from varlite.pretrained import load, load_tokenizer, weights_file


def evaluate_any(
    name: str, num: int, seed: int, settings: dict[str, Any], out: Path | None, card: bool
) -> dict[str, Any]:
    """Scores of a transformer, a tokenizer or the classifier; written to `out` and to the card beside the model."""
    path = weights_file(name)
    kind = read_model(path)[0]["kind"]
    scores: dict[str, Any]
    if kind == "tokenizer":
        scores = fashion.score_tokenizer(load_tokenizer(path), num)
        settings = {}
    elif kind == "classifier":
        test = fashion.FashionMNIST("test")
        scores, settings = {"accuracy": accuracy(load_classifier(path), test.all_images, test.labels)}, {}
    else:
        scores = fashion.score_model(*load(name), num=num, seed=seed, **settings)
    command = f"varlite evaluate --model {name}" + "".join(
        f" --{key.replace('_', '-')} {value}" for key, value in ({"num": num, "seed": seed} | settings).items()
    )
    result = {"model": name, "command": command, "settings": settings, "scores": scores}
    for key, value in scores.items():
        print(f"{key:32s} {value}")
    if out is not None:
        write_json(out, result)
    if card:
        card_path = path.parent / "card.json"
        old = json.loads(card_path.read_text()) if card_path.exists() else {}
        write_json(card_path, old | {"scores": scores, "scores_command": command})
    return result
