"""Stage 1: train the multi-scale tokenizer.

    img --VQVAE--> reconstruction     L2 + l1 L1 + perceptual LPIPS + gan (adaptive) hinge + quantizer |f_hat_k - f|^2

All but the first two weights may be zero (VAR, section 3.2; VQGAN, arXiv 2012.09841).
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from varlite.checkpoints.load import load_tokenizer, weights_file
from varlite.datasets import Dataset, open_dataset
from varlite.datasets.batches import ahead, batch_indices
from varlite.datasets.pixels import to_bytes, to_float
from varlite.io.files import sha256
from varlite.io.pictures import save_png, tile
from varlite.io.provenance import command
from varlite.presets import TOKENIZERS, TokenizerRecipe, choose
from varlite.tokenizer import VQVAE, Pass, TokenizerConfig
from varlite.training.codebook import (
    CodeUsage,
    MovingCodes,
    asked_for,
    chosen,
    codebook_health,
    count_codes,
    kmeans_codes,
    move_codes,
    residual_codes,
)
from varlite.training.engine import Ema, Engine, Trained
from varlite.training.loop import Run, Stateful, differences, override, run_loop, step_seed, warmup_cosine
from varlite.training.losses import PatchDiscriminator, adaptive_weight, hinge_loss, perceptual_loss
from varlite.training.options import Options

CLIP = 1.0
RESEED_EVERY = 50


@torch.no_grad()
def validate_tokenizer(model: VQVAE, batches: Iterable[torch.Tensor]) -> dict[str, Any]:
    """Mean squared error on [-1, 1] images, and codebook health, over batches of bytes (B, channels, H, W)."""
    device, error, pixels = model.quantizer.codebook.weight.device, 0.0, 0
    usage_KV = torch.zeros(model.scales.K, model.config.vocab, device=device)
    for img in batches:
        x = to_float(img.to(device))
        idx = model.encode(x)
        usage_KV += count_codes(idx, model.config.vocab)
        error += F.mse_loss(model.decode(idx), x, reduction="sum").item()
        pixels += x.numel()
    return {"val_mse": error / pixels} | codebook_health(usage_KV)


def batches_of(dataset: Dataset, most: int = 10_000, batch: int = 250) -> Iterator[torch.Tensor]:
    """The first images of a dataset, a batch at a time."""
    return (dataset.images(rows) for rows in torch.arange(min(most, len(dataset.labels))).split(batch))


@torch.no_grad()
def picture(model: VQVAE, img: torch.Tensor) -> torch.Tensor:
    """Images of bytes in the upper row, what the tokenizer makes of them in the lower."""
    device = model.quantizer.codebook.weight.device
    again = to_bytes((model.decode(model.encode(to_float(img.to(device)))) + 1) / 2).cpu()
    return tile([list(img), list(again)])


class Adversary:
    """The discriminator, its optimizer, and when it joins in."""

    def __init__(self, recipe: TokenizerRecipe, model: VQVAE, engine: Engine):
        net = PatchDiscriminator(model.config.channels, model.image_size())
        optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.lr, betas=(0.5, 0.9), weight_decay=0.0)
        self.engine, self.first = engine, int(recipe.gan_from * recipe.steps)
        self.door, self.optimizer = engine.prepare(net, optimizer)
        self.part = Trained(self.door, self.optimizer, engine)

    def fools(self, reconstruction: torch.Tensor) -> torch.Tensor:
        """What the tokenizer minimises: the more real its patches look the lower."""
        net = self.engine.inside(self.door).requires_grad_(False)  # past DDP, which would wait for its gradients
        loss = -net(reconstruction).mean()
        net.requires_grad_(True)
        return loss

    def learn(self, pairs: list[tuple[torch.Tensor, ...]]) -> dict[str, float]:
        """One step on pairs (images, reconstructions)."""

        def loss_of(img: torch.Tensor, reconstruction: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            # One pass for both: DDP knows of one forward for each backward.
            real, fake = self.door("forward", torch.cat((img, reconstruction))).chunk(2)
            return hinge_loss(real, fake), {}

        metrics = self.engine.minimise(self.door, self.optimizer, pairs, loss_of, CLIP)
        return {"discriminator": metrics["loss"]}


def fit(
    model: VQVAE,
    trained: list[nn.Parameter],
    recipe: TokenizerRecipe,
    data: str,
    out: Path,
    options: Options,
    identity: dict[str, Any],
    command_line: str,
    started_from: Path | None = None,
) -> Path:
    """Train the parameters `trained` of `model` on `data` in the folder `out`; returns the path of the finished model.

    `identity` is what, beside the recipe and the data, makes this training the one that it is.
    """
    if options.shard:
        raise ValueError("shard: a tokenizer is small enough for every process to have all of it")
    config, seed = model.config, options.seed
    train, test = (open_dataset(data, split, model.image_size(), config.channels) for split in ("train", "test"))
    engine = Engine(options)
    engine.check_batch(min(recipe.batch, len(train.labels)))
    perceptual = perceptual_loss(recipe.perceptual)
    identity = identity | {"model": asdict(config), "recipe": asdict(recipe), "seed": seed, "flip": options.flip}
    identity |= {"precision": options.precision, "data": data, "data_sha256": train.checksum, "classes": train.classes}
    run = Run(out, identity, command_line, engine.main)
    if run.finished():
        return run.model_path

    follows = recipe.codebook == "mean"
    codes_VZ = model.quantizer.codebook.weight
    if recipe.start == "noise":
        nn.init.uniform_(codes_VZ, -1 / config.vocab, 1 / config.vocab)
    if follows:
        codes_VZ.requires_grad_(False)
        trained = [p for p in trained if p is not codes_VZ]
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr, betas=recipe.betas, weight_decay=0.0, fused=True)
    door, optimizer = engine.prepare(model.to(memory_format=torch.channels_last), optimizer)
    codes_VZ = model.quantizer.codebook.weight
    ema, averaged = Ema(model, recipe.ema), VQVAE(config).to(engine.device).requires_grad_(False)
    usage = CodeUsage(model.scales.K, config.vocab)
    parts: dict[str, Stateful] = {"model": Trained(door, optimizer, engine), "ema": ema, "usage": usage}
    adversary = Adversary(recipe, model, engine) if recipe.gan else None
    if adversary is not None:
        parts["adversary"] = adversary.part
    moving = MovingCodes(codes_VZ) if follows else None
    if moving is not None:
        parts["moving"] = moving
    if perceptual is not None:
        perceptual.to(engine.device)

    def read(step: int) -> list[torch.Tensor]:
        """This process's bytes of a step, by micro-step."""
        shares = engine.shares(batch_indices(len(train.labels), recipe.batch, step, seed))
        return [train.images(rows, crop_seed=step_seed(seed, step), flip=options.flip) for (rows,) in shares]

    def images(parts: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        for img in parts:
            yield to_float(img.to(engine.device)).to(memory_format=torch.channels_last)

    def place_codes(step: int, parts: list[torch.Tensor]) -> None:
        """At the start put all codes, later the dead ones, onto what the quantizer asks for."""
        all_V = torch.ones(config.vocab, dtype=torch.bool)
        rows_V = all_V if step == 0 else usage.dead()
        if (n := int(rows_V.sum())) == 0:
            return
        with torch.no_grad():
            f = engine.gather(torch.cat([door("features", img) for img in images(parts)]))
            _, f_hats = model.quantizer.encode(f, model.scales)
        asked = asked_for(f, f_hats, model.scales)
        draws = torch.Generator().manual_seed(step_seed(seed, step))  # the same in every process
        centres = step == 0 and recipe.start == "kmeans"
        new = kmeans_codes(n, asked, draws) if centres else residual_codes(n, asked, draws)
        move_codes([codes_VZ, ema.weights["quantizer.codebook.weight"]], optimizer.optimizer, rows_V, new)
        usage.revive(rows_V)
        if moving is not None:
            moving.restart(rows_V)

    batches = ahead(read, recipe.steps)

    def train_step(step: int) -> dict[str, float]:
        lr = recipe.lr * warmup_cosine(step, recipe.steps, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = lr
        parts_of_step = batches(step)
        # Dead codes move until the last third, in which they settle.
        reseeding = recipe.reseed and step % RESEED_EVERY == 0 and 0 < step < recipe.steps * 2 // 3
        if reseeding or (step == 0 and recipe.start in ("residuals", "kmeans")):
            place_codes(step, parts_of_step)
        joined = adversary is not None and step >= adversary.first
        passes: list[Pass] = []
        pairs: list[tuple[torch.Tensor, ...]] = []

        def loss_of(img: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            x = door("forward", img)
            l2, l1 = F.mse_loss(x.reconstruction, img), F.l1_loss(x.reconstruction, img)
            loss, parts = l2 + recipe.l1 * l1, {"l2": l2, "l1": l1, "quantizer": x.quantizer_loss}
            if perceptual is not None:
                parts["perceptual"] = perceptual(x.reconstruction, img)
                loss = loss + recipe.perceptual_weight * parts["perceptual"]
            if joined:
                fooled = adversary.fools(x.reconstruction)
                weight = adaptive_weight(loss, fooled, model.decoder.conv_out.weight)
                loss, parts = loss + recipe.gan * weight * fooled, parts | {"gan": fooled, "gan_weight": weight}
                pairs.append((img, x.reconstruction.detach()))
            passes.append(x)
            return loss + recipe.quantizer * x.quantizer_loss, parts

        metrics = engine.minimise(door, optimizer, ((img,) for img in images(parts_of_step)), loss_of, CLIP)
        counts_KV = torch.stack([count_codes(x.idx, config.vocab) for x in passes]).sum(0)
        usage.update(engine.sum(counts_KV))
        if moving is not None:
            found = [chosen(x.idx, asked_for(x.f, x.f_hats, model.scales), config.vocab) for x in passes]
            moving.update(*(engine.sum(torch.stack(x).sum(0)) for x in zip(*found, strict=True)))
        ema.update()
        return metrics | (adversary.learn(pairs) if joined else {}) | {"lr": lr}

    shown = test.images(torch.arange(min(16, len(test.labels))))

    def validate() -> dict[str, Any]:
        weights = ema.state_dict()["weights"]
        if not engine.main:
            return {}
        averaged.load_state_dict(weights)
        save_png(out / "pictures" / f"{run.step:07d}.png", picture(averaged, shown))
        return validate_tokenizer(averaged, batches_of(test))

    def report() -> dict[str, Any]:
        return usage.report() | ({"skipped": len(train.skipped)} if train.skipped else {})

    per_step = {"images": min(recipe.batch, len(train.labels))}
    seconds = run_loop(
        run, engine, parts, train_step, validate, recipe.steps, per_step, seed,
        tensorboard=options.tensorboard, report=report,
    )  # fmt: skip
    about = {"kind": "tokenizer", "config": asdict(config), "classes": train.classes}
    path = run.finish(about, ema.state_dict()["weights"], seconds, started_from)
    engine.wait()
    return path


def train_tokenizer(preset: str, data: str, out: Path, options: Options = Options(), start: str | None = None) -> Path:
    """Train preset `preset` on `data` in the folder `out`; returns the path of the finished model.

    start: a tokenizer to go on from, by preset, folder or file; None starts anew. Codes are placed as the recipe says.
    Raises ValueError or FileNotFoundError for arguments that do not exist or do not go together, before anything is
    computed.
    """
    row = choose(TOKENIZERS, preset, "tokenizer preset")
    line = command("train-tokenizer", options, preset=preset, data=data, start=start, out=out)
    return train_config(row.config, override(row.recipe, options), preset, data, out, options, line, start)


def train_config(
    config: TokenizerConfig,
    recipe: TokenizerRecipe,
    name: str,
    data: str,
    out: Path,
    options: Options,
    line: str = "train_config, from Python",
    start: str | None = None,
) -> Path:
    """The same for a configuration and recipe that need not be a preset's; `line` is the command on its card."""
    torch.manual_seed(options.seed)
    model = VQVAE(config)
    identity: dict[str, Any] = {"stage": "tokenizer", "preset": name}
    if start is not None:
        begun = load_tokenizer(start)
        go_on_from(model, begun, start)
        identity["start"] = sha256(weights_file(start))
    return fit(
        model, list(model.parameters()), recipe, data, out, options, identity, line,
        started_from=None if start is None else weights_file(start),
    )  # fmt: skip


def go_on_from(model: VQVAE, begun: VQVAE, start: str) -> None:
    """Give `model` the weights of `begun`; the schedule of scales, and with it the phi's, may be another.

    Raises ValueError that names what else differs.
    """
    free: dict[str, Any] = {"scales": [1], "phi_shared": 1}
    changed = differences(asdict(replace(begun.config, **free)), asdict(replace(model.config, **free)))
    if changed:
        raise ValueError(f"start: {start} does not have the shape of the preset: {'; '.join(changed)}")
    ours, theirs = model.state_dict(), begun.state_dict()
    model.load_state_dict({name: theirs.get(name, tensor) for name, tensor in ours.items()})
