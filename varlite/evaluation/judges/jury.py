"""The panel: every judge's score of a set of samples with its interval and its floor.

    views = open_views(tokenizer)
    reference, real, training = fashion_pictures(num, views)
    judges = open_judges(tokenizer, training)
    samples = Pictures(images, labels, views)
    samples.once("drawn", lambda: tokens_NL)          if they come from a model here
    report = ask(judges, samples, reference, real)
    verdict({"plain": report, "tuned": other})        sets from best to worst (verdict.py)

`real` are other real pictures, as many as the samples: what they score against the same reference is each judge's
floor.
"""

from collections.abc import Sequence

import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.features import FashionFeatures
from varlite.evaluation.judges.diversity import Recall, WithinClass
from varlite.evaluation.judges.frechet import FeatureDistance
from varlite.evaluation.judges.imagenet_kid import ImageNetKID, imagenet_view
from varlite.evaluation.judges.interface import Judge, Pictures, Views, pixels
from varlite.evaluation.judges.intervals import jackknife_interval, shuffled
from varlite.evaluation.judges.memorising import Memorising
from varlite.evaluation.judges.second_classifier import load_second_classifier, second_features
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein, projection_views
from varlite.evaluation.judges.token_histogram import TokenHistogram, TokenPairs, token_view
from varlite.evaluation.judges.verdict import Report, Score
from varlite.tokenizer import VQVAE


def open_views(tokenizer: VQVAE) -> Views:
    """The views of 28 x 28 grey images that the judges below take; ImageNet's network is loaded on first use."""
    first, second = FashionFeatures(("pool",)), load_second_classifier()
    views: Views = {
        "pixels": pixels,
        "first": lambda img: first(img)["pool"],
        "second": lambda img: second_features(second, img),
    }
    size, channels = tokenizer.image_size(), tokenizer.config.channels
    return views | token_view(tokenizer) | projection_views(channels, size) | imagenet_view()


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
    training = Pictures(train.all_images, train.labels, views, real=True)
    return Pictures(test.all_images, test.labels, views, real=True), training.part(rows), training


def ask(
    judges: Sequence[Judge], samples: Pictures, reference: Pictures, real: Pictures | None = None, groups: int = 10
) -> Report:
    """Every judge's score of the samples. A judge that lacks something is left out, and the report says what.

    groups: parts of the jackknife behind each interval. real: other real pictures; without them floors are None.
    """
    scores: dict[str, Score] = {}
    left_out: dict[str, str] = {}
    for judge in judges:
        try:
            ours, theirs = judge.rows(samples), judge.rows(reference)
            found = jackknife_interval(judge.against(theirs), ours, groups)
            floor = None if real is None else judge.floor(real, theirs)
        except ValueError as error:
            left_out[judge.name] = str(error)
            continue
        scores[judge.name] = Score(found.value, found.low, found.high, floor, judge.lower_is_better)
    return Report(len(samples), scores, left_out)
