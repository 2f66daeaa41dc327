"""Seconds an image, of several models in turns, so that a machine that drifts is the same to all."""

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from varlite.checkpoints.assemble import twin
from varlite.inference import prepare
from varlite.sampling import generate
from varlite.tokenizer import VQVAE


def seconds_per_image(
    models: Sequence[tuple[Any, VQVAE, Mapping[str, Any]]], batch: int = 64, rounds: int = 5
) -> list[float]:
    """Median over rounds of what sampling `batch` images takes, per image; decoding included, one round to warm up.

    models: (model, tokenizer, settings of `generate`). Raises ValueError for less than one image or round.
    """
    if batch < 1 or rounds < 1:
        raise ValueError(f"batch and rounds must be at least 1, got {batch} and {rounds}")
    times: list[list[float]] = [[] for _ in models]
    ready = [(prepare(twin(model)), tokenizer, settings) for model, tokenizer, settings in models]
    for turn in range(rounds + 1):
        for seconds, (model, tokenizer, settings) in zip(times, ready, strict=True):
            labels = [i % model.config.classes for i in range(batch)]
            start = time.perf_counter()
            generate(model, tokenizer, labels, seeds=turn, **settings).cpu()  # waits for a GPU
            seconds.append((time.perf_counter() - start) / batch)
    return [float(f"{median(seconds[1:]):.3g}") for seconds in times]
