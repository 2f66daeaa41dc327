"""Intervals: what a score would be with other samples of the same kind.

    jackknife_interval   of one set of samples: the score without each tenth of them, in turn
    t_interval           of a few values, one a seed: a t-interval, as wide as few values make it

Why not the bootstrap. Drawing with replacement repeats images, and repeated images are what several judges look for:
recall, nearest neighbours and distances all shift. Leaving out repeats nothing. And over a handful of seeds a
percentile bootstrap promises 90 % and covers 79 % (n = 5): it cannot be wider than the values lie. The t-interval knows
better; both intervals here hold their level on normal data (tests/evaluation/judges/test_intervals.py).

Neither knows what is common to all samples: the training seed, and the reference pictures, which are fixed.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch


class Interval(NamedTuple):
    """A value, and the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width."""
        return (self.high - self.low) / 2


def shuffled(n: int, seed: int = 0) -> torch.Tensor:
    """A fixed order of n rows, so that parts of them do not follow the order of classes."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of independent values, and its t-interval. Raises ValueError for fewer than two values."""
    check_level(level)
    if len(values) < 2:
        raise ValueError(f"values: an interval takes at least two, got {len(values)}")
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)
    half = quantile(level, len(values) - 1) * error
    return Interval(mean, mean - half, mean + half)


def jackknife_interval(
    score: Callable[[torch.Tensor], float], rows: torch.Tensor, groups: int = 10, level: float = 0.95
) -> Interval:
    """The score of all rows, with the t-interval of the jackknife over groups (Efron and Tibshirani 1993, chapter 11).

    score: of rows (n, ...), for any n near N; it is computed groups + 1 times. rows: (N, ...), one an image.
    Raises ValueError for fewer than two rows a group.
    """
    check_level(level)
    if groups < 2 or len(rows) < 2 * groups:
        raise ValueError(f"groups must be at least 2, with two rows or more in each, got {groups} of {len(rows)} rows")
    value, order = score(rows), shuffled(len(rows))
    without = []
    for i in range(groups):
        kept = torch.ones(len(rows), dtype=torch.bool)
        kept[order[i::groups]] = False
        without.append(score(rows[kept]))
    error = float(np.sqrt((groups - 1) * np.var(without)))
    half = quantile(level, groups - 1) * error
    return Interval(value, value - half, value + half)


@lru_cache
def quantile(level: float, freedom: int) -> float:
    """Half the width of the central `level` of Student's t: 2.776 for 0.95 and 4 degrees of freedom.

    With x = sqrt(n) tan(angle) its density is cos(angle)^(n - 1), which is summed up on a fine grid.
    """
    angle = np.linspace(0, np.pi / 2, 200_001)
    density = np.cos(angle) ** (freedom - 1)
    area = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return float(freedom**0.5 * np.tan(np.interp(level * area[-1], area, angle)))


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
