"""`varlite bench`: what sampling and training cost here, part by part, beside a plain way of doing the same.

Each way has a process of its own, since what becomes of freed memory is a matter of the whole process. They take turns,
so that a machine that drifts is the same to all: a speed-up is the median over rounds of the ratio within a round. The
first round is not counted.
"""

import multiprocessing
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from varlite.inference import Precision
from varlite.io.memory import keep_freed_memory
from varlite.io.provenance import command, machine
from varlite.speed.stopwatch import Round, figure, gemm_rate, measure
from varlite.speed.ways import SETTINGS, What, Work

CPU = torch.device("cpu")
TURN = 2.0  # seconds
REST = 0.5  # seconds in which the threads of the process before stop waiting busily
# Where forking is safe the processes are copies of one that has imported torch, which takes each of them seconds.
CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
GONE = "a process of the bench ended before its work was done; there may be too little memory"


class Worker:
    """A process that has one way open and runs it when it is asked to."""

    def __init__(self, work: Work, way: str):
        CONTEXT.set_forkserver_preload([__name__])
        self.pipe, theirs = CONTEXT.Pipe()
        arguments = (theirs, work, way, torch.get_num_threads())
        self.process = CONTEXT.Process(target=serve, args=arguments, daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the main process alone
        self.process.start()
        signal.signal(signal.SIGINT, before)
        theirs.close()
        self.flop, self.facts = self.answer()

    def answer(self) -> Any:
        try:
            found = self.pipe.recv()
        except EOFError:
            raise OSError(GONE) from None
        if isinstance(found, Exception):
            raise found
        return found

    def run(self, i: int, repeats: int) -> Round:
        """The median of so many runs."""
        try:
            self.pipe.send((i, repeats))
        except BrokenPipeError:
            raise OSError(GONE) from None
        return self.answer()

    def close(self) -> None:
        self.process.terminate()
        self.process.join()


def serve(pipe: Any, work: Work, way: str, threads: int) -> None:
    """What the process of a `Worker` does."""
    torch.set_num_threads(threads)
    keep_freed_memory(way != "plain")
    try:
        opened, facts = work.open(way)
        pipe.send((opened.flop, facts))
        while True:
            i, repeats = pipe.recv()
            runs = [measure(opened, i, work.device) for _ in range(repeats)]
            middle = sorted(runs, key=lambda run: run.seconds)[repeats // 2]
            pipe.send(replace(middle, result=runs[-1].result))
    except (ValueError, OSError) as error:
        pipe.send(error)


def bench(
    name: str = "fashion-var-d4",
    batch: int = 1,
    what: What = "sample",
    device: torch.device = CPU,
    rounds: int = 5,
    precision: Precision = "float32",
    compiled: bool = False,
    weights: Any = None,
    dials: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Measure a preset or a folder; the record holds medians over `rounds` and, for each round, its speed-up.

    sample: plain, varlite (float32, the same tokens) and, where asked for, another precision and compiled blocks.
    train: plain encodes the images at every step, and its optimizer goes from weight to weight; varlite has the tokens.
    Raises ValueError for fewer rounds or images than one, and for a precision that is not for this device or work.
    """
    for argument, value in (("batch", batch), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    if what == "train" and (precision == "int8" or compiled):
        raise ValueError("what: training knows neither int8 nor compiled blocks; they are for sampling")
    work = Work(name, batch, what, device, precision, compiled, weights, dials)
    with ExitStack() as stack:
        workers = {}
        for way in work.ways():
            workers[way] = Worker(work, way)
            stack.callback(workers[way].close)
        found: dict[str, list[Round]] = {way: [] for way in workers}
        for i in range(rounds + 1):
            # A turn lasts some seconds, or waking up would be a large part of it.
            repeats = max(1, min(9, int(TURN / min(of_way[0].seconds for of_way in found.values())))) if i else 2
            for way in list(workers)[:: 1 if i % 2 == 0 else -1]:
                time.sleep(REST)
                found[way].append(workers[way].run(i, repeats))
        flop, facts = {way: worker.flop for way, worker in workers.items()}, workers["varlite"].facts
    rate, peak = gemm_rate(device), found["varlite"][-1].peak
    counted = {way: of_way[1:] for way, of_way in found.items()}
    options = {"model": name, "batch": batch, "what": what, "rounds": rounds, "precision": precision}
    options |= {"weights": weights, "dials": dials or None}
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return {
        "command": command("bench", **options, compile=compiled), "machine": machine() + threads,
        "model": name, "what": what, "batch": batch, **facts, "settings": SETTINGS if what == "sample" else {},
        "gemm_gflop_per_second": round(rate / 1e9, 1), "peak_memory_gib": round(peak / 2**30, 3),
        "ways": {
            way: of_one_way(of_way, counted["varlite"], flop[way], batch, facts["tokens"], rate)
            for way, of_way in counted.items()
        },
        "speedup": {way: speedup(of_way, counted["plain"]) for way, of_way in counted.items() if way != "plain"},
    }  # fmt: skip


def of_one_way(
    of_way: list[Round], same: list[Round], flop: int, batch: int, tokens: int, rate: float
) -> dict[str, Any]:
    """Medians over rounds. `equal` is the share of results that are those of `same`."""
    seconds = median(r.seconds for r in of_way)
    stages = {name: median(1000 * sum(r.stages[name]) for r in of_way) for name in of_way[0].stages}
    scales = zip(*(r.stages.get("transformer", []) for r in of_way), strict=True)
    # Losses and pixels are the same but for rounding, tokens entirely.
    off = 1e-3 if of_way[0].result.is_floating_point() else 0
    equal = [a.result.isclose(b.result, off, off).float().mean() for a, b in zip(of_way, same, strict=True)]
    record = {
        "seconds": figure(seconds),
        "images_per_second": figure(batch / seconds),
        "tokens_per_second": figure(tokens / seconds),
        "gflop": figure(flop / 1e9),
        "percent_of_gemm": figure(100 * flop / seconds / rate),
        "ms_by_stage": {name: figure(ms) for name, ms in stages.items()},
        "equal": round(torch.stack(equal).mean().item(), 4),
    }
    by_scale = [figure(1000 * median(times)) for times in scales]
    return record | ({"transformer_ms_by_scale": by_scale} if by_scale else {})


def speedup(of_way: list[Round], of_plain: list[Round]) -> dict[str, Any]:
    """How many times as fast as the plain way: over the whole, and of the decoder alone where there is one."""
    pairs = list(zip(of_plain, of_way, strict=True))
    of_rounds = [figure(a.seconds / b.seconds) for a, b in pairs]
    record = {"median": figure(median(of_rounds)), "rounds": of_rounds}
    if "decoder" in of_plain[0].stages:
        record["decoder"] = figure(median(a.stages["decoder"][0] / b.stages["decoder"][0] for a, b in pairs))
    return record
