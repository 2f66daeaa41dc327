"""`varlite bench`: what sampling and training cost here, part by part, beside a plain way of doing the same.

All ways take turns in one process, so that a machine that drifts is the same to all: a speed-up is the median over
rounds of the ratio within a round. The first round is not counted.
"""

import copy
import shlex
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from varlite import sampling
from varlite.describe import random_model
from varlite.evaluation.scaling import flops
from varlite.memory import keep_freed_memory, peak_memory
from varlite.models import VAR
from varlite.plain import keep_top, plain
from varlite.precision import Precision, autocast, prepare
from varlite.presets import MODELS
from varlite.pretrained import CHECKPOINTS, load, on_meta
from varlite.sampling import compile_blocks
from varlite.tokenizer import VQVAE
from varlite.training.engine import Ema, Engine
from varlite.training.loop import machine
from varlite.training.options import Options
from varlite.training.transformer import decay_groups

What = Literal["sample", "train"]
CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"cfg": 1.5, "top_k": 0, "top_p": 0.96}


@dataclass
class Way:
    """One way of doing the same work, and what each round of it took."""

    run: Callable[["Stopwatch", int], torch.Tensor]  # of a round's number; gives what is compared between ways
    flop: int
    plain: bool = False
    rounds: list[dict[str, Any]] = field(default_factory=list)  # {"seconds", "stages": {stage: [seconds of each call]}}
    results: list[torch.Tensor] = field(default_factory=list)


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


def open_model(name: str, device: torch.device, weights: Any = None) -> tuple[VAR, VQVAE, str]:
    """(model, tokenizer, where the weights are from); random where a preset has none here, since times are the same."""
    if name in MODELS and weights is None and not (CHECKPOINTS / name).is_dir():
        model, tokenizer = random_model(name)
        return model.to(device), tokenizer.to(device), "random"
    return *load(name, weights, device=device), str(weights or name)


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
    model, tokenizer, source = open_model(name, device, weights)
    opened = sampling_ways if what == "sample" else training_ways
    ways = opened(model, tokenizer, batch, device, precision, compiled)
    peak = run_rounds(ways, rounds, device)
    rate = gemm_rate(device)
    sides, tokens = model.scales.sides, model.scales.total * batch
    options = {"model": name, "batch-size": batch, "what": what, "rounds": rounds, "precision": precision}
    words = [f"--{key}={value}" for key, value in options.items()] + ["--compile"] * compiled
    return {
        "command": shlex.join(["varlite", "bench", *words]),
        "machine": f"{machine()}, {torch.get_num_threads()} threads" * (device.type == "cpu") or machine(),
        "model": name, "weights": source, "what": what, "batch": batch, "sides": sides, "tokens": tokens,
        "settings": SETTINGS if what == "sample" else {},
        "gemm_gflop_per_second": round(rate / 1e9, 1),
        "peak_memory_gib": round(peak / 2**30, 3),
        "ways": {key: describe(way, ways["varlite"], batch, tokens, rate) for key, way in ways.items()},
        "speedup": {key: compare(way, ways["plain"]) for key, way in ways.items() if key != "plain"},
    }  # fmt: skip


def run_rounds(ways: dict[str, Way], rounds: int, device: torch.device) -> int:
    """Every way once a round, in turns; returns the peak memory in bytes after the first run of the first way."""
    peak = 0
    for i in range(rounds + 1):
        for way in list(ways.values())[:: 1 if i % 2 == 0 else -1]:
            watch = Stopwatch(device)
            keep_freed_memory(not way.plain)
            start = watch.now()
            result = way.run(watch, i)
            seconds = watch.now() - start
            if not peak:
                peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
            if i:
                way.rounds.append({"seconds": seconds, "stages": dict(watch.seconds)})
                way.results.append(result)
    keep_freed_memory(False)
    return peak


def describe(way: Way, same: Way, batch: int, tokens: int, rate: float) -> dict[str, Any]:
    """Medians over rounds. `equal` is the share of results that are those of `same`."""
    seconds = median(r["seconds"] for r in way.rounds)
    stages = {name: median(1000 * sum(r["stages"][name]) for r in way.rounds) for name in way.rounds[0]["stages"]}
    scales = zip(*(r["stages"].get("transformer", []) for r in way.rounds), strict=True)
    # Losses are the same but for rounding, tokens entirely.
    rtol = 1e-3 if way.results[0].is_floating_point() else 0
    equal = [a.isclose(b, rtol, 0).float().mean() for a, b in zip(way.results, same.results, strict=True)]
    record = {
        "seconds": figure(seconds),
        "images_per_second": figure(batch / seconds),
        "tokens_per_second": figure(tokens / seconds),
        "gflop": figure(way.flop / 1e9),
        "percent_of_gemm": figure(100 * way.flop / seconds / rate),
        "ms_by_stage": {name: figure(ms) for name, ms in stages.items()},
        "equal": round(torch.stack(equal).mean().item(), 4),
    }
    by_scale = [figure(1000 * median(times)) for times in scales]
    return record | ({"transformer_ms_by_scale": by_scale} if by_scale else {})


def compare(way: Way, plain_way: Way) -> dict[str, Any]:
    """How many times as fast as the plain way: over the whole, and of the decoder alone where there is one."""
    pairs = list(zip(plain_way.rounds, way.rounds, strict=True))
    of_rounds = [figure(a["seconds"] / b["seconds"]) for a, b in pairs]
    record = {"median": figure(median(of_rounds)), "rounds": of_rounds}
    if "decoder" in plain_way.rounds[0]["stages"]:
        decoder = [a["stages"]["decoder"][0] / b["stages"]["decoder"][0] for a, b in pairs]
        record["decoder"] = figure(median(decoder))
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


def sampling_ways(
    model: VAR, tokenizer: VQVAE, batch: int, device: torch.device, precision: Precision, compiled: bool
) -> dict[str, Way]:
    empty, (h, w) = on_meta(VQVAE, tokenizer.config), model.scales.last
    decoder = count(lambda: empty.to_image(torch.empty(batch, tokenizer.config.z, h, w, device="meta")))
    flop, filters = batch * flops(model.config, "sampling") + decoder, sampling.keep_top
    slow = partial(sample, *plain(model, tokenizer), batch, "float32", keep_top)
    quick = {"varlite": prepare(twin(model))} | (
        {precision: prepare(twin(model), precision)} if precision != "float32" else {}
    )
    if compiled:
        quick["compiled"] = twin(model)
        compile_blocks(quick["compiled"])
    half: Precision = "float32" if precision == "int8" else precision
    precisions: dict[str, Precision] = {"varlite": "float32", "compiled": half}
    ways = {
        name: Way(partial(sample, other, tokenizer, batch, precisions.get(name, precision), filters), flop)
        for name, other in quick.items()
    }
    return {"varlite": ways.pop("varlite"), "plain": Way(slow, flop, plain=True)} | ways


def twin(model: VAR) -> VAR:
    """Another model of the same weights, not copies of them."""
    other = on_meta(type(model), model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    return other.eval()


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


def training_ways(
    model: VAR, tokenizer: VQVAE, batch: int, device: torch.device, precision: Precision, compiled: bool
) -> dict[str, Way]:
    half: Any = precision
    engine = Engine(Options(device="cpu" if device.type == "cpu" else "auto", precision=half))
    tokenizer = tokenizer.requires_grad_(False)
    draws = torch.Generator().manual_seed(0)
    img = torch.rand(batch, tokenizer.config.channels, *tokenizer.image_size(), generator=draws) * 2 - 1
    img, label_B = img.to(device), torch.randint(model.config.classes, (batch,), generator=draws).to(device)
    empty = on_meta(VQVAE, tokenizer.config)
    empty.scales = tokenizer.scales
    encoder = count(lambda: empty.features(torch.empty(img.shape, device="meta")))
    flop = batch * flops(model.config, "training")

    @torch.no_grad()
    def encode() -> torch.Tensor:
        return torch.cat(tokenizer.encode(img), 1)

    ways = {}
    for name, options in (("varlite", {"fused": True}), ("plain", {})):
        learner = copy.deepcopy(model).train().requires_grad_(True)
        optimizer = torch.optim.AdamW(decay_groups(learner, 0.05), lr=1e-5, betas=(0.9, 0.95), **options)
        door, optimizer = engine.prepare(learner, optimizer)
        known = None if name == "plain" else encode()
        run = partial(train_step, engine, door, optimizer, Ema(learner, 0.99), tokenizer, encode, known, label_B)
        ways[name] = Way(run, flop + (encoder if name == "plain" else 0), plain=name == "plain")
    return ways


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
