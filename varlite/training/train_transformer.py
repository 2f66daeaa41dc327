"""Stage 2: train a transformer on token maps, or on latents if that is what its kind learns from."""

import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.load import weights_file
from varlite.datasets import Dataset, open_dataset
from varlite.datasets.batches import ahead, batch_indices, rows_across, whole_passes
from varlite.datasets.latents import CACHES
from varlite.datasets.pixels import to_bytes
from varlite.datasets.tokens import FreshTokens, TokenCache, Tokens, cache_tokens
from varlite.evaluation.validation import validate_transformer
from varlite.io.files import sha256
from varlite.io.meta import on_meta
from varlite.io.pictures import tile
from varlite.io.provenance import command
from varlite.models import Model, VARConfig, kind_of
from varlite.presets import MODELS, TransformerRecipe, choose
from varlite.sampling import generate
from varlite.tokenizer import VQVAE, fingerprint
from varlite.training.engine import Ema, Engine, Trained
from varlite.training.loop import Training, step_seed
from varlite.training.options import Options
from varlite.training.recipes import override, warmup_cosine, warmup_linear
from varlite.training.run import Run, identity
from varlite.training.starting import random_model, starting_point

MEASURED = 10_000  # training images that a model of latents looks at before the first step


def train(
    preset: str,
    data: str,
    out: Path,
    tokenizer: str | Path | None = None,
    start: str | None = None,
    weights: Path | None = None,
    options: Options = Options(),
    validate_every: int | None = None,
) -> Path:
    """Train preset `preset` on `data` in the folder `out`; returns the path of the finished model.

    tokenizer: a preset, folder or file; None is the one of `start`, or the preset's own.
    start: a model to continue from, by preset, folder or file, with `weights` as for `load`; None starts from random
    weights. What `tokenizer` makes of pictures may be other codes than its own (varlite/training/new_codes.py).
    The number of classes is the data's, whatever the preset says. Raises ValueError or OSError for arguments that do
    not exist or do not go together, before anything is computed.
    """
    row = choose(MODELS, preset, "model preset")
    recipe = override(row.recipe, options)
    config, vq, begun = starting_point(preset, row, tokenizer, start, weights)
    engine = Engine(options, block_names(config) if options.shard else ())
    file = weights_file(start, weights) if start else None
    line = command(
        "train", options, preset=preset, data=data, tokenizer=tokenizer, start=start, weights=weights, out=out
    )  # fmt: skip
    known = identity({"stage": "transformer", "preset": preset}, recipe, options, data, asdict(config))
    del known["model"]["classes"]
    known |= {"tokenizer_sha256": fingerprint(vq)} | ({"start": sha256(file)} if file else {})
    run = Run(out, known, line, engine.main, file)
    if run.finished():
        return run.model_path

    def opened(vq: VQVAE, split: str, as_published: bool = recipe.views != 1) -> Dataset:
        size, channels = vq.image_size(), vq.config.channels
        return open_dataset(data, split, size, channels, options.unreadable, as_published=as_published)

    data_train, data_test = opened(vq, "train"), opened(vq, "test")
    engine.check_batch(min(recipe.batch, len(data_train.labels) * (1 + (options.flip and recipe.views == 1))))
    config = replace(config, classes=len(data_train.classes))
    with run:
        of_data = {"data_sha256": data_train.checksum, "classes": data_train.classes}
        if not run.begin({"model": asdict(config)} | of_data):
            return run.model_path
        run.say_data(data_train)
        vq = vq.to(engine.device).requires_grad_(False)
        kept = CACHES[kind_of(config).model.learns]
        tokens, test_cache = open_tokens(vq, data, (data_train, data_test), recipe, options, kept)
        run.say_skipped(tokens.skipped | test_cache.skipped)
        model = random_model(config, options.seed)
        said, fresh = None, not run.resumes()  # a checkpoint has all weights
        if fresh and begun:
            said = begun.give(model, vq, opened)
            if engine.main:
                print(f"weights of {start}; class table {said['class_table']}; codes {said['codes']}", file=sys.stderr)
        elif fresh and model.learns == "latents":
            rows = rows_across(tokens.label(torch.arange(len(tokens))), MEASURED)
            model.measure(tokens.example(vq.scales, tokens.batch(rows)[0]).cpu())
        begun = None  # its memory is free again
        training = TransformerTraining(run, engine, options, recipe, model, vq, (tokens, test_cache))
        training.first_line = said
        if validate_every:
            training.every = replace(training.every, validate=validate_every)
        path = training.train()
        if not recipe.views:
            run.say_skipped(tokens.skipped)
        return path


def open_tokens(
    vq: VQVAE, data: str, splits: tuple[Dataset, Dataset], recipe: TransformerRecipe, options: Options,
    kept: type[TokenCache] = TokenCache,
) -> tuple[Tokens, TokenCache]:  # fmt: skip
    """What `kept` keeps of images: to learn, once or at every step as `recipe.views` says, and to validate on."""
    train, test = splits
    views: dict[str, Any] = {"views": recipe.views, "seed": options.seed, "kept": kept}
    of_test = cache_tokens(vq, data, "test", dataset=test, **views)
    if recipe.views == 0:
        return FreshTokens(vq, train, options.flip, options.seed, kept), of_test
    return cache_tokens(vq, data, "train", flip=options.flip, dataset=train, **views), of_test


def block_names(config: VARConfig) -> set[str]:
    """The class names of a model's blocks, which sharding keeps whole."""
    return {type(block).__name__ for block in on_meta(kind_of(config).model, config).blocks}


def decay_groups(model: Model, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices, the class table included, which come first; none on positions, levels, biases and
    other vectors."""
    without = ("pos_start", "pos_LC", "level_embed.weight")
    named = list(model.named_parameters())
    decays = {
        name for name, p in named if p.ndim >= 2 and name not in without and not name.endswith(("offset_nC", "norm_nC"))
    }
    return [
        {"params": [p for name, p in named if name in decays], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in decays], "weight_decay": 0.0},
    ]


def learning_rate(step: int, recipe: TransformerRecipe) -> float:
    """Factor of the peak learning rate."""
    if recipe.schedule == "cosine":
        return warmup_cosine(step, recipe.steps, recipe.warmup)
    return warmup_linear(step, recipe.steps, recipe.warmup, recipe.final)


def weight_decay(step: int, recipe: TransformerRecipe) -> float:
    """From the first value to the final one along a cosine; constant where they are equal."""
    a, b = recipe.weight_decay, recipe.final_weight_decay
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


class TransformerTraining(Training):
    """Stage 2: `splits` are the examples to learn, and those to validate on."""

    cfg: float = 1.5  # guidance of the pictures

    def __init__(
        self,
        run: Run,
        engine: Engine,
        options: Options,
        recipe: TransformerRecipe,
        model: Model,
        vq: VQVAE,
        splits: tuple[Tokens, TokenCache],
    ):
        self.data, self.test = splits
        batch = min(recipe.batch, len(self.data))
        positions = sum(run.tokens for run in model.passes(model.config, "training"))
        per_step = {"images": batch} | ({"tokens": batch * positions} if model.learns == "tokens" else {})
        super().__init__(run, engine, options, recipe, per_step)
        self.config, self.vq = model.config, vq
        groups = decay_groups(model, recipe.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95), fused=True)
        self.door, self.optimizer = engine.prepare(model, optimizer)
        self.ema = Ema(engine.inside(self.door), recipe.ema)
        self.averaged = type(model)(model.config).to(engine.device).requires_grad_(False).eval()
        self.parts |= {"model": Trained(self.door, self.optimizer, engine), "ema": self.ema}
        self.batches = self.read if recipe.views else ahead(self.read, recipe.steps)

    def read(self, step: int) -> list[tuple[torch.Tensor, ...]]:
        """This process's examples of a step by micro-step: what is learned or images, labels, and chances."""
        n, batch, seed = len(self.data), self.recipe.batch, self.options.seed
        rows_B = batch_indices(n, batch, step, seed)
        # Drawn for the global batch, of which each process takes its share: any number of them draws the same.
        draws = torch.Generator().manual_seed(step_seed(seed, step))
        chance_Bn = torch.rand(len(rows_B), self.averaged.chances, generator=draws)
        shares, passes = self.engine.shares(rows_B, chance_Bn), whole_passes(n, batch, step)
        return [(*self.data.batch(rows, passes), chance_bn) for rows, chance_bn in shares]

    def step(self, step: int) -> dict[str, float]:
        recipe = self.recipe
        lr = self.set_rate(self.optimizer, learning_rate(step, recipe))
        self.optimizer.param_groups[0]["weight_decay"] = weight_decay(step, recipe)
        metrics = self.engine.minimise(self.door, self.optimizer, self.batches(step), self.loss, recipe.clip)
        self.ema.update()
        return metrics | {"lr": lr}

    def loss(
        self, x: torch.Tensor, label_B: torch.Tensor, chance_Bn: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.door("loss", self.vq, self.data.example(self.vq.scales, x), label_B, chance_Bn), {}

    def report(self) -> dict[str, Any]:
        return {"skipped": len(self.data.skipped)} if self.data.skipped and not self.recipe.views else {}

    def validate(self) -> dict[str, Any]:
        weights = self.weights()
        if not self.engine.main:
            return {}
        self.averaged.load_state_dict(weights)
        self.run.save_picture(samples_by_class(self.averaged, self.vq, self.options.seed, self.cfg))
        return validate_transformer(self.averaged, self.vq, self.test)

    def about(self) -> dict[str, Any]:
        config = self.run.config
        about = {"kind": kind_of(self.config).name, "config": asdict(self.config), "classes": config["classes"]}
        return about | {
            "tokenizer": MODELS[config["preset"]].tokenizer,
            "tokenizer_sha256": config["tokenizer_sha256"],
        }

    def weights(self) -> dict[str, torch.Tensor]:
        return self.ema.state_dict()["weights"]

    def beside(self) -> dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]]:
        return {
            "tokenizer.safetensors": ({"kind": "tokenizer", "config": asdict(self.vq.config)}, self.vq.state_dict())
        }


@torch.no_grad()
def samples_by_class(
    model: Model, tokenizer: VQVAE, seed: int, cfg: float, columns: int = 8, rows: int = 8
) -> torch.Tensor:
    """A picture of samples, one row for each of the first classes, from the same random numbers at each call."""
    classes = range(min(rows, model.config.classes))
    labels = [c for c in classes for _ in range(columns)]
    images = to_bytes(generate(model, tokenizer, labels, cfg=cfg, seeds=seed)).cpu()
    return tile([list(row) for row in images.split(columns)])
