"""A model's samples in memory, with the tokens that it drew: sets of some thousand images for the panel to compare."""

import time
from typing import Any

import torch

from varlite.datasets.pixels import to_bytes
from varlite.drawing import Step
from varlite.evaluation.judges.interface import Pictures, Views
from varlite.evaluation.small_models import class_balanced
from varlite.sampling import generate_many
from varlite.tokenizer import VQVAE


class DrawnTokens:
    """A hook for `on_scale` that keeps the tokens of the images that are being made."""

    def __init__(self):
        self._maps: dict[int, torch.Tensor] = {}

    def __call__(self, step: Step) -> None:
        if not hasattr(step, "idx_Bl"):  # of a model that draws none
            return
        # A model with one scale is at k = 0 in every step, and holds all tokens so far.
        self._maps = {**(self._maps if step.k else {}), step.k: step.idx_Bl}

    def tokens(self, tokenizer: VQVAE) -> torch.Tensor | None:
        """The tokens (B, L) that the images of the last batch decode from; None of a model that draws none.

        They are the last L drawn, where a model has coarser maps than its tokenizer.
        """
        L = tokenizer.scales.total
        return torch.cat(list(self._maps.values()), 1)[:, -L:].int().cpu() if self._maps else None


def draw_set(
    model: Any, tokenizer: VQVAE, views: Views, num: int, seed: int = 0, **settings: Any
) -> tuple[Pictures, float]:
    """`num` samples, classes in turn, with the view "drawn"; and the seconds an image.

    settings: those of `generate`. Batches have ten images of each class, so that a hook may know their labels.
    """
    classes = model.config.classes
    label_N, watch = class_balanced(num, classes), DrawnTokens()
    images, drawn, start = [], [], time.perf_counter()
    settings = settings | {"on_scale": watch}
    for img, _ in generate_many(model, tokenizer, label_N.tolist(), seed, 10 * classes, **settings):
        images.append(to_bytes(img.float()).cpu())
        drawn += [] if (tokens := watch.tokens(tokenizer)) is None else [tokens]
    seconds = (time.perf_counter() - start) / num
    found = Pictures(torch.cat(images), label_N, views)
    if drawn:
        found.once("drawn", lambda: torch.cat(drawn))
    return found, seconds
