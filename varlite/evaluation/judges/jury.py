"""The panel: every judge's score of a set of samples with its interval and its floor.

    views = open_views(tokenizer)
    reference, real, training = fashion_pictures(num, views)
    judges = open_judges(tokenizer, training)
    samples = Pictures(images, labels, views)
    samples.once("drawn", lambda: tokens_NL)          if they come from a model here
    report = ask(judges, samples, reference, real)
    verdict({"plain": report, "tuned": other})        sets from best to worst (verdict.py)

`real` are other real pictures, as many as the samples: what they score against the same reference is each judge's
floor. What is computed of the reference, of them and of the training pictures is kept in VARLITE_CACHE.
"""

from collections.abc import Sequence
from typing import Any

import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.features import FashionFeatures
from varlite.evaluation.judges.diversity import Recall, WithinClass
from varlite.evaluation.judges.frechet import FeatureDistance
from varlite.evaluation.judges.imagenet_kid import NETWORK as IMAGENET
from varlite.evaluation.judges.imagenet_kid import ImageNetKID, imagenet_view
from varlite.evaluation.judges.interface import Judge, KeptView, Pictures, Views, pixels
from varlite.evaluation.judges.intervals import jackknife_interval, shuffled
from varlite.evaluation.judges.memorising import Memorising
from varlite.evaluation.judges.second_classifier import NAME as SECOND
from varlite.evaluation.judges.second_classifier import load_second_classifier, second_features
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein, projection_views
from varlite.evaluation.judges.token_histogram import TokenHistogram, TokenPairs, token_view
from varlite.evaluation.judges.verdict import Report, Score
from varlite.io.files import sha256
from varlite.io.places import CHECKPOINTS
from varlite.tokenizer import VQVAE, fingerprint


def open_views(tokenizer: VQVAE) -> Views:
    """The views of 28 x 28 grey images that the judges below take; ImageNet's network is loaded on first use."""
    first, second_file = FashionFeatures(("pool",)), CHECKPOINTS / SECOND / "model.safetensors"
    second, where = load_second_classifier(second_file), tokenizer.quantizer.codebook.weight.device.type
    views: Views = {
        "pixels": pixels,
        "first": KeptView(lambda img: first(img)["pool"], f"pool of {first.sha256}"),
        "second": KeptView(lambda img: second_features(second, img), f"features of {sha256(second_file)}"),
        "tokens": KeptView(token_view(tokenizer)["tokens"], f"tokens of {fingerprint(tokenizer)} on {where}"),
        "imagenet": KeptView(imagenet_view()["imagenet"], IMAGENET),
    }
    return views | projection_views(tokenizer.config.channels, tokenizer.image_size())


def open_judges(tokenizer: VQVAE, training: Pictures, imagenet: bool = False) -> list[Judge]:
    """All judges. training: what the model saw. imagenet: with the optional one, which needs its two packages."""
    judges: list[Judge] = [
        FeatureDistance("first"),
        Recall("first"),
        FeatureDistance("second"),
        Recall("second"),
        TokenHistogram(tokenizer),
        TokenPairs(tokenizer),
        TokenHistogram(tokenizer, drawn=True),
        TokenPairs(tokenizer, drawn=True),
        SlicedWasserstein("sw_pixels"),
        SlicedWasserstein("sw_patches"),
        *(WithinClass(what, view) for what in ("spread", "nearest") for view in ("pixels", "second")),
        *(Memorising(view, training) for view in ("pixels", "second")),
    ]
    return judges + [ImageNetKID()] * imagenet


def fashion_pictures(num: int, views: Views) -> tuple[Pictures, Pictures, Pictures]:
    """(reference, real, training) for `num` samples of Fashion-MNIST: the whole test set; `num` training pictures, as
    many of each class; the training set.

    Raises ValueError for more samples than there are training pictures.
    """
    test, train = FashionMNIST("test"), FashionMNIST("train")
    if not 10 <= num <= len(train.labels):
        raise ValueError(f"num must be between 10 and {len(train.labels)}, got {num}")
    order = shuffled(len(train.labels))
    by_class = [order[train.labels[order] == c] for c in range(len(train.classes))]
    rows = torch.stack(by_class, 1).flatten()[:num]  # one of each class in turn
    training = Pictures(train.all_images, train.labels, views, True, train.checksum)
    return Pictures(test.all_images, test.labels, views, True, test.checksum), training.part(rows), training


def ask(
    judges: Sequence[Judge], samples: Pictures, reference: Pictures, real: Pictures, groups: int = 10, **about: Any
) -> Report:
    """Every judge's score of the samples. A judge that lacks something is left out, and the report says what.

    groups: parts of the jackknife behind each interval. real: other real pictures, for the floors. about: what else the
    `Report` should say.
    """
    scores: dict[str, Score] = {}
    left_out: dict[str, str] = {}
    for judge in judges:
        try:
            ours, theirs = judge.rows(samples), judge.rows(reference)
            others, held = judge.floor_rows(real, theirs)
            against = judge.against(theirs)
            found = jackknife_interval(against, ours, groups)
            floor = jackknife_interval(against if held is theirs else judge.against(held), others, groups)
        except ValueError as error:
            left_out[judge.name] = str(error)
            continue
        scores[judge.name] = Score(*found, floor.value, floor.half, judge.lower_is_better, judge.squared)
    return Report(len(samples), scores, left_out, reference=reference.checksum, **about)
