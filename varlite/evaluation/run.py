"""`varlite evaluate`: score a model of ours, print the scores, keep them."""

import json
from pathlib import Path
from typing import Any

from varlite.data import open_dataset
from varlite.evaluation import fashion
from varlite.evaluation.classifier import accuracy, load_classifier
from varlite.files import read_model, write_json
from varlite.pretrained import load, load_tokenizer, weights_file
from varlite.training.tokenizer import batches_of, validate_tokenizer
from varlite.training.tokens import cache_tokens
from varlite.training.transformer import validate_transformer


def evaluate_any(
    name: str, num: int, seed: int, settings: dict[str, Any], out: Path | None, card: bool, data: str = "fashion"
) -> dict[str, Any]:
    """Scores of a transformer, a tokenizer or the classifier; written to `out` and to the card beside the model.

    On `data` other than fashion, for which there is no classifier: error and codebook health of a tokenizer, loss and
    token error of a transformer, on the test split.
    """
    path = weights_file(name)
    kind = read_model(path)[0]["kind"]
    given: dict[str, Any] = {"num": num, "seed": seed} | settings
    scores: dict[str, Any]
    if data != "fashion":
        scores, given = on_test_split(name, kind, data), {"data": data}
    elif kind == "tokenizer":
        scores, given = fashion.score_tokenizer(load_tokenizer(path), num), {"num": num}
    elif kind == "classifier":
        test = fashion.FashionMNIST("test")
        scores, given = {"accuracy": accuracy(load_classifier(path), test.all_images, test.labels)}, {}
    else:
        scores = fashion.score_model(*load(name), num=num, seed=seed, **settings)
    command = f"varlite evaluate --model {name}" + "".join(
        f" --{key.replace('_', '-')} {value}" for key, value in given.items()
    )
    result = {"model": name, "command": command, "settings": given, "scores": scores}
    for key, value in scores.items():
        print(f"{key:32s} {value}")
    if out is not None:
        write_json(out, result)
    if card:
        card_path = path.parent / "card.json"
        old = json.loads(card_path.read_text()) if card_path.exists() else {}
        write_json(card_path, old | {"scores": scores, "scores_command": command})
    return result


def on_test_split(name: str, kind: str, data: str) -> dict[str, Any]:
    """What can be said of a model on any data, without a classifier."""
    if kind == "tokenizer":
        tokenizer = load_tokenizer(name)
        test = open_dataset(data, "test", tokenizer.image_size(), tokenizer.config.channels)
        return fashion.rounded(validate_tokenizer(tokenizer, batches_of(test)))
    model, tokenizer = load(name)
    cache = cache_tokens(tokenizer, data, "test")
    if len(cache.meta["classes"]) != model.config.classes:
        raise ValueError(f"data: {data} has {len(cache.meta['classes'])} classes, {name} has {model.config.classes}")
    return fashion.rounded(validate_transformer(model, tokenizer, cache))
