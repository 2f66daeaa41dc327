"""The order in which a training sees its examples."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

T = TypeVar("T")


def batch_indices(n: int, batch: int, step: int, seed: int) -> torch.Tensor:
    """Indices of training batch `step`: whole shuffled passes over n examples, a function of its arguments alone.

    Being stateless, it makes resuming exact: batch 1000 is the same whether or not batch 999 was drawn.
    """
    batch = min(batch, n)
    start = step % (n // batch) * batch
    return _order(n, seed, whole_passes(n, batch, step))[start : start + batch]


def rows_across(label_N: torch.Tensor, n: int) -> torch.Tensor:
    """n rows of all classes: the first, or evenly spread ones of data that lie class after class, as folders do."""
    N, steps = len(label_N), label_N.diff()
    if n < N and bool((steps >= 0).all() or 4 * (steps != 0).sum() < N):  # rising, or in long runs of one class
        return torch.linspace(0, N - 1, n, dtype=torch.float64).long()
    return torch.arange(min(n, N))


def whole_passes(n: int, batch: int, step: int) -> int:
    """How many passes over n examples lie before training batch `step`: the number of its own pass, from 0."""
    return step // (n // min(batch, n))


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63))


def ahead(draw: Callable[[int], T], stop: int) -> Callable[[int], T]:
    """`draw(step)` for steps below `stop`, the next one drawn by a thread meanwhile: no accelerator waits for files."""
    pool = ThreadPoolExecutor(1)
    next_step: dict[int, Future[T]] = {}

    def drawn(step: int) -> T:
        result = (next_step.pop(step, None) or pool.submit(draw, step)).result()
        next_step.clear()
        if step + 1 < stop:
            next_step[step + 1] = pool.submit(draw, step + 1)
        return result

    return drawn
