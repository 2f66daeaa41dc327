"""Guidance distilled away: condition contrastive alignment, CCA (arXiv 2410.09347), of a trained model.

Guidance draws from p(x | c) (p(x | c) / p(x))^s and pays with a second pass. CCA teaches the model the same tilt. It
sees images x with their label c and with the label c' of another image, and learns to tell the two apart by how its
likelihoods have changed since the start (equation 12):

    r(x, c) = log p(x | c) - log p_start(x | c)
    loss    = -log sigmoid(beta r(x, c)) - lambda log sigmoid(-beta r(x, c'))

Images and labels are those of the first training; no unconditional model takes part, and none is needed to sample.
"""

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from varlite.checkpoints.load import load, weights_file
from varlite.datasets import open_dataset
from varlite.datasets.tokens import TokenCache, Tokens
from varlite.io.files import read_about, sha256
from varlite.io.provenance import command
from varlite.models import Model, kind_of, require
from varlite.presets import MODELS, Count, Positive, Share, Steps, TransformerRecipe, Weight
from varlite.tokenizer import VQVAE, fingerprint
from varlite.training.engine import Engine
from varlite.training.options import Options
from varlite.training.recipes import override
from varlite.training.run import Run, identity
from varlite.training.train_transformer import TransformerTraining, block_names, open_tokens


@dataclass(frozen=True)
class CCARecipe(TransformerRecipe):
    """How a model is aligned. `contrast` is the paper's lambda: the larger, the stronger the tilt, the less diverse.

    The paper, for ImageNet: beta 0.02, lambda 50 to 1000 by size, a rate of 2e-5, one pass over the data. With few
    classes lambda has to be far below their number, since the label of another image is often the image's own: with ten
    classes and a lambda of 50, twenty steps at this rate destroyed fashion-var-d4 (token error 0.96).
    """

    steps: Count = 80
    batch: Count = 64
    lr: Positive = 3e-4
    warmup: Steps = 10
    ema: Share = 0.0
    weight_decay: Weight = 0.0
    final_weight_decay: Weight = 0.0
    beta: Positive = 0.02
    contrast: Weight = 1.0


def contrastive_loss(r_B2: torch.Tensor, beta: float, contrast: float) -> torch.Tensor:
    """Equation 12, averaged over images, of r (B, 2): under an image's own label, and under another image's."""
    own_B, other_B = r_B2.unbind(1)
    return (F.softplus(-beta * own_B) + contrast * F.softplus(beta * other_B)).mean()


class Alignment(TransformerTraining):
    """Fine-tuning of a copy of `start`, which stays as it is and gives the likelihoods to compare with."""

    cfg = 0.0  # of the pictures

    def __init__(
        self, run: Run, engine: Engine, options: Options, recipe: CCARecipe, start: Model, vq: VQVAE,
        splits: tuple[Tokens, TokenCache],
    ):  # fmt: skip
        learner = copy.deepcopy(start).train().requires_grad_(True)
        super().__init__(run, engine, options, recipe, learner, vq, splits)
        self.start = start.to(engine.device).requires_grad_(False).eval()
        self.every = replace(self.every, log=min(self.every.log, 10))

    def loss(
        self, x: torch.Tensor, label_B: torch.Tensor, chance_B: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        idx = self.data.example(self.vq.scales, x)
        # Labels of images drawn at random, so that c' is distributed as c; by chance it may be the image's own.
        rows_B = (chance_B.view(len(label_B), -1)[:, 0].cpu() * len(self.data)).long()
        label_B2 = torch.stack((label_B, self.data.label(rows_B).to(label_B.device)), 1)
        with torch.no_grad():
            before_B2 = self.start.log_likelihood(self.vq, idx, label_B2).sum(-1)
        r_B2 = self.door("log_likelihood", self.vq, idx, label_B2).sum(-1) - before_B2
        own, other = r_B2.detach().mean(0)
        return contrastive_loss(r_B2, self.recipe.beta, self.recipe.contrast), {"own": own, "other": other}

    def about(self) -> dict[str, Any]:
        config = self.run.config
        kept = {name: config[name] for name in ("classes", "tokenizer", "tokenizer_sha256") if config.get(name)}
        return {"kind": kind_of(self.config).name, "config": asdict(self.config)} | kept


def align(start: str, data: str, out: Path, weights: Path | None = None, options: Options = Options()) -> Path:
    """Fine-tune the model `start` for sampling without guidance, in the folder `out`; returns the new model's path.

    start: a preset, folder or file, with `weights` as for `load`. data: what it was trained on.
    The log has the means of r: `own` and `other`. Raises ValueError or OSError, before anything is computed, for a
    model that gives no likelihood, other classes than its own, and whatever else cannot be trained.
    """
    recipe = override(CCARecipe(), options)
    model, vq = load(start, weights)
    require(model, "likelihood", start)
    engine = Engine(options, block_names(model.config) if options.shard else ())
    file = weights_file(start, weights)
    head: dict[str, Any] = {"stage": "cca", "start": sha256(file), "tokenizer_sha256": fingerprint(vq)}
    head["tokenizer"] = MODELS[start].tokenizer if start in MODELS else read_about(file).get("tokenizer")
    line = command("align", options, start=start, data=data, weights=weights, out=out)
    run = Run(out, identity(head, recipe, options, data, asdict(model.config)), line, engine.main, file)
    if run.finished():
        return run.model_path
    size, channels = vq.image_size(), vq.config.channels
    train, test = (
        open_dataset(data, split, size, channels, options.unreadable, as_published=recipe.views != 1)
        for split in ("train", "test")
    )
    names = model.class_names or train.classes
    if len(train.classes) != model.config.classes or list(names) != list(train.classes):
        raise ValueError(
            f"data: {data} has {len(train.classes)} classes ({', '.join(train.classes[:3])}, ...), and {start} was "
            f"trained on {model.config.classes} others: alignment needs those"
        )
    engine.check_batch(min(recipe.batch, len(train.labels) * (1 + (options.flip and recipe.views == 1))))
    with run:
        if not run.begin({"data_sha256": train.checksum, "classes": train.classes}):
            return run.model_path
        run.say_data(train)
        vq = vq.to(engine.device).requires_grad_(False)
        splits = open_tokens(vq, data, (train, test), recipe, options)
        run.say_skipped(splits[0].skipped | splits[1].skipped)
        return Alignment(run, engine, options, recipe, model, vq, splits).train()
