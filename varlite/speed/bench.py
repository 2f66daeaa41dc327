"""`varlite bench`: what sampling and training cost here, part by part, beside a plain way of doing the same.

Each way has a process of its own, since what becomes of freed memory is a matter of the whole process. They take turns,
so that a machine that drifts is the same to all: a speed-up is the median over rounds of the ratio within a round. The
first round is not counted.
"""

import copy
import multiprocessing
import shlex
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from varlite import sampling
from varlite.checkpoints.load import load, on_meta
from varlite.commands.info import random_model
from varlite.experiments.scaling_laws import flops
from varlite.io.memory import keep_freed_memory, peak_memory
from varlite.io.places import CHECKPOINTS
from varlite.models import VAR
from varlite.prepare import Precision, autocast, prepare
from varlite.presets import MODELS
from varlite.sampling import compile_blocks
from varlite.speed.reference import keep_top, plain
from varlite.tokenizer import VQVAE
from varlite.training.engine import Ema, Engine
from varlite.training.loop import machine
from varlite.training.options import Options
from varlite.training.train_transformer import decay_groups

What = Literal["sample", "train"]
CPU = torch.device("cpu")
TURN = 2.0  # seconds
REST = 0.5  # seconds in which the threads of the process before stop waiting busily
GONE = "a process of the bench ended before its work was done; there may be too little memory"
SETTINGS: dict[str, Any] = {"cfg": 1.5, "top_k": 0, "top_p": 0.96}


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
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

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


def open_model(name: str, device: torch.device, weights: Any = None) -> tuple[VAR, VQVAE, str]:
    """(model, tokenizer, where the weights are from); random where a preset has none here, since times are the same."""
    if name in MODELS and weights is None and not (CHECKPOINTS / name).is_dir():
        torch.manual_seed(0)
        model, tokenizer = random_model(name)
        return model.to(device), tokenizer.to(device), "random"
    return *load(name, weights, device=device), str(weights or name)


@dataclass(frozen=True)
class Work:
    """What is measured."""

    name: str
    batch: int
    what: What
    device: torch.device
    precision: Precision
    compiled: bool
    weights: Any

    def ways(self) -> list[str]:
        other = [self.precision] if self.precision != "float32" and self.what == "sample" else []
        return ["varlite", "plain", *other, *(["compiled"] if self.compiled else [])]

    def open(self, way: str) -> tuple[Way, dict[str, Any]]:
        """One of the ways, and facts about the model."""
        model, tokenizer, source = open_model(self.name, self.device, self.weights)
        facts = {"weights": source, "sides": model.scales.sides, "tokens": model.scales.total * self.batch}
        return (sampling_way if self.what == "sample" else training_way)(self, way, model, tokenizer), facts


class Worker:
    """A process that has one way open and runs it when it is asked to."""

    def __init__(self, work: Work, way: str):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, work, way, torch.get_num_threads())
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
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
) -> dict[str, Any]:
    """Measure a preset or a folder; the record holds medians over `rounds` and, for each round, its speed-up.

    sample: plain, varlite (float32, the same tokens) and, where asked for, another precision and compiled blocks.
    train: plain encodes the images at every step, and its optimizer goes from weight to weight; varlite has the tokens.
    Raises ValueError for fewer rounds or images than one, and for a precision that is not for this device or work.
    """
    for argument, value in (("batch_size", batch), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    if what == "train" and (precision == "int8" or compiled):
        raise ValueError("what: training knows neither int8 nor compiled blocks; they are for sampling")
    work = Work(name, batch, what, device, precision, compiled, weights)
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
    options = {"model": name, "batch-size": batch, "what": what, "rounds": rounds, "precision": precision}
    words = [f"--{key}={value}" for key, value in options.items()] + ["--compile"] * compiled
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return {
        "command": shlex.join(["varlite", "bench", *words]), "machine": machine() + threads,
        "model": name, "what": what, "batch": batch, **facts, "settings": SETTINGS if what == "sample" else {},
        "gemm_gflop_per_second": round(rate / 1e9, 1), "peak_memory_gib": round(peak / 2**30, 3),
        "ways": {
            way: describe(of_way, counted["varlite"], flop[way], batch, facts["tokens"], rate)
            for way, of_way in counted.items()
        },
        "speedup": {way: compare(of_way, counted["plain"]) for way, of_way in counted.items() if way != "plain"},
    }  # fmt: skip


def describe(of_way: list[Round], same: list[Round], flop: int, batch: int, tokens: int, rate: float) -> dict[str, Any]:
    """Medians over rounds. `equal` is the share of results that are those of `same`."""
    seconds = median(r.seconds for r in of_way)
    stages = {name: median(1000 * sum(r.stages[name]) for r in of_way) for name in of_way[0].stages}
    scales = zip(*(r.stages.get("transformer", []) for r in of_way), strict=True)
    # Losses are the same but for rounding, tokens entirely.
    rtol = 1e-3 if of_way[0].result.is_floating_point() else 0
    equal = [a.result.isclose(b.result, rtol, 0).float().mean() for a, b in zip(of_way, same, strict=True)]
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


def compare(of_way: list[Round], of_plain: list[Round]) -> dict[str, Any]:
    """How many times as fast as the plain way: over the whole, and of the decoder alone where there is one."""
    pairs = list(zip(of_plain, of_way, strict=True))
    of_rounds = [figure(a.seconds / b.seconds) for a, b in pairs]
    record = {"median": figure(median(of_rounds)), "rounds": of_rounds}
    if "decoder" in of_plain[0].stages:
        record["decoder"] = figure(median(a.stages["decoder"][0] / b.stages["decoder"][0] for a, b in pairs))
    return record


def figure(x: float) -> float:
    """Four digits."""
    return float(f"{x:.4g}")


def gemm_rate(device: torch.device, n: int = 2048, rounds: int = 7) -> float:
    """FLOP a second in a float32 product of two matrices of n x n: what the machine can do."""
    a, watch, times = torch.randn(n, n, device=device), Stopwatch(device), []
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


# Sampling


def sampling_way(work: Work, way: str, model: VAR, tokenizer: VQVAE) -> Way:
    empty, (h, w) = on_meta(VQVAE, tokenizer.config), model.scales.last
    decoder = count(lambda: empty.to_image(torch.empty(work.batch, tokenizer.config.z, h, w, device="meta")))
    flop, filters, precision = work.batch * flops(model.config, "sampling") + decoder, sampling.keep_top, work.precision
    if way == "plain":
        (model, tokenizer), filters, precision = plain(model, tokenizer), keep_top, "float32"
    elif way == "varlite":
        model, precision = prepare(model), "float32"
    elif way == "compiled":
        compile_blocks(model)
        precision = "float32" if precision == "int8" else precision
    else:
        model = prepare(model, precision)
    return Way(partial(sample, model, tokenizer, work.batch, precision, filters), flop)


def sample(
    model: VAR, tokenizer: VQVAE, batch: int, precision: Precision, filters: Callable, watch: Stopwatch, seed: int
) -> torch.Tensor:
    """All tokens (B, L) of `batch` images."""
    labels, tokens, draw_one = [i % model.config.classes for i in range(batch)], [], sampling.draw

    def draw(*args: Any) -> torch.Tensor:
        tokens.append(watch.timed("draws", draw_one)(*args))
        return tokens[-1]

    quantizer = ("embed", "accumulate", "next_input")
    with ExitStack() as stack:
        for owner, name, stage in (
            (model, "step", "transformer"),
            *((tokenizer, name, "quantizer") for name in quantizer),
            (tokenizer, "to_image", "decoder"),
        ):
            stack.enter_context(patch.object(owner, name, watch.timed(stage, getattr(owner, name))))
        stack.enter_context(patch.object(sampling, "keep_top", watch.timed("filters", filters)))
        stack.enter_context(patch.object(sampling, "draw", draw))
        stack.enter_context(autocast(watch.device, precision))
        generator = torch.Generator(watch.device).manual_seed(seed)
        sampling.generate(model, tokenizer, labels, generator=generator, **SETTINGS)
    return torch.cat(tokens, 1).cpu()


# Training


def training_way(work: Work, way: str, model: VAR, tokenizer: VQVAE) -> Way:
    half: Any = work.precision
    engine = Engine(Options(device="cpu" if work.device.type == "cpu" else "auto", precision=half))
    tokenizer, draws = tokenizer.requires_grad_(False), torch.Generator().manual_seed(0)
    shape = (work.batch, tokenizer.config.channels, *tokenizer.image_size())
    img = (torch.rand(shape, generator=draws) * 2 - 1).to(work.device)
    label_B = torch.randint(model.config.classes, (work.batch,), generator=draws).to(work.device)

    @torch.no_grad()
    def encode() -> torch.Tensor:
        return torch.cat(tokenizer.encode(img), 1)

    learner = copy.deepcopy(model).train().requires_grad_(True)
    fused = {"fused": True} if way == "varlite" else {}
    optimizer = torch.optim.AdamW(decay_groups(learner, 0.05), lr=1e-5, betas=(0.9, 0.95), **fused)
    door, optimizer = engine.prepare(learner, optimizer)
    flop, known = work.batch * flops(model.config, "training"), encode() if way == "varlite" else None
    if known is None:
        empty = on_meta(VQVAE, tokenizer.config)
        empty.scales = tokenizer.scales
        flop += count(lambda: empty.features(torch.empty(shape, device="meta")))
    return Way(
        partial(train_step, engine, door, optimizer, Ema(learner, 0.99), tokenizer, encode, known, label_B), flop
    )


def train_step(
    engine: Engine, door: Any, optimizer: Any, ema: Ema, tokenizer: VQVAE, encode: Callable, known: Any,
    label_B: torch.Tensor, watch: Stopwatch, seed: int,
) -> torch.Tensor:  # fmt: skip
    """The loss (1,) of one step on token maps that are `known`, or else encoded."""
    idx_BL = watch.timed("encode", encode)() if known is None else known
    chance_B = torch.rand(len(label_B), generator=torch.Generator().manual_seed(seed)).to(label_B.device)

    def loss_of(*share: torch.Tensor) -> Any:
        idx_BL, label_B, chance_B = share
        return door("loss", tokenizer, tokenizer.scales.split(idx_BL), label_B, chance_B), {}

    with (
        patch.object(engine.accelerator, "backward", watch.timed("backward", engine.accelerator.backward)),
        patch.object(optimizer, "step", watch.timed("optimizer", optimizer.step)),
        patch.object(ema, "update", watch.timed("optimizer", ema.update)),
    ):
        shares = engine.shares(idx_BL, label_B, chance_B)
        figures = engine.minimise(door, optimizer, shares, watch.timed("forward", loss_of), clip=2.0)
        ema.update()
    return torch.tensor([figures["loss"]])


# Printing


def report(record: dict[str, Any]) -> str:
    """A record as a table: ways side by side, their parts below each other."""
    ways: dict[str, dict[str, Any]] = record["ways"]
    stages = list(dict.fromkeys(stage for way in ways.values() for stage in way["ms_by_stage"]))
    rows = [
        *((name, [f"{way[key]:.4g}" for way in ways.values()]) for name, key in NUMBERS.items()),
        ("times as fast as plain", [shown(record["speedup"].get(name), "median") for name in ways]),
        *((f"{s}, ms", [f"{way['ms_by_stage'].get(s, 0):.4g}" for way in ways.values()]) for s in stages),
    ]
    if record["what"] == "sample":
        rows.append(("decoder, times as fast", [shown(record["speedup"].get(name), "decoder") for name in ways]))
        by_scale = zip(*(way["transformer_ms_by_scale"] for way in ways.values()), strict=True)
        of_scale = zip(
            names_of_steps(record["sides"], len(ways["plain"]["transformer_ms_by_scale"])), by_scale, strict=True
        )
        rows += [(f"transformer, {name}, ms", [f"{ms:.4g}" for ms in of_ways]) for name, of_ways in of_scale]
    head = f"{record['model']} ({record['weights']} weights), {record['what']}, batch {record['batch']}, "
    lines = [head + record["machine"], f"{'':28s}" + "".join(f"{name:>12s}" for name in ways)]
    lines += [f"{name:28s}" + "".join(f"{value:>12s}" for value in values) for name, values in rows]
    rate, peak = record["gemm_gflop_per_second"], record["peak_memory_gib"]
    return "\n".join([*lines, f"matrix product {rate} GFLOP/s, peak memory {peak} GiB"])


NUMBERS = {
    "seconds": "seconds", "images a second": "images_per_second", "tokens a second": "tokens_per_second",
    "GFLOP": "gflop", "% of matrix product": "percent_of_gemm", "results equal": "equal",
}  # fmt: skip


def shown(speedup: dict[str, Any] | None, key: str) -> str:
    return "" if speedup is None else f"{speedup[key]:.3g}"


def names_of_steps(sides: list, steps: int) -> list[str]:
    """What each step of the transformer draws: a scale, or for a raster model a token."""
    if steps != len(sides):
        return [f"token {i}" for i in range(steps)]
    return [f"{h} x {w}" for h, w in (side if isinstance(side, (list, tuple)) else (side, side) for side in sides)]
