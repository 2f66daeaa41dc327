"""The ways of sampling, and of a training step, that are measured beside each other."""

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from unittest.mock import patch

import torch

from varlite import drawing
from varlite.checkpoints.empty import random_model
from varlite.checkpoints.load import load
from varlite.datasets.latents import CACHES
from varlite.inference import Graphs, Precision, autocast, compile_blocks, prepare
from varlite.io.meta import on_meta
from varlite.io.places import CHECKPOINTS
from varlite.models import Model, set_dials
from varlite.presets import MODELS
from varlite.sampling import generate
from varlite.speed.reference import keep_top, reference
from varlite.speed.stopwatch import Stopwatch, Way, count
from varlite.tokenizer import VQVAE
from varlite.training.engine import Ema, Engine
from varlite.training.options import Options
from varlite.training.train_transformer import decay_groups

What = Literal["sample", "train"]
SETTINGS: dict[str, Any] = {"cfg": 1.5, "top_k": 0, "top_p": 0.96}


def open_model(name: str, device: torch.device, weights: Any = None) -> tuple[Model, VQVAE, str]:
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
    dials: tuple[str, ...] = ()

    def ways(self) -> list[str]:
        other = [self.precision] if self.precision != "float32" and self.what == "sample" else []
        return ["varlite", "plain", *other, *(["compiled"] if self.compiled else [])]

    def open(self, way: str) -> tuple[Way, dict[str, Any]]:
        """One of the ways, and facts about the model."""
        model, tokenizer, source = open_model(self.name, self.device, self.weights)
        set_dials(model, self.dials)
        positions = sum(run.tokens for run in model.passes(model.config, "training"))
        facts = {"weights": source, "sides": model.scales.sides, "tokens": positions * self.batch}
        return (sampling_way if self.what == "sample" else training_way)(self, way, model, tokenizer), facts


# Sampling


def sampling_way(work: Work, way: str, model: Model, tokenizer: VQVAE) -> Way:
    empty, (h, w) = on_meta(VQVAE, tokenizer.config), model.scales.last
    decoder = count(lambda: empty.to_image(torch.empty(work.batch, tokenizer.config.z, h, w, device="meta")))
    flop = work.batch * model.flops(model.config, "sampling") + decoder
    filters, precision = drawing.keep_top, work.precision
    if way == "plain":
        (model, tokenizer), filters, precision = reference(model, tokenizer), keep_top, "float32"
    elif way == "varlite":
        model, precision = prepare(model), "float32"
    elif way == "compiled":
        precision = "float32" if precision == "int8" else precision
        model = prepare(model, precision) if work.device.type == "cuda" else model  # as `varlite sample --compile`
        compile_blocks(model)
    else:
        model = prepare(model, precision)
    return Way(partial(sample, model, tokenizer, work.batch, precision, filters), flop)


def sample(
    model: Model, tokenizer: VQVAE, batch: int, precision: Precision, filters: Callable, watch: Stopwatch, seed: int
) -> torch.Tensor:
    """All tokens (B, L) of `batch` images; the seconds of each part are noted in `watch`.

    On a CUDA GPU without the recorded graph, which has no parts: `varlite verify` measures with it.
    """
    labels, tokens, draw_one = [i % model.config.classes for i in range(batch)], [], drawing.draw

    def draw(*args: Any) -> torch.Tensor:
        tokens.append(watch.timed("draws", draw_one)(*args))
        return tokens[-1]

    quantizer = ("embed", "accumulate", "next_input")
    with ExitStack() as stack:
        if isinstance(graphs := getattr(model, "sample", None), Graphs):
            stack.enter_context(patch.object(model, "sample", graphs.sample))
        for owner, name, stage in (
            *(((model, "step", "transformer"),) if hasattr(model, "step") else ()),
            *((tokenizer, name, "quantizer") for name in quantizer),
            (tokenizer, "to_image", "decoder"),
        ):
            stack.enter_context(patch.object(owner, name, watch.timed(stage, getattr(owner, name))))
        stack.enter_context(patch.object(drawing, "keep_top", watch.timed("filters", filters)))
        stack.enter_context(patch.object(drawing, "draw", draw))
        stack.enter_context(autocast(watch.device, precision))
        images = generate(model, tokenizer, labels, seeds=seed, **SETTINGS)
    return (torch.cat(tokens, 1) if tokens else images).cpu()  # a model that draws no tokens is compared by its images


# Training


def training_way(work: Work, way: str, model: Model, tokenizer: VQVAE) -> Way:
    half: Any = work.precision
    engine = Engine(Options(device="cpu" if work.device.type == "cpu" else "auto", precision=half))
    tokenizer, draws = tokenizer.requires_grad_(False), torch.Generator().manual_seed(0)
    shape = (work.batch, tokenizer.config.channels, *tokenizer.image_size())
    img = (torch.rand(shape, generator=draws) * 2 - 1).to(work.device)
    label_B = torch.randint(model.config.classes, (work.batch,), generator=draws).to(work.device)

    kept = CACHES[model.learns]

    @torch.no_grad()
    def encode() -> torch.Tensor:
        return kept.encode(tokenizer, img)

    def loss(rows: torch.Tensor, label_B: torch.Tensor, chance_Bn: torch.Tensor) -> Any:
        return door("loss", tokenizer, kept.example(tokenizer.scales, rows), label_B, chance_Bn), {}

    learner = copy.deepcopy(model).train().requires_grad_(True)
    fused = {"fused": True} if way == "varlite" else {}
    optimizer = torch.optim.AdamW(decay_groups(learner, 0.05), lr=1e-5, betas=(0.9, 0.95), **fused)
    door, optimizer = engine.prepare(learner, optimizer)
    flop, known = work.batch * model.flops(model.config, "training"), encode() if way == "varlite" else None
    if known is None:
        empty = on_meta(VQVAE, tokenizer.config)
        empty.scales = tokenizer.scales
        flop += count(lambda: empty.features(torch.empty(shape, device="meta")))
    return Way(
        partial(train_step, engine, door, optimizer, Ema(learner, 0.99), loss, encode, known, label_B, model.chances),
        flop,
    )


def train_step(
    engine: Engine, door: Any, optimizer: Any, ema: Ema, loss: Callable, encode: Callable, known: Any,
    label_B: torch.Tensor, chances: int, watch: Stopwatch, seed: int,
) -> torch.Tensor:  # fmt: skip
    """The loss (1,) of one step on tokens or latents that are `known`, or else encoded."""
    rows = watch.timed("encode", encode)() if known is None else known
    draws = torch.Generator().manual_seed(seed)
    chance_Bn = torch.rand(len(label_B), chances, generator=draws).to(label_B.device)
    with (
        patch.object(engine.accelerator, "backward", watch.timed("backward", engine.accelerator.backward)),
        patch.object(optimizer, "step", watch.timed("optimizer", optimizer.step)),
        patch.object(ema, "update", watch.timed("optimizer", ema.update)),
    ):
        shares = engine.shares(rows, label_B, chance_Bn)
        figures = engine.minimise(door, optimizer, shares, watch.timed("forward", loss), clip=2.0)
        ema.update()
    return torch.tensor([figures["loss"]])
