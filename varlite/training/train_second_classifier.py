"""Training of fashion-judge, the second classifier (evaluation/judges/second_classifier.py).

The recipe was chosen for the accuracy on real test pictures alone. No generated image took part, then or later.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from varlite.evaluation.judges.second_classifier import SecondClassifier
from varlite.io.provenance import command
from varlite.presets import Count, Positive, Steps, Weight
from varlite.training.options import Options
from varlite.training.train_classifier import ClassifierTraining, train_classifier

SEED = 20261  # another than the first classifier's


@dataclass(frozen=True)
class JudgeRecipe:
    """AdamW, linear warm-up, cosine to zero. `shift` and `hole` are in pixels."""

    steps: Count = 4200
    batch: Count = 128
    lr: Positive = 4e-3
    warmup: Steps = 150
    weight_decay: Weight = 0.02
    shift: Count = 1
    hole: Count = 3


def augment(img_BCHW: torch.Tensor, shift: int, hole: int) -> torch.Tensor:
    """Bytes moved by up to `shift` pixels each way, black coming in, and a `hole` x `hole` square of black cut out.

    The square (Cutout, arXiv 1708.04552) may lie partly outside. Draws from torch's global generator.
    """
    B, _, H, W = img_BCHW.shape
    padded = F.pad(img_BCHW, (shift, shift, shift, shift))
    dy, dx = torch.randint(0, 2 * shift + 1, (2, B, 1))
    rows, columns = torch.arange(H) + dy, torch.arange(W) + dx
    moved = padded[torch.arange(B)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    y, x = torch.randint(0, H, (B, 1)), torch.randint(0, W, (B, 1))
    before, after = (hole - 1) // 2, hole // 2
    in_rows, in_columns = ((d >= -before) & (d <= after) for d in (torch.arange(H) - y, torch.arange(W) - x))
    return moved.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0)


class JudgeTraining(ClassifierTraining):
    net = SecondClassifier
    stage, clip = "second-classifier", 5.0

    def images(self, rows: torch.Tensor, step: int) -> torch.Tensor:
        return augment(super().images(rows, step), self.recipe.shift, self.recipe.hole)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: t.half() if t.is_floating_point() else t for name, t in super().weights().items()}


def train_second_classifier(out: Path, options: Options = Options()) -> Path:
    """Train on Fashion-MNIST in the folder `out`, about ten minutes on two cores; returns the path of the model.

    A seed of 0 stands for its own, 20261: it must not be the first classifier's.
    """
    return train_classifier(
        out, replace(options, seed=options.seed or SEED), JudgeTraining, JudgeRecipe(),
        command("train-judge", options, out=out),
    )  # fmt: skip
