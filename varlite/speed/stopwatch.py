"""Timing one piece of work: its parts, its memory, its operations."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from varlite.io.memory import peak_memory


def wait_for(device: torch.device) -> float:
    """The time once all work of a device is done."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()
    return time.perf_counter()


@dataclass
class Way:
    """One way of doing some work."""

    run: Callable[["Stopwatch", int], torch.Tensor]  # of a round's number; gives what is compared between ways
    flop: int = 0


@dataclass
class Round:
    """What one run took."""

    seconds: float
    stages: dict[str, list[float]]  # seconds of each call
    result: torch.Tensor
    peak: int  # bytes of memory, at the highest so far


class Stopwatch:
    """Seconds of every call, by stage."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, defaultdict(list)  # type: torch.device, dict[str, list[float]]

    def now(self) -> float:
        return wait_for(self.device)

    def timed(self, stage: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = self.now()
            result = function(*args, **kwargs)
            self.seconds[stage].append(self.now() - start)
            return result

        return call


def measure(way: Way, i: int, device: torch.device) -> Round:
    watch = Stopwatch(device)
    start = watch.now()
    result = way.run(watch, i)
    seconds = watch.now() - start
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return Round(seconds, dict(watch.seconds), result, peak)


def figure(x: float) -> float:
    """Four digits."""
    return float(f"{x:.4g}")


def gemm_rate(device: torch.device, n: int = 2048, rounds: int = 7, dtype: torch.dtype = torch.float32) -> float:
    """FLOP a second in a product of two matrices of n x n: what the machine can do."""
    a, watch, times = torch.randn(n, n, device=device, dtype=dtype), Stopwatch(device), []
    for _ in range(rounds + 1):
        start = watch.now()
        a @ a
        times.append(watch.now() - start)
    return 2 * n**3 / median(times[1:])


def count(function: Callable[[], Any]) -> int:
    """FLOPs of matrix products and convolutions, counted on models without memory behind them."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        function()
    return counter.get_total_flops()
