"""Train fashion-classifier, whose accuracy and features score the small models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from varlite.datasets import Dataset, open_dataset
from varlite.datasets.batches import batch_indices
from varlite.datasets.pixels import to_float
from varlite.evaluation.classifier import Classifier, accuracy
from varlite.io.provenance import command
from varlite.presets import Count, Positive, Steps, Weight
from varlite.training.engine import Engine, Trained
from varlite.training.loop import Training, step_seed
from varlite.training.options import Options
from varlite.training.recipes import override, warmup_cosine
from varlite.training.run import Run, identity

SIZES = {"fashion": ((28, 28), 1), "still-life": ((64, 64), 3)}  # (H, W) and channels


@dataclass(frozen=True)
class ClassifierRecipe:
    """How the classifier is trained: AdamW, linear warm-up, cosine to zero."""

    steps: Count = 4000
    batch: Count = 128
    lr: Positive = 2e-3
    warmup: Steps = 100
    weight_decay: Weight = 0.01


class ClassifierTraining(Training):
    """A network for ten classes of clothes; another network says its `net`, its `stage` and its view of the images."""

    net: type[Any] = Classifier
    stage, clip = "classifier", 10.0

    def __init__(self, run: Run, engine: Engine, options: Options, recipe: Any, train: Dataset, test: Dataset):
        super().__init__(run, engine, options, recipe, {"images": recipe.batch})
        torch.manual_seed(options.seed)
        self.data, self.test_labels = train, test.labels
        self.config = self.shape(train)
        self.model = self.net(**self.config).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.door, self.optimizer = engine.prepare(self.model, optimizer)
        self.test_images = test.images(torch.arange(len(test.labels)))
        self.parts["model"] = Trained(self.door, self.optimizer, engine)

    def shape(self, train: Dataset) -> dict[str, Any]:
        """What the network is built with."""
        return {"classes": len(train.classes)}

    def images(self, rows: torch.Tensor, step: int) -> torch.Tensor:
        """The training images of a step, bytes."""
        return self.data.images(rows, crop_seed=step_seed(self.options.seed, step), flip=self.options.flip)

    def step(self, step: int) -> dict[str, float]:
        recipe = self.recipe
        lr = self.set_rate(self.optimizer, warmup_cosine(step, recipe.steps, recipe.warmup))
        rows = batch_indices(len(self.data.labels), recipe.batch, step, self.options.seed)
        shares = self.engine.shares(self.images(rows, step), self.data.labels[rows])
        return self.engine.minimise(self.door, self.optimizer, shares, self.loss, self.clip) | {"lr": lr}

    def loss(self, img: torch.Tensor, label_B: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return F.cross_entropy(self.door("forward", to_float(img)), label_B, label_smoothing=0.05), {}

    def validate(self) -> dict[str, Any]:
        score = accuracy(self.model.eval(), self.test_images, self.test_labels)
        self.model.train()
        return {"val_accuracy": score}

    def about(self) -> dict[str, Any]:
        return {"kind": self.stage, "config": self.config}

    def weights(self) -> dict[str, torch.Tensor]:
        return self.model.state_dict()


def train_classifier(
    out: Path, options: Options = Options(), training: type[ClassifierTraining] = ClassifierTraining,
    recipe: Any = ClassifierRecipe(), line: str | None = None, data: str = "fashion",
) -> Path:  # fmt: skip
    """Train in the folder `out`, on Fashion-MNIST about five minutes on two cores; returns the path of the model."""
    recipe = override(recipe, options)
    engine = Engine(options)
    engine.check_batch(recipe.batch)
    line = line or command("train-classifier", options, out=out)
    run = Run(out, identity({"stage": training.stage}, recipe, options, data), line, engine.main)
    if run.finished():
        return run.model_path
    train, test = (open_dataset(data, split, *SIZES[data]) for split in ("train", "test"))
    with run:
        if not run.begin({"data_sha256": train.checksum}):
            return run.model_path
        return training(run, engine, options, recipe, train, test).train()
