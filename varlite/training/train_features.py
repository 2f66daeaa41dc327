"""Training of fashion-features and still-features, in whose features losses compare (evaluation/feature_net.py)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from varlite.datasets import Dataset
from varlite.datasets.pixels import to_float
from varlite.evaluation.feature_net import FeatureNet
from varlite.io.provenance import command
from varlite.presets import Count, Positive, Steps, Weight
from varlite.training.options import Options
from varlite.training.train_classifier import ClassifierTraining, train_classifier

SEED = 20262  # another than those of the networks that score
BLUR, NOISE = 1.2, 0.25  # the strongest: standard deviations, of the kernel in pixels and of the noise on [-1, 1]


@dataclass(frozen=True)
class FeatureRecipe:
    """AdamW, linear warm-up, cosine to zero. `telling` is the weight of the damages beside that of the class."""

    steps: Count = 900
    batch: Count = 100
    lr: Positive = 3e-3
    warmup: Steps = 100
    weight_decay: Weight = 0.02
    telling: Weight = 2.0


def damaged(img_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [-1, 1], half of them mirrored, blurred and made noisy; how much, (B, 2) in [0, 1].

    A third are left sharp and a third free of noise. Draws from torch's global generator.
    """
    (B, C), degree_B2 = img_BCHW.shape[:2], torch.rand(len(img_BCHW), 2)
    degree_B2 = degree_B2 * (torch.rand(B, 2) > 1 / 3)
    x = torch.where((torch.rand(B) < 0.5)[:, None, None, None], img_BCHW.flip(-1), img_BCHW)
    at = torch.arange(-3, 4).float()
    kernel_B7 = torch.exp(-0.5 * (at / (BLUR * degree_B2[:, :1]).clamp(min=1e-3)) ** 2)
    kernel_B7 = kernel_B7 / kernel_B7.sum(1, keepdim=True)
    # Each image has its own kernel: their channels are the groups of one convolution.
    kernel_B7 = kernel_B7.repeat_interleave(C, 0)
    x = F.pad(x.flatten(0, 1)[None], (3, 3, 3, 3), mode="replicate")
    x = F.conv2d(x, kernel_B7[:, None, :, None], groups=B * C)
    x = F.conv2d(x, kernel_B7[:, None, None, :], groups=B * C).view_as(img_BCHW)
    noise = torch.randn_like(x) * (NOISE * degree_B2[:, 1])[:, None, None, None]
    return (x + noise).clamp(-1, 1), degree_B2


class FeatureTraining(ClassifierTraining):
    net = FeatureNet
    stage, clip = "features", 5.0

    def shape(self, train: Dataset) -> dict[str, Any]:
        return super().shape(train) | {"channels": train.images(torch.arange(1)).shape[1]}

    def loss(self, img: torch.Tensor, label_B: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x, degree_B2 = damaged(to_float(img.cpu()))
        x, degree_B2 = (t.to(img.device) for t in (x.contiguous(memory_format=torch.channels_last), degree_B2))
        logits, told_B2 = self.door("both", x)
        kind = F.cross_entropy(logits, label_B, label_smoothing=0.05)
        told = F.smooth_l1_loss(told_B2, degree_B2, beta=0.1)
        return kind + self.recipe.telling * told, {"class": kind, "damage": told}

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: t.half() if t.is_floating_point() else t for name, t in super().weights().items()}


def train_features(out: Path, options: Options = Options(), data: Literal["fashion", "still-life"] = "fashion") -> Path:
    """Train in the folder `out`, on Fashion-MNIST three minutes on a core; returns the path of the model.

    A seed of 0 stands for its own, 20262: it must not be that of a network that scores.
    """
    return train_classifier(
        out, replace(options, seed=options.seed or SEED), FeatureTraining, FeatureRecipe(),
        command("train-features", options, out=out, data=None if data == "fashion" else data), data,
    )  # fmt: skip
