"""The panel: every judge's score of a set of samples with its interval and its floor.

    panel = open_panel(tokenizer, num)
    samples = Pictures(images, labels, panel.views)
    samples.once("drawn", lambda: tokens_NL)          if they come from a model here
    report = panel.ask(samples)
    verdict({"plain": report, "tuned": other})        sets from best to worst (verdict.py)

`real` are other real pictures, as many as the samples: what they score against the same reference is each judge's
floor. What is computed of the reference, of them and of the training pictures is kept in VARLITE_CACHE.
"""

from collections.abc import Callable, Collection, Sequence

import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.features import FashionFeatures
from varlite.evaluation.judges.diversity import Recall, WithinClass
from varlite.evaluation.judges.frechet import FeatureDistance
from varlite.evaluation.judges.imagenet_kid import NETWORK as IMAGENET
from varlite.evaluation.judges.imagenet_kid import ImageNetKID, imagenet_view
from varlite.evaluation.judges.interface import Judge, KeptView, Pictures, Views, pixels
from varlite.evaluation.judges.intervals import Interval, jackknife_interval, shuffled
from varlite.evaluation.judges.memorising import Memorising
from varlite.evaluation.judges.second_classifier import NAME as SECOND
from varlite.evaluation.judges.second_classifier import load_second_classifier, second_features
from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein, projection_views
from varlite.evaluation.judges.token_histogram import TokenHistogram, TokenPairs, token_view
from varlite.evaluation.judges.verdict import CHOSEN_WITH, Report, Score
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


class Panel:
    """Judges before one reference. What they work out of it, and the floors, are kept for many sets of one size."""

    def __init__(
        self, judges: Sequence[Judge], reference: Pictures, real: Pictures, tokenizer: str = "", groups: int = 10
    ):
        """real: other real pictures, as many as a set has, for the floors. tokenizer: its checksum, for the reports.
        groups: parts of the jackknife behind each interval."""
        self.judges, self.reference, self.real = judges, reference, real
        self.views, self.tokenizer, self.groups = reference.views, tokenizer, groups
        self._ready: dict[str, tuple[Callable[[torch.Tensor], float], Interval]] = {}

    def ready(self, judge: Judge) -> tuple[Callable[[torch.Tensor], float], Interval]:
        """(the score of rows against the reference, the floor) of a judge."""
        if judge.name not in self._ready:
            theirs = judge.rows(self.reference)
            others, held = judge.floor_rows(self.real, theirs)
            against = judge.against(theirs)
            floor = jackknife_interval(against if held is theirs else judge.against(held), others, self.groups)
            self._ready[judge.name] = against, floor
        return self._ready[judge.name]

    def ask(self, samples: Pictures, chosen_with: Collection[str] = CHOSEN_WITH) -> Report:
        """Every judge's score. A judge that lacks something is left out, and the report says what.

        chosen_with: judges that had a part in the choice of these samples.
        """
        scores: dict[str, Score] = {}
        left_out: dict[str, str] = {}
        for judge in self.judges:
            try:
                rows = judge.rows(samples)
                against, floor = self.ready(judge)
                found = jackknife_interval(against, rows, self.groups)
            except ValueError as error:
                left_out[judge.name] = str(error)
                continue
            scores[judge.name] = Score(*found, floor.value, floor.half, judge.lower_is_better, judge.squared)
        chosen = tuple(sorted(chosen_with))
        return Report(len(samples), scores, left_out, chosen, self.tokenizer, self.reference.checksum)


def open_panel(tokenizer: VQVAE, num: int, imagenet: bool = True, rows: torch.Tensor | None = None) -> Panel:
    """All judges, for sets of `num` images. rows: of the test set, if it is compared with a part of it alone."""
    reference, real, training = fashion_pictures(num, open_views(tokenizer))
    held = reference if rows is None else reference.part(rows)
    return Panel(open_judges(tokenizer, training, imagenet), held, real, fingerprint(tokenizer))


def ask(
    judges: Sequence[Judge], samples: Pictures, reference: Pictures, real: Pictures, groups: int = 10,
    tokenizer: str = "",
) -> Report:  # fmt: skip
    """The report on one set: see `Panel`."""
    return Panel(judges, reference, real, tokenizer, groups).ask(samples)
