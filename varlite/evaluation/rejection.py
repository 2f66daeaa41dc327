"""Rejection sampling: more images are drawn than are wanted, and those kept that a classifier finds likeliest.

VAR's best score, VAR-d30-re's, is of samples chosen in this way, with a classifier and a rate that were never published
(arXiv 2404.02905, table 1). Of each class the share `keep` stays whose probability of being of that class is highest.

It costs 1 / keep times the sampling, and diversity: what the classifier is least sure of is left out, and with it
whatever is unusual and right. A score by the same classifier's features is no evidence then; `NO_VOTE` names the judges
that look through each.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, Literal, get_args

import torch

from varlite.checkpoints.load import CLASSIFIER, shipped
from varlite.datasets.fashion import FASHION_CLASSES
from varlite.datasets.pixels import to_bytes, to_float
from varlite.evaluation.classifier import load_classifier
from varlite.evaluation.judges.second_classifier import NAME, load_second_classifier
from varlite.evaluation.judges.verdict import CHOSEN_WITH
from varlite.io.checks import brief
from varlite.models import Model
from varlite.sampling import generate_many
from varlite.tokenizer import VQVAE

Chooser = Literal["fashion-classifier", "fashion-judge"]
LogP = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # bytes (B, 1, 28, 28), labels (B,) -> (B,)
NO_VOTE: dict[str, frozenset[str]] = {
    CLASSIFIER: CHOSEN_WITH,
    NAME: frozenset({"fd_second", "recall_second", "spread_features", "nearest_features", "memorised_features"}),
}


def check_keep(keep: float) -> None:
    """Raises ValueError unless it is a share above 0."""
    if not (isinstance(keep, int | float) and 0 < keep <= 1):
        raise ValueError(f"keep must be above 0 and at most 1, the share of the images drawn, got {brief(keep)}")


def open_chooser(name: str) -> LogP:
    """Log-probability of the class asked for, by "fashion-classifier" or "fashion-judge"."""
    if name not in get_args(Chooser):
        raise ValueError(f"judge must be {' or '.join(get_args(Chooser))}, got {name!r}")
    network: Any = load_classifier(shipped(CLASSIFIER)) if name == CLASSIFIER else load_second_classifier()

    @torch.inference_mode()
    def log_p(img_B1HW: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        # In double precision: in single, many images would share the probability of one.
        logits = torch.cat([network(to_float(img)).double() for img in img_B1HW.split(500)])
        return logits.log_softmax(1).gather(1, label_B[:, None])[:, 0]

    return log_p


def check_images(model: Model, tokenizer: VQVAE) -> None:
    """Raises ValueError for a model whose images the classifiers do not know."""
    known, size = list(FASHION_CLASSES), (tokenizer.config.channels, *tokenizer.image_size())
    names, count = list(model.class_names or known), model.config.classes
    if count != len(known) or names != known or size != (1, 28, 28):
        raise ValueError(
            "judge: it knows the ten classes of Fashion-MNIST, grey at 28 x 28; the model makes "
            f"{count} classes ({', '.join(map(str, names[:3]))}, ...) of {size[0]} channels at {size[1]} x {size[2]}"
        )


def likeliest(log_p_N: torch.Tensor, count: int) -> torch.Tensor:
    """Numbers of the `count` largest, rising; of equal ones the first."""
    return log_p_N.argsort(descending=True, stable=True)[:count].sort().values


def kept_rows(log_p_N: torch.Tensor, label_N: torch.Tensor, keep: float) -> torch.Tensor:
    """Row numbers, rising, of the share `keep` of each class that is likeliest."""
    rows = []
    for c in label_N.unique():
        of_class = (label_N == c).nonzero().flatten()
        rows.append(of_class[likeliest(log_p_N[of_class], round(keep * len(of_class)))])
    return torch.cat(rows).sort().values


def drawn_for(num: int, keep: float) -> int:
    """How many images are drawn so that `num` are kept."""
    return math.ceil(round(num / keep, 6))


def generate_kept(
    model: Model, tokenizer: VQVAE, labels: Iterable[int], seed: int, batch: int, keep: float, log_p: LogP,
    **settings: Any,
) -> Iterator[tuple[torch.Tensor, list[int]]]:  # fmt: skip
    """As `generate_many`, for labels sorted by class, with more images drawn, of which the likeliest are kept.

    Of a class only the best so far are held. They come in the order in which they were drawn.
    """
    check_keep(keep)
    check_images(model, tokenizer)
    held: list[tuple[torch.Tensor, int]] = []
    for c, group in groupby(labels):
        num = sum(1 for _ in group)
        drawn = drawn_for(num, keep)
        best, sure = torch.empty(0, 1, 28, 28, dtype=torch.uint8), torch.empty(0).double()
        for img, _ in generate_many(model, tokenizer, (c for _ in range(drawn)), seed, batch, drawn, **settings):
            img_B1HW = to_bytes(img.float()).cpu()
            best = torch.cat([best, img_B1HW])
            sure = torch.cat([sure, log_p(img_B1HW, torch.full((len(img_B1HW),), c))])
            rows = likeliest(sure, num)
            best, sure = best[rows], sure[rows]
        held += [(img, c) for img in best]
        while len(held) >= batch:
            yield whole_batch(held[:batch])
            held = held[batch:]
    if held:
        yield whole_batch(held)


def whole_batch(held: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, list[int]]:
    """Images in [0, 1] and their labels."""
    return torch.stack([img for img, _ in held]).float() / 255, [c for _, c in held]
