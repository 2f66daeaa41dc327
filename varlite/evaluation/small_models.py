"""Scores of the small models: accuracy, Fréchet distance, precision and recall in features of fashion-classifier."""

from functools import cached_property
from typing import Any

import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_bytes, to_float
from varlite.evaluation.features import FashionFeatures, extract
from varlite.evaluation.metrics import Reference, matched_rows, rounded, score
from varlite.evaluation.validation import validate_tokenizer
from varlite.tokenizer import VQVAE


class Scorer:
    """Scores images in memory against the Fashion-MNIST test set, whose features are computed once."""

    def __init__(self):
        self.extractor, self.test = FashionFeatures(), FashionMNIST("test")
        self.classifier = self.extractor.net

    @cached_property
    def reference(self) -> Reference:
        return Reference(extract(self.extractor, self.test.all_images), {}, self.test.labels)

    @property
    def real(self) -> torch.Tensor:
        """Features of the 10,000 test images, (N, 128)."""
        return self.reference.features["pool"][:]

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(features (N, 128), predicted class (N,)) of (N, 1, 28, 28) bytes."""
        rows = extract(self.extractor, images)
        return rows["pool"], rows["logits"].argmax(1)

    def score(self, images: torch.Tensor, label_N: torch.Tensor) -> dict[str, float]:
        """Scores of (N, 1, 28, 28) bytes that should show the classes `label_N`.

        accuracy: share that the classifier assigns to that class. fd: Fréchet distance to the whole test set.
        precision, recall: k = 3, against equally many test images. recall_within_class: recall of each class among
        equally many of its test images, averaged over classes; it falls where stronger guidance buys accuracy.
        """
        metrics = ("accuracy", "fd", "precision", "recall", "recall_within_class")
        return score(metrics, extract(self.extractor, images), self.reference, label_N)

    def balanced_rows(self, label_N: torch.Tensor) -> torch.Tensor:
        """Rows of the test set with the labels given: the first, second, ... image of each class."""
        return matched_rows(self.test.labels, label_N)


class RealImages:
    """Equally many real images of each class as among the labels given, as they are or as a tokenizer renders them.

    Their reconstructions are the best that a model on these tokens can hope for.
    """

    def __init__(self, split: str, label_N: torch.Tensor, tokenizer: VQVAE | None = None):
        self.tokenizer, self.dataset = tokenizer, FashionMNIST(split)
        self.rows = matched_rows(self.dataset.labels, label_N)
        self.labels = self.dataset.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: slice) -> torch.Tensor:
        images = self.dataset.images(self.rows[rows])
        return images if self.tokenizer is None else reconstruct(self.tokenizer, images)


def default_num(classes: int) -> int:
    """How many samples are scored unless told otherwise: 2000, or the next number below that the classes divide."""
    return max(2000 // classes, 2) * classes


def class_balanced(num: int, classes: int) -> torch.Tensor:
    """`num` labels, equally many of each class. Raises ValueError where that is impossible."""
    if num < 2 * classes or num % classes:
        raise ValueError(f"num must be a multiple of the {classes} classes and at least {2 * classes}, got {num}")
    return torch.arange(num) % classes


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
    device = tokenizer.quantizer.codebook.weight.device
    decoded = (tokenizer.decode(tokenizer.encode(to_float(img.to(device)))) for img in images.split(250))
    return torch.cat([to_bytes((img + 1) / 2).cpu() for img in decoded])
