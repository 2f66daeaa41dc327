"""Stage 1: train the multi-scale tokenizer.

    img --VQVAE--> reconstruction     L2 + l1 L1 + perceptual LPIPS + gan (adaptive) hinge + quantizer |f_hat_k - f|^2

All but the first two weights may be zero (VAR, section 3.2; VQGAN, arXiv 2012.09841).
"""

from collections.abc import Iterator
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
from varlite.evaluation.validation import batches_of, count_codes, validate_tokenizer
from varlite.io.files import sha256
from varlite.io.pictures import tile
from varlite.io.provenance import command
from varlite.presets import TOKENIZERS, TokenizerRecipe, choose
from varlite.tokenizer import VQVAE, Pass, TokenizerConfig
from varlite.training.codebook import (
    CodeUsage,
    MovingCodes,
    assigned,
    kmeans_codes,
    move_codes,
    residual_codes,
    scale_residuals,
)
from varlite.training.discriminators import open_discriminator
from varlite.training.engine import Ema, Engine, Trained
from varlite.training.loop import Training, step_seed
from varlite.training.losses import adaptive_weight, hinge_loss
from varlite.training.options import Options
from varlite.training.perceptual import perceptual_loss
from varlite.training.recipes import check, override, warmup_cosine
from varlite.training.run import Run, differences, identity

CLIP = 1.0
RESEED_EVERY = 50


def train_tokenizer(preset: str, data: str, out: Path, options: Options = Options(), start: str | None = None) -> Path:
    """Train preset `preset` on `data` in the folder `out`; returns the path of the finished model.

    start: a tokenizer to continue from, by preset, folder or file; None starts from random weights. Codes are
    initialised as the recipe says either way.
    Raises ValueError or OSError for arguments that do not exist or do not go together, before anything is computed.
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
    check(recipe)
    if recipe.start == "kept" and start is None:
        raise ValueError("recipe: start=kept keeps the codes of the tokenizer given as start, and none is given")
    engine = tokenizer_engine(options)
    torch.manual_seed(options.seed)
    model, head, file = VQVAE(config), {"stage": "tokenizer", "preset": name}, None
    if start is not None:
        continue_from(model, load_tokenizer(start), start)
        file = weights_file(start)
        head["start"] = sha256(file)
    run = Run(out, identity(head, recipe, options, data, asdict(config)), line, engine.main, file)
    return train_parts(model, list(model.parameters()), recipe, data, options, engine, run)


def train_parts(
    model: VQVAE,
    trained: list[nn.Parameter],
    recipe: TokenizerRecipe,
    data: str,
    options: Options,
    engine: Engine,
    run: Run,
) -> Path:
    """Train the parameters `trained` of `model`, all or some, in the folder of `run`."""
    if run.finished():
        return run.model_path
    used = model.quantizer.phis_of(model.scales)
    for phi in model.quantizer.phis:
        if phi not in used:  # without a gradient it would have no state to resume with
            phi.requires_grad_(False)
    trained = [weight for weight in trained if weight.requires_grad]
    size, channels = model.image_size(), model.config.channels
    train, test = (open_dataset(data, split, size, channels, options.unreadable) for split in ("train", "test"))
    engine.check_batch(min(recipe.batch, len(train.labels)))
    perceptual = perceptual_loss(recipe.perceptual)
    with run:
        if not run.begin({"data_sha256": train.checksum, "classes": train.classes}):
            return run.model_path
        run.say_data(train)
        path = TokenizerTraining(run, engine, options, recipe, model, trained, perceptual, (train, test)).train()
        run.say_skipped(train.skipped | test.skipped)
        return path


def tokenizer_engine(options: Options) -> Engine:
    if options.shard:
        raise ValueError("shard: a tokenizer is small enough for every process to have all of it")
    return Engine(options)


def continue_from(model: VQVAE, start: VQVAE, name: str) -> None:
    """Give `model` the weights of `start`; its schedule of scales, and so its phi's, may be another.

    Raises ValueError that names what else differs.
    """
    free: dict[str, Any] = {"scales": [1], "phi_shared": 1}
    changed = differences(asdict(replace(start.config, **free)), asdict(replace(model.config, **free)))
    if changed:
        raise ValueError(f"start: {name} does not have the shape of the preset: {'; '.join(changed)}")
    ours, theirs = model.state_dict(), start.state_dict()
    model.load_state_dict({name: theirs.get(name, tensor) for name, tensor in ours.items()})


class TokenizerTraining(Training):
    """Stage 1: `trained` are the parameters of `model` that learn, `splits` the train and the test split."""

    def __init__(
        self,
        run: Run,
        engine: Engine,
        options: Options,
        recipe: TokenizerRecipe,
        model: VQVAE,
        trained: list[nn.Parameter],
        perceptual: nn.Module | None,
        splits: tuple[Dataset, Dataset],
    ):
        self.data, self.test = splits
        super().__init__(run, engine, options, recipe, {"images": min(recipe.batch, len(self.data.labels))})
        config, codes_VZ = model.config, model.quantizer.codebook.weight
        if recipe.start == "noise":
            nn.init.uniform_(codes_VZ, -1 / config.vocab, 1 / config.vocab)
        if recipe.codebook == "mean":
            codes_VZ.requires_grad_(False)
            trained = [p for p in trained if p is not codes_VZ]
        optimizer = torch.optim.AdamW(trained, lr=recipe.lr, betas=recipe.betas, weight_decay=0.0, fused=True)
        self.model = model
        self.door, self.optimizer = engine.prepare(model.to(memory_format=torch.channels_last), optimizer)
        self.codes_VZ = model.quantizer.codebook.weight
        moving = ["quantizer.codebook.weight"] if recipe.codebook == "mean" else []
        self.ema, self.usage = Ema(model, recipe.ema, moving), CodeUsage(model.scales.K, config.vocab)
        self.averaged = VQVAE(config).to(engine.device).requires_grad_(False)
        self.adversary = Adversary(recipe, model, engine) if recipe.gan else None
        self.moving = MovingCodes(self.codes_VZ) if recipe.codebook == "mean" else None
        self.perceptual = None if perceptual is None else perceptual.to(engine.device)
        self.parts |= {"model": Trained(self.door, self.optimizer, engine), "ema": self.ema, "usage": self.usage}
        if self.adversary is not None:
            self.parts["adversary"] = self.adversary.part
        if self.moving is not None:
            self.parts["moving"] = self.moving
        self.batches = ahead(self.read, recipe.steps)
        self.shown = self.test.images(torch.arange(min(16, len(self.test.labels))))

    def read(self, step: int) -> list[torch.Tensor]:
        """This process's images of a step, as bytes, by micro-step."""
        data, seed = self.data, self.options.seed
        shares = self.engine.shares(batch_indices(len(data.labels), self.recipe.batch, step, seed))
        return [data.images(rows, crop_seed=step_seed(seed, step), flip=self.options.flip) for (rows,) in shares]

    def on_device(self, micro_steps: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        for img in micro_steps:
            yield to_float(img.to(self.engine.device)).to(memory_format=torch.channels_last)

    def step(self, step: int) -> dict[str, float]:
        recipe = self.recipe
        factor = warmup_cosine(step, recipe.steps, recipe.warmup)
        lr = self.set_rate(self.optimizer, factor)
        micro_steps = self.batches(step)
        self.place_codes(step, micro_steps)
        adversary = self.adversary if self.adversary is not None and step >= self.adversary.first else None
        if adversary is not None:
            self.set_rate(adversary.optimizer, factor * recipe.gan_pace)
        passes: list[Pass] = []
        pairs: list[tuple[torch.Tensor, ...]] = []

        def loss_of(img: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            passes.append(self.door("forward", img))
            if adversary is not None:
                pairs.append((img, passes[-1].reconstruction.detach()))
            return self.loss(img, passes[-1], adversary)

        shares = ((img,) for img in self.on_device(micro_steps))
        metrics = self.engine.minimise(self.door, self.optimizer, shares, loss_of, CLIP)
        self.follow(passes)
        self.ema.update()
        return metrics | (adversary.step(pairs) if adversary is not None else {}) | {"lr": lr}

    def loss(
        self, img: torch.Tensor, x: Pass, adversary: "Adversary | None"
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of a micro-step, and its parts for the log."""
        recipe = self.recipe
        l2, l1 = F.mse_loss(x.reconstruction, img), F.l1_loss(x.reconstruction, img)
        loss, parts = l2 + recipe.l1 * l1, {"l2": l2, "l1": l1, "quantizer": x.quantizer_loss}
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual(x.reconstruction, img)
            loss = loss + recipe.perceptual_weight * parts["perceptual"]
        if adversary is not None:
            gan = adversary.generator_loss(x.reconstruction)
            weight = adaptive_weight(loss, gan, self.model.decoder.conv_out.weight)
            loss, parts = loss + recipe.gan * weight * gan, parts | {"gan": gan, "gan_weight": weight}
        return loss + recipe.quantizer * x.quantizer_loss, parts

    def place_codes(self, step: int, micro_steps: list[torch.Tensor]) -> None:
        """Move codes onto residuals that must be quantized: all of them at step 0, later the dead ones.

        In the last third of the training codes settle and are no longer moved.
        """
        recipe, vocab = self.recipe, self.model.config.vocab
        reseeding = recipe.reseed and step % RESEED_EVERY == 0 and 0 < step < recipe.steps * 2 // 3
        if not reseeding and not (step == 0 and recipe.start in ("residuals", "kmeans")):
            return
        rows_V = torch.ones(vocab, dtype=torch.bool) if step == 0 else self.usage.dead()
        if (n := int(rows_V.sum())) == 0:
            return
        with torch.no_grad():
            f = self.engine.gather(torch.cat([self.door("features", img) for img in self.on_device(micro_steps)]))
            _, f_hats = self.model.quantizer.encode(f, self.model.scales)
        residuals = scale_residuals(f, f_hats, self.model.scales)
        # The same random numbers in every process.
        generator = torch.Generator().manual_seed(step_seed(self.options.seed, step))
        make = kmeans_codes if step == 0 and recipe.start == "kmeans" else residual_codes
        codebooks = [self.codes_VZ, self.ema.weights["quantizer.codebook.weight"]]
        move_codes(codebooks, self.optimizer.optimizer, rows_V, make(n, residuals, generator))
        self.usage.revive(rows_V)
        if self.moving is not None:
            self.moving.restart(rows_V)

    def follow(self, passes: list[Pass]) -> None:
        """Count which codes a step chose, over all processes; codes that are moving averages move."""
        vocab, scales, total = self.model.config.vocab, self.model.scales, self.engine.sum
        self.usage.update(total(torch.stack([count_codes(x.idx, vocab) for x in passes]).sum(0)))
        if self.moving is not None:
            found = [assigned(x.idx, scale_residuals(x.f, x.f_hats, scales), vocab) for x in passes]
            self.moving.update(*(total(torch.stack(x).sum(0)) for x in zip(*found, strict=True)))

    def report(self) -> dict[str, Any]:
        return self.usage.report() | ({"skipped": len(self.data.skipped)} if self.data.skipped else {})

    def validate(self) -> dict[str, Any]:
        weights = self.weights()
        if not self.engine.main:
            return {}
        self.averaged.load_state_dict(weights)
        self.run.save_picture(reconstructions(self.averaged, self.shown))
        return validate_tokenizer(self.averaged, batches_of(self.test, self.averaged.image_size()))

    def about(self) -> dict[str, Any]:
        about = {"kind": "tokenizer", "config": asdict(self.model.config), "classes": self.data.classes}
        kept = {name: sha256 for name, sha256 in self.run.config.items() if name == "tokenizer_sha256"}
        return about | kept  # of a decoder that is tuned: its tokens are those of another file

    def weights(self) -> dict[str, torch.Tensor]:
        return self.ema.state_dict()["weights"]


@torch.no_grad()
def reconstructions(model: VQVAE, img: torch.Tensor) -> torch.Tensor:
    """A picture with the given images, bytes, in its upper row and their reconstructions in the lower."""
    device = model.quantizer.codebook.weight.device
    again = to_bytes((model.decode(model.encode(to_float(img.to(device)))) + 1) / 2).cpu()
    return tile([list(img), list(again)])


class Adversary:
    """The discriminator, its optimizer, and the step from which it takes part."""

    def __init__(self, recipe: TokenizerRecipe, model: VQVAE, engine: Engine):
        net = open_discriminator(recipe.discriminator, model.config.channels, model.image_size())
        self.weights = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(self.weights, lr=recipe.lr, betas=(0.5, 0.9), weight_decay=0.0)
        self.engine, self.first = engine, int(recipe.gan_from * recipe.steps)
        self.door, self.optimizer = engine.prepare(net, optimizer)
        self.part = Trained(self.door, self.optimizer, engine)

    def generator_loss(self, reconstruction: torch.Tensor) -> torch.Tensor:
        """Generator loss: lower the more real its patches look."""
        # Not through DDP, which would wait for gradients.
        for p in self.weights:
            p.requires_grad_(False)
        loss = -self.engine.inside(self.door)(reconstruction).mean()
        for p in self.weights:
            p.requires_grad_(True)
        return loss

    def step(self, pairs: list[tuple[torch.Tensor, ...]]) -> dict[str, float]:
        """One step of the discriminator on pairs (images, reconstructions)."""

        def loss_of(img: torch.Tensor, reconstruction: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            # One pass for both: DDP allows one forward per backward.
            real, fake = self.door("forward", torch.cat((img, reconstruction))).chunk(2)
            return hinge_loss(real, fake), {}

        metrics = self.engine.minimise(self.door, self.optimizer, pairs, loss_of, CLIP)
        return {"discriminator": metrics["loss"]}
