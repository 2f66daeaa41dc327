"""Training of fashion-judge, the second classifier (evaluation/judges/second_classifier.py).

The recipe was chosen for the accuracy on real test pictures alone. No generated image took part, then or later.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from varlite.datasets import open_dataset
from varlite.datasets.batches import batch_indices
from varlite.datasets.pixels import to_float
from varlite.evaluation.judges.second_classifier import SecondClassifier, second_accuracy
from varlite.training.engine import Engine, Trained
from varlite.training.loop import Run, Stateful, command, override, run_loop, warmup_cosine
from varlite.training.options import Options


@dataclass(frozen=True)
class Recipe:
    """How it is trained: AdamW, linear warm-up, cosine to zero. `shift` and the odd `hole` are in pixels."""

    steps: int = 4200
    batch: int = 128
    lr: float = 4e-3
    warmup: int = 150
    weight_decay: float = 0.02
    shift: int = 1
    hole: int = 3


def augment(img_BCHW: torch.Tensor, shift: int, hole: int) -> torch.Tensor:
    """Bytes moved by up to `shift` pixels each way, black coming in, and a `hole` x `hole` square of black cut out.

    `hole` is odd. The square (Cutout, arXiv 1708.04552) may lie partly outside. Draws from torch's global generator.
    """
    B, _, H, W = img_BCHW.shape
    padded = F.pad(img_BCHW, (shift, shift, shift, shift))
    dy, dx = torch.randint(0, 2 * shift + 1, (2, B, 1))
    rows, columns = torch.arange(H) + dy, torch.arange(W) + dx
    moved = padded[torch.arange(B)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    y, x = torch.randint(0, H, (B, 1)), torch.randint(0, W, (B, 1))
    in_rows = (torch.arange(H) - y).abs() <= (hole - 1) // 2
    in_columns = (torch.arange(W) - x).abs() <= (hole - 1) // 2
    return moved.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0)


def train_second_classifier(out: Path, options: Options = Options(seed=20261)) -> Path:
    """Train on Fashion-MNIST in the folder `out`, about ten minutes on two idle cores; returns the path of the model."""
    train, test = (open_dataset("fashion", split, (28, 28), 1) for split in ("train", "test"))
    recipe, seed = override(Recipe(), options), options.seed
    engine = Engine(options)
    engine.check_batch(recipe.batch)
    run = Run(
        out,
        {"stage": "second-classifier", "recipe": asdict(recipe), "seed": seed, "data": "fashion"}
        | {"precision": options.precision, "data_sha256": train.checksum},
        command("train-judge", options, out=out),
        engine.main,
    )
    if run.finished():
        return run.model_path
    torch.manual_seed(seed)
    config = {"classes": len(train.classes)}
    model = SecondClassifier(**config).to(memory_format=torch.channels_last).train()
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
        img = augment(train.images(rows), recipe.shift, recipe.hole)
        return engine.minimise(
            door, optimizer, engine.shares(img, train.labels[rows]), loss_of, clip=5.0
        ) | {"lr": lr}  # fmt: skip

    def validate() -> dict[str, Any]:
        score = second_accuracy(model.eval(), test_images, test.labels)
        model.train()
        return {"val_accuracy": score}

    parts: dict[str, Stateful] = {"model": Trained(door, optimizer, engine)}
    seconds = run_loop(
        run, engine, parts, train_step, validate, recipe.steps, {"images": recipe.batch}, seed,
        tensorboard=options.tensorboard,
    )  # fmt: skip
    half = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    path = run.finish({"kind": "second-classifier", "config": config}, half, seconds)
    engine.wait()
    return path
