"""Train fashion-classifier, the small CNN that scores small models: `varlite train-classifier`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from varlite.datasets import open_dataset
from varlite.datasets.batches import batch_indices
from varlite.datasets.pixels import to_float
from varlite.evaluation.classifier import Classifier, accuracy
from varlite.io.provenance import command
from varlite.training.engine import Engine, Trained
from varlite.training.loop import Run, Stateful, override, run_loop, step_seed, warmup_cosine
from varlite.training.options import Options


@dataclass(frozen=True)
class Recipe:
    """How it is trained: AdamW, linear warm-up, cosine to zero."""

    steps: int = 4000
    batch: int = 128
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01


def train_classifier(out: Path, options: Options = Options()) -> Path:
    """Train on Fashion-MNIST in the folder `out`, about five minutes on two cores; returns the path of the model."""
    train, test = (open_dataset("fashion", split, (28, 28), 1) for split in ("train", "test"))
    recipe, seed = override(Recipe(), options), options.seed
    engine = Engine(options)
    engine.check_batch(recipe.batch)
    run = Run(
        out,
        {"stage": "classifier", "recipe": asdict(recipe), "seed": seed, "flip": options.flip, "data": "fashion"}
        | {"precision": options.precision, "data_sha256": train.checksum},
        command("train-classifier", options, out=out),
        engine.main,
    )
    if run.finished():
        return run.model_path
    torch.manual_seed(seed)
    config = {"classes": len(train.classes)}
    model = Classifier(**config).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    door, optimizer = engine.prepare(model, optimizer)
    test_images = test.images(torch.arange(len(test.labels)))

    def loss_of(img: torch.Tensor, label_B: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return F.cross_entropy(door("forward", to_float(img)), label_B, label_smoothing=0.05), {}

    def train_step(step: int) -> dict[str, float]:
        lr = recipe.lr * warmup_cosine(step, recipe.steps, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = lr
        rows = batch_indices(len(train.labels), recipe.batch, step, seed)
        img = train.images(rows, crop_seed=step_seed(seed, step), flip=options.flip)
        shares = engine.shares(img, train.labels[rows])
        return engine.minimise(door, optimizer, shares, loss_of, clip=10.0) | {"lr": lr}

    def validate() -> dict[str, Any]:
        score = accuracy(model.eval(), test_images, test.labels)
        model.train()
        return {"val_accuracy": score}

    parts: dict[str, Stateful] = {"model": Trained(door, optimizer, engine)}
    seconds = run_loop(
        run, engine, parts, train_step, validate, recipe.steps, {"images": recipe.batch}, seed,
        tensorboard=options.tensorboard,
    )  # fmt: skip
    path = run.finish({"kind": "classifier", "config": config}, model.state_dict(), seconds)
    engine.wait()
    return path
