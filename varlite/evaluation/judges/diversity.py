"""Diversity: how far samples of a class are from each other, and how much of the real data is near a sample.

    spread_*    mean distance between two samples of a class, over that of real pictures of the class
    nearest_*   mean distance of a sample to the nearest other of its class, over that of as many real pictures
    recall_*    share of real pictures within reach of a sample (arXiv 1904.06991, k = 3); more is better

The first two are scored by |ratio - 1|, averaged over classes: less than real is too alike, more is something else.

See: mode dropping within a class (all), few different pictures (nearest, recall), samples drawn towards a mean
(spread).
Fooled by: noise, which spreads samples in pixels and makes up for sameness: two wrongs can add up to a ratio of one.
Spread hardly notices duplicates, nearest notices nothing but the very neighbourhood, recall calls anything near that
lies within the radius of an outlying sample. None sees a class that is missing, except recall; none sees copied
training data.
"""

from collections.abc import Callable

import torch

from varlite.evaluation.judges.interface import Judge, Pictures, need_labels
from varlite.evaluation.statistics import covered

LEAST = 4  # images of a class, for a neighbour and for k = 3
BLIND = {  # corruptions (experiments/corruptions.py) that they miss
    "spread_pixels": frozenset({"dropped", "jpeg", "memorised", "noise"}),
    "spread_features": frozenset({"dropped", "jpeg", "memorised", "sharpen"}),
    "nearest_pixels": frozenset({"dropped", "memorised"}),
    "nearest_features": frozenset({"dropped", "jpeg", "memorised", "sharpen"}),
    "recall_first": frozenset({"class_means", "memorised", "sharpen"}),
    "recall_second": frozenset({"class_means", "memorised"}),
}


def class_rows(rows_NX: torch.Tensor) -> dict[int, torch.Tensor]:
    """Rows by class, the class being the last column."""
    label_N = rows_NX[:, -1].long()
    return {c: rows_NX[label_N == c, :-1] for c in label_N.unique().tolist()}


def pairwise(x_NX: torch.Tensor) -> torch.Tensor:
    """(N, N) distances, infinite on the diagonal."""
    return torch.cdist(x_NX, x_NX, compute_mode="donot_use_mm_for_euclid_dist" if len(x_NX) < 25 else
                       "use_mm_for_euclid_dist_if_necessary").fill_diagonal_(torch.inf)  # fmt: skip


def spread(distance_NN: torch.Tensor) -> float:
    """Mean distance between two different rows, from `pairwise`."""
    N = len(distance_NN)
    return distance_NN.double().fill_diagonal_(0).sum().item() / (N * (N - 1))


def nearest_other(distance_NN: torch.Tensor) -> float:
    """Mean distance of a row to the nearest other, from `pairwise`."""
    return distance_NN.min(1).values.double().mean().item()


class WithinClass(Judge):
    """|ratio - 1| of `spread` or `nearest_other` in a view, as many samples as real pictures of each class."""

    needs_labels = True

    def __init__(self, what: str, view: str):
        """what: "spread" or "nearest". view: "pixels" or "second"."""
        if what not in ("spread", "nearest"):
            raise ValueError(f"what must be spread or nearest, got {what!r}")
        self.measure = spread if what == "spread" else nearest_other
        self.view = view
        self.name = f"{what}_{'features' if view == 'second' else view}"
        self.blind = BLIND[self.name]
        self.sees = "distance between samples of a class" if what == "spread" else "samples almost alike"

    def rows(self, pictures: Pictures) -> torch.Tensor:
        """(N, X + 1): the view, and the class in the last column."""
        labels = need_labels(self, pictures)
        return torch.cat([pictures.view(self.view).flatten(1), labels[:, None].float()], 1)

    def ratios(self, samples: torch.Tensor, real: dict[int, torch.Tensor]) -> dict[int, float]:
        """Ratio of samples to as many real pictures, by class; real: `pairwise` by class.

        A class with fewer than `LEAST` images on a side is left out.
        """
        ours, found = class_rows(samples), {}
        for c in ours.keys() & real.keys():
            count = min(len(ours[c]), len(real[c]))
            if count >= LEAST:
                found[c] = self.measure(pairwise(ours[c][:count])) / self.measure(real[c][:count, :count])
        return found

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        return self.against(reference)(samples)

    def against(self, reference: torch.Tensor) -> Callable[[torch.Tensor], float]:
        real = {c: pairwise(x_NX) for c, x_NX in class_rows(reference).items()}

        def score(samples: torch.Tensor) -> float:
            ratios = self.ratios(samples, real)
            if not ratios:
                raise ValueError(f"{self.name}: it takes at least {LEAST} images of a class, and no class has as many")
            return sum(abs(ratio - 1) for ratio in ratios.values()) / len(ratios)

        return score


class Recall(Judge):
    """Share of real pictures within reach of a sample, in features "first" or "second", equal numbers of both."""

    lower_is_better = False

    def __init__(self, view: str):
        self.view, self.name = view, f"recall_{view}"
        self.blind = BLIND[self.name]
        self.sees = "real pictures that nothing comes near"

    def rows(self, pictures: Pictures) -> torch.Tensor:
        return pictures.view(self.view)

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        if min(len(samples), len(reference)) < LEAST:
            raise ValueError(f"{self.name}: it takes at least {LEAST} images, got {len(samples)} and {len(reference)}")
        every = max(1, len(reference) // len(samples))  # spread over the reference, whatever its order
        return covered(reference[::every][: len(samples)], samples, 3)
