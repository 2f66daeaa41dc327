"""Stage 2: train a next-scale transformer on cached token maps."""

import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from varlite.checkpoints.load import load, load_tokenizer, weights_file
from varlite.datasets.batches import batch_indices
from varlite.datasets.pixels import to_bytes
from varlite.datasets.tokens import TokenCache, cache_tokens
from varlite.drawing import image_generator
from varlite.io.files import save_model, sha256
from varlite.io.meta import on_meta
from varlite.io.pictures import save_png, tile
from varlite.io.provenance import command
from varlite.models import VAR, VARConfig, kind_of
from varlite.presets import MODELS, TOKENIZERS, ModelPreset, TransformerRecipe, choose
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE
from varlite.training.engine import Ema, Engine, Trained
from varlite.training.loop import (
    Run,
    Stateful,
    differences,
    override,
    run_loop,
    step_seed,
    warmup_cosine,
    warmup_linear,
)
from varlite.training.options import Options


def learning_rate(step: int, recipe: TransformerRecipe) -> float:
    """Factor of the peak learning rate."""
    if recipe.schedule == "cosine":
        return warmup_cosine(step, recipe.steps, recipe.warmup)
    return warmup_linear(step, recipe.steps, recipe.warmup, recipe.final)


def weight_decay(step: int, recipe: TransformerRecipe) -> float:
    """From the first value to the final one along a cosine; constant where they are equal."""
    a, b = recipe.weight_decay, recipe.final_weight_decay
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def tokenizer_scales(row: ModelPreset) -> Scales | None:
    """The schedule a published tokenizer is used with, which serves several; None is its own."""
    return Scales.of(row.config.scales) if TOKENIZERS[row.tokenizer].hub else None


def decay_groups(model: VAR, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices, the class table among them; none on positions, levels, biases and other vectors."""
    without = ("pos_start", "pos_LC", "level_embed.weight")
    named = list(model.named_parameters())
    decays = {
        name for name, p in named if p.ndim >= 2 and name not in without and not name.endswith(("offset_nC", "norm_nC"))
    }
    return [
        {"params": [p for name, p in named if name in decays], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in decays], "weight_decay": 0.0},
    ]


@torch.inference_mode()
def validate_transformer(model: VAR, tokenizer: VQVAE, cache: TokenCache, n: int = 2000) -> dict[str, float]:
    """Cross-entropy and token error over the first n examples, all tokens and last scale; no label is dropped."""
    model.eval()
    start, sums, count = model.scales.spans[-1][0], torch.zeros(4), min(n, len(cache))
    for rows in torch.arange(count).split(250):
        idx_BL, label_B = (x.to(model.pos_LC.device) for x in cache.batch(rows))
        logits_BLV = model(model.inputs(tokenizer, model.scales.split(idx_BL)), label_B)
        loss_BL = F.cross_entropy(logits_BLV.transpose(1, 2), idx_BL, reduction="none")
        error_BL = (logits_BLV.argmax(-1) != idx_BL).float()
        sums += torch.stack(
            [x.mean(1).sum() for x in (loss_BL, loss_BL[:, start:], error_BL, error_BL[:, start:])]
        ).cpu()
    names = ("val_loss", "val_loss_last", "val_error", "val_error_last")
    return dict(zip(names, (sums / count).tolist(), strict=True))


def fresh_class_table(model: VAR, start: VAR) -> None:
    """Give `model` the weights of `start`, all but a class table of another size: that one keeps its initial values."""
    weights = start.state_dict()
    if model.config.classes != start.config.classes:
        weights["class_embed.table.weight"] = model.state_dict()["class_embed.table.weight"]
    model.load_state_dict(weights)


def same_shape(preset: str, ours: VARConfig, start: str, theirs: VARConfig) -> None:
    """Raises ValueError unless two configurations differ in nothing but classes and what only training uses."""
    free: dict[str, Any] = {"classes": 0, "drop_path": 0.0, "class_dropout": 0.0, "gamma_init": 0.0}
    changed = differences(asdict(replace(theirs, **free)), asdict(replace(ours, **free)))
    if changed:
        raise ValueError(f"start: {start} does not have the shape of preset {preset}: {'; '.join(changed)}")


@torch.no_grad()
def picture(model: VAR, tokenizer: VQVAE, seed: int, columns: int = 8, rows: int = 8) -> torch.Tensor:
    """Samples, a row for each of the first classes, from the same random numbers every time."""
    classes = range(min(rows, model.config.classes))
    labels = [c for c in classes for _ in range(columns)]
    generators = [image_generator(seed, c, i % columns, model.pos_LC.device) for i, c in enumerate(labels)]
    images = to_bytes(generate(model, tokenizer, labels, generator=generators)).cpu()
    return tile([list(row) for row in images.split(columns)])


def train(
    preset: str,
    data: str,
    out: Path,
    tokenizer: str | Path | None = None,
    start: str | None = None,
    weights: Path | None = None,
    options: Options = Options(),
    validate_every: int = 1000,
) -> Path:
    """Train preset `preset` on `data` in the folder `out`; returns the path of the finished model.

    tokenizer: a preset, folder or file; None is the one of `start`, or the preset's own.
    start: a model to go on from, by preset, folder or file, with `weights` as for `load`; None starts anew.
    The number of classes is the data's, whatever the preset says. Raises ValueError or FileNotFoundError for arguments
    that do not exist or do not go together, before anything is computed.
    """
    row = choose(MODELS, preset, "model preset")
    recipe = override(row.recipe, options)
    begun, vq = load(start, weights) if start else (None, None)
    if tokenizer or vq is None:
        vq = load_tokenizer(tokenizer or row.tokenizer, scales=tokenizer_scales(row))
    config = replace(row.config, vocab=vq.config.vocab, z=vq.config.z, scales=vq.scales.sides)
    if start and begun is not None:
        same_shape(preset, config, start, begun.config)
    kind, cls = kind_of(config).name, kind_of(config).model
    engine = Engine(options, blocks=tuple({type(block).__name__ for block in on_meta(cls, config).blocks}))
    vq = vq.to(engine.device).requires_grad_(False)
    caches = {
        split: cache_tokens(vq, data, split, flip=options.flip and split == "train") for split in ("train", "test")
    }
    cache, seed = caches["train"], options.seed
    engine.check_batch(min(recipe.batch, len(cache)))
    config = replace(config, classes=len(cache.meta["classes"]))
    identity: dict[str, Any] = {"stage": "transformer", "preset": preset}
    identity |= {"model": asdict(config), "recipe": asdict(recipe)}
    identity |= {"seed": seed, "flip": options.flip, "precision": options.precision, "data": data}
    identity |= {key: cache.meta[key] for key in ("data_sha256", "tokenizer_sha256", "classes")}
    identity |= {"start": sha256(weights_file(start, weights))} if start else {}
    line = command(
        "train", options, preset=preset, data=data, tokenizer=tokenizer, start=start, weights=weights, out=out
    )  # fmt: skip
    run = Run(out, identity, line, engine.main)
    if run.finished():
        return run.model_path

    torch.manual_seed(seed)
    model, said = cls(config).train(), None
    if begun is not None:
        fresh_class_table(model, begun)
        kept = begun.config.classes == config.classes
        table = "kept" if kept else f"new: {config.classes} classes instead of {begun.config.classes}"
        said = {"start": start, "class_table": table}
        if engine.main:
            print(f"weights of {start}; class table {table}", file=sys.stderr)
    optimizer = torch.optim.AdamW(decay_groups(model, recipe.weight_decay), lr=recipe.lr, betas=(0.9, 0.95), fused=True)
    door, optimizer = engine.prepare(model, optimizer)
    ema = Ema(engine.inside(door), recipe.ema)
    averaged = cls(config).to(engine.device).requires_grad_(False).eval()

    def loss_of(idx_BL: torch.Tensor, label_B: torch.Tensor, chance_B: torch.Tensor):
        return door("loss", vq, vq.scales.split(idx_BL), label_B, chance_B), {}

    def train_step(step: int) -> dict[str, float]:
        lr = recipe.lr * learning_rate(step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = lr
            if group["weight_decay"]:
                group["weight_decay"] = weight_decay(step, recipe)
        idx_BL, label_B = cache.batch(batch_indices(len(cache), recipe.batch, step, seed))
        # Chances of all processes, each of which takes its own: then two drop the labels that one would.
        chance_B = torch.rand(len(label_B), generator=torch.Generator().manual_seed(step_seed(seed, step)))
        metrics = engine.minimise(door, optimizer, engine.shares(idx_BL, label_B, chance_B), loss_of, recipe.clip)
        ema.update()
        return metrics | {"lr": lr}

    def validate() -> dict[str, Any]:
        tensors = ema.state_dict()["weights"]
        if not engine.main:
            return {}
        averaged.load_state_dict(tensors)
        save_png(out / "pictures" / f"{run.step:07d}.png", picture(averaged, vq, seed))
        return validate_transformer(averaged, vq, caches["test"])

    batch = min(recipe.batch, len(cache))
    per_step = {"images": batch, "tokens": batch * vq.scales.total}
    parts: dict[str, Stateful] = {"model": Trained(door, optimizer, engine), "ema": ema}
    seconds = run_loop(
        run, engine, parts, train_step, validate, recipe.steps, per_step, seed, said, options.tensorboard,
        validate_every=validate_every,
    )  # fmt: skip
    if engine.main:
        # The folder is complete in itself: a model without its tokenizer is of no use.
        save_model(out / "tokenizer.safetensors", {"kind": "tokenizer", "config": asdict(vq.config)}, vq.state_dict())
    about = {"kind": kind, "config": asdict(config), "tokenizer": row.tokenizer, "classes": cache.meta["classes"]}
    started_from = weights_file(start, weights) if start else None
    path = run.finish(about, ema.state_dict()["weights"], seconds, started_from)
    engine.wait()
    return path
