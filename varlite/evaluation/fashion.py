"""Scores of the small models: accuracy, Fréchet distance, precision and recall in features of fashion-classifier."""

import time
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch

from varlite.data import FashionMNIST, to_bytes, to_float
from varlite.evaluation.classifier import load_classifier
from varlite.evaluation.fidelity import frechet_distance, precision_recall, statistics
from varlite.models import VAR
from varlite.pretrained import CLASSIFIER, shipped
from varlite.sampling import generate_many
from varlite.tokenizer import VQVAE
from varlite.training.tokenizer import validate_tokenizer


class Scorer:
    """Scores images against the Fashion-MNIST test set; features of that set are computed once."""

    def __init__(self):
        self.classifier, self.test = load_classifier(shipped(CLASSIFIER)), FashionMNIST("test")

    @cached_property
    def real(self) -> torch.Tensor:
        """Features of the 10,000 test images, (N, 128)."""
        return self.features(self.test.all_images)[0]

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(features (N, 128), predicted class (N,)) of (N, 1, 28, 28) bytes."""
        batches = [self.classifier.features(to_float(img)) for img in images.split(500)]
        features = torch.cat(batches)
        return features, self.classifier.out(features).argmax(1)

    def score(self, images: torch.Tensor, label_N: torch.Tensor) -> dict[str, float]:
        """Scores of (N, 1, 28, 28) bytes that should show the classes `label_N`.

        accuracy: share that the classifier gives that class. fd: Fréchet distance to the whole test set. precision,
        recall: k = 3, against as many test images. recall_within_class: recall of each class among its own test images,
        as many as were given, averaged over classes: what turning guidance up to buy accuracy would lower.
        """
        fake, predicted = self.features(images)
        rows = self.balanced_rows(label_N)
        within = [
            precision_recall(fake[label_N == c], self.real[rows[label_N == c]])[1] for c in label_N.unique().tolist()
        ]
        precision, recall = precision_recall(fake, self.real[rows])
        return {
            "accuracy": (predicted == label_N).float().mean().item(),
            "fd": frechet_distance(statistics(fake), statistics(self.real)),
            "precision": precision,
            "recall": recall,
            "recall_within_class": sum(within) / len(within),
        }

    def balanced_rows(self, label_N: torch.Tensor) -> torch.Tensor:
        """Rows of the test set with the very labels given: the first, second, ... image of each class."""
        rows = torch.empty_like(label_N)
        for c in label_N.unique().tolist():
            of_class = (self.test.labels == c).nonzero().flatten()
            wanted = (label_N == c).nonzero().flatten()
            rows[wanted] = of_class[torch.arange(len(wanted)) % len(of_class)]
        return rows


def class_balanced(num: int, classes: int) -> torch.Tensor:
    """`num` labels, as many of each class. Raises ValueError if that does not come out even."""
    if num < 2 * classes or num % classes:
        raise ValueError(f"num must be a multiple of the {classes} classes and at least {2 * classes}, got {num}")
    return torch.arange(num) % classes


def rounded(scores: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in scores.items()}


def score_model(model: VAR, tokenizer: VQVAE, num: int = 2000, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """Scores of `num` class-balanced samples, beside those of the tokenizer's reconstructions of as many test images.

    fd_ratio is the samples' Fréchet distance over that of the reconstructions: equal numbers of images, since the
    distance of few images is biased upwards. Sampling is streamed; only bytes are kept.
    """
    scorer, label_N = Scorer(), class_balanced(num, model.config.classes)
    start = time.monotonic()
    images = torch.cat(
        [to_bytes(img) for img, _ in generate_many(model, tokenizer, label_N.tolist(), seed, **settings)]
    )
    seconds = time.monotonic() - start
    scores = scorer.score(images, label_N)
    reconstructed = scorer.score(reconstruct(tokenizer, scorer.test.images(scorer.balanced_rows(label_N))), label_N)
    return rounded(
        scores
        | {"fd_ratio": scores["fd"] / reconstructed["fd"]}
        | {f"reconstruction_{name}": reconstructed[name] for name in ("accuracy", "fd", "recall_within_class")}
        | {"num": num, "seed": seed, "seconds_per_image": seconds / num}
    )


def score_tokenizer(tokenizer: VQVAE, num: int = 2000) -> dict[str, Any]:
    """Error and codebook health on the whole test set; accuracy of originals and reconstructions; Fréchet distances."""
    scorer = Scorer()
    images, labels = scorer.test.all_images, scorer.test.labels
    label_N = class_balanced(num, len(scorer.test.classes))
    balanced = reconstruct(tokenizer, images[scorer.balanced_rows(label_N)])
    whole, original = scorer.score(reconstruct(tokenizer, images), labels), scorer.features(images)[1]
    return rounded(
        validate_tokenizer(tokenizer, images.split(250))
        | {"accuracy": whole["accuracy"], "accuracy_of_originals": (original == labels).float().mean().item()}
        | {"fd": whole["fd"], f"fd_of_{num}": scorer.score(balanced, label_N)["fd"]}
    )


@torch.inference_mode()
def reconstruct(tokenizer: VQVAE, images: torch.Tensor) -> torch.Tensor:
    """Bytes -> tokens -> bytes."""
    decoded: Iterable[torch.Tensor] = (tokenizer.decode(tokenizer.encode(to_float(img))) for img in images.split(250))
    return torch.cat([to_bytes((img + 1) / 2) for img in decoded])
