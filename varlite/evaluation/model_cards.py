"""The scores of a model of any sort, transformer, tokenizer or classifier: printed, and written on its card."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.cards import read_card
from varlite.checkpoints.load import load, load_tokenizer, weights_file
from varlite.checkpoints.pth import read_pth
from varlite.datasets import DATASETS, open_dataset
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.latents import CACHES
from varlite.datasets.still_life import StillLife
from varlite.datasets.tokens import cache_tokens
from varlite.evaluation.classifier import accuracy, load_classifier
from varlite.evaluation.classify import classify, report
from varlite.evaluation.feature_net import load_features
from varlite.evaluation.judges.second_classifier import load_second_classifier
from varlite.evaluation.judges.verdict import Report
from varlite.evaluation.judging import PANEL, table
from varlite.evaluation.metrics import rounded
from varlite.evaluation.reader import load_reader
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.evaluation.small_models import class_balanced, default_num, score_tokenizer
from varlite.evaluation.truth_scores import reader_fits, score_by_truth, score_reader
from varlite.evaluation.validation import batches_of, validate_tokenizer, validate_transformer
from varlite.io.files import read_about, write_json
from varlite.io.outputs import check_file
from varlite.io.provenance import command
from varlite.presets import MODELS
from varlite.tokenizer import VQVAE

CLASSIFIERS: dict[str, Callable[[Path], Any]] = {
    "classifier": load_classifier, "second-classifier": load_second_classifier, "features": load_features,
}  # fmt: skip


def evaluate_any(
    request: Request, out: Path | None = None, card: bool = False, data: str | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Score images, a transformer, a tokenizer or the classifier; write to `out`, and to the card beside the model.

    On `data` other than fashion, for which there is no classifier: error and codebook health of a tokenizer, loss and
    token error of a transformer, on the test split; of still-life also what the judge from truth says. None is what the
    model was trained on, unless something is asked for that only samples of any data can have.
    """
    name, kind = request.model, None if request.images is not None else what_is(request.model, request.weights)
    if card and (request.images, request.reference, request.metrics) != (None, "fashion", ()):
        raise ValueError("card: it holds the default metrics of a model, on the reference fashion")
    card_path = weights_file(name, request.weights).parent / "card.json" if card else None
    if card_path is not None:
        check_file("card", card_path)
    if data is None:
        data = trained_on(request)
    still = issubclass(DATASETS.get(data, object), StillLife)
    judged = kind not in ("tokenizer", "reader", *CLASSIFIERS) and data == "fashion"
    check_options(request, data, kind, judged)
    if kind == "reader" or kind in CLASSIFIERS:
        beside = read_card(str(weights_file(name).parent.absolute()))
        own = "still-life" if kind == "reader" else beside.get("training", {}).get("data", data)
        if data != own:
            raise ValueError(f"data: this {kind} is scored on test images of {own}, got {data}: leave it out")
    if "classify" in request.metrics:
        result = classify(request, data, device)
        report(result)
        if out is not None:
            write_json(out, result)
        return result
    if judged:
        result = evaluate(request, out, device)
    else:
        given: dict[str, Any] = {}
        if kind == "reader":
            scores = score_reader(load_reader(weights_file(name)))
        elif kind in CLASSIFIERS:
            test = StillLife("test") if still else FashionMNIST("test")
            images = test.images(torch.arange(len(test.labels)))
            scores = {"accuracy": accuracy(CLASSIFIERS[str(kind)](weights_file(name)), images, test.labels)}
        elif data != "fashion":
            (scores, tokenizer), given = on_test_split(request, kind, data, device), {"data": data}
            if still and reader_fits(tokenizer):
                if kind != "tokenizer":
                    given |= {"num": request.num or default_num(10), "seed": request.seed, **request.settings}
                    given |= {"precision": request.precision} if request.precision != "float32" else {}
                scores |= rounded(score_by_truth(name, kind, request, device))
        else:
            given = {"num": request.num or default_num(10)}
            scores = score_tokenizer(load_tokenizer(name, device=device), **given)
        line = command("evaluate", model=name, weights=request.weights, **given, dials=request.dials or None)
        result = {"model": name, "command": line, "settings": given, "scores": scores}
        if out is not None:
            write_json(out, result)
    if "seed" in (settings := result.get("settings", {})):
        print(f"{settings['num']} samples of seed {settings['seed']}; another seed gives other digits")
    for key, value in result.get("scores", {}).items():
        print(f"{key:32s} {value}")
    if PANEL in result:
        print("\n".join(table(Report.read(result[PANEL], PANEL))))
    if "verdict" in result:
        print(f"verdict: {result['verdict']['line']}")
    if card_path is not None and result:
        old = read_card(str(card_path.parent.absolute()))
        panel = {PANEL: result[PANEL]} if PANEL in result else {}
        write_json(card_path, old | {"scores": result["scores"]} | panel | {"scores_command": result["command"]})
    return result


def what_is(name: str, weights: Path | None) -> str | None:
    """The kind in a file of weights, or "published" for a transformer of that format.

    Raises FileNotFoundError for a model that is not there.
    """
    if name in MODELS and MODELS[name].hub is not None:
        return "published"
    path = weights_file(name, weights)
    if path.suffix == ".safetensors":
        return read_about(path)["kind"]
    return "tokenizer" if "quantize.embedding.weight" in read_pth(path) else "published"


def trained_on(request: Request) -> str:
    """The data that a model's card names; fashion where there is none, and where samples are to be scored against a
    reference, in features or by metrics of one's choice."""
    of_samples = (request.reference, request.features, request.samples) != ("fashion", None, None)
    if request.images is not None or of_samples or request.metrics not in ((), ("classify",)):
        return "fashion"
    return read_card(request.model).get("training", {}).get("data", "fashion")


OF_SAMPLES = ("images", "metrics", "features", "samples", "against", "inception", "reference")  # and of pictures
DRAWN = ("seed", "cfg", "top_k", "top_p", "ssg")  # how samples are drawn


def check_options(request: Request, data: str, kind: str | None, judged: bool) -> None:
    """Raises ValueError for an option that the scores to be computed have no use for."""
    if "classify" in request.metrics:
        refuse(
            request,
            ("features", "against", "inception", "reference", *DRAWN),
            "classify looks at test images and draws no samples",
        )
    elif not judged:
        of_kind = f"of a {kind} no samples are scored"
        refuse(request, OF_SAMPLES, of_kind if data == "fashion" else of_data(data))
        if kind == "tokenizer":
            refuse(request, (*DRAWN, "precision", "dials", *(["num"] * (data != "fashion"))), of_kind)
        elif kind == "reader" or kind in CLASSIFIERS:
            refuse(request, (*DRAWN, "precision", "dials", "num"), of_kind)
        elif not issubclass(DATASETS.get(data, object), StillLife):
            refuse(request, (*DRAWN, "num", "precision"), of_data(data))
    elif request.images is not None:
        refuse(request, ("num", *DRAWN, "precision", "dials"), "images are scored as they are given, all of them")


def of_data(data: str) -> str:
    return f"on the data {data} no network compares samples with pictures"


def refuse(request: Request, names: Iterable[str], why: str) -> None:
    """Raises ValueError for the first of these options that was given."""
    default = Request()
    for name in names:
        if getattr(request, name) != getattr(default, name):
            raise ValueError(f"{name}: {why}; leave it out")


def on_test_split(
    request: Request, kind: str | None, data: str, device: str | torch.device
) -> tuple[dict[str, Any], VQVAE]:
    """The scores of a model that need no classifier, on the test split of any data; and its tokenizer."""
    name = request.model
    if kind == "tokenizer":
        tokenizer = load_tokenizer(name, device=device)
        test = open_dataset(data, "test", tokenizer.image_size(), tokenizer.config.channels)
        return rounded(validate_tokenizer(tokenizer, batches_of(test, tokenizer.image_size()))), tokenizer
    model, tokenizer = load(name, request.weights, device=device, dials=request.dials)
    if request.num is not None:
        class_balanced(request.num, model.config.classes)  # what samples of it would be refused for, before any work
    cache = cache_tokens(tokenizer, data, "test", kept=CACHES[model.learns])
    if len(cache.meta["classes"]) != model.config.classes:
        raise ValueError(f"data: {data} has {len(cache.meta['classes'])} classes, {name} has {model.config.classes}")
    return rounded(validate_transformer(model, tokenizer, cache)), tokenizer
