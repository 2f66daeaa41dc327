"""fashion-judge: a second classifier of Fashion-MNIST, whose features no loss and no choice ever sees.

It shares nothing with `fashion-classifier` but the training pictures: residual blocks in pre-activation order (arXiv
1603.05027) with SiLU where the first stacks plain convolutions with ReLU; strides and average pooling over the whole
picture where the first has max pooling and a layer that knows positions; other augmentation (shifts, a square cut out)
and another seed. Samples that please the first network because they were tuned on it have no reason to please this one.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from varlite.checkpoints.assemble import open_network
from varlite.datasets.pixels import to_float
from varlite.io.places import CHECKPOINTS

NAME = "fashion-judge"
WIDTHS = (32, 80)  # at 14 x 14 and at 7 x 7
STEP = 500  # images at a time


class Residual(nn.Module):
    """x_BCHW plus two 3 x 3 convolutions of it, each after batch normalisation and SiLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        y = x_BCHW
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.silu(norm(y)))
        return x_BCHW + y


class SecondClassifier(nn.Module):
    """img (B, 1, 28, 28) in [-1, 1] -> logits (B, classes). `features` gives the (B, 80) before the last layer."""

    def __init__(self, classes: int):
        super().__init__()
        fine, coarse = WIDTHS
        self.stem, self.fine = nn.Conv2d(1, fine, 4, 2, 1), Residual(fine)
        self.halve, self.coarse = nn.Conv2d(fine, coarse, 2, 2), nn.Sequential(Residual(coarse), Residual(coarse))
        self.norm, self.out = nn.BatchNorm2d(coarse), nn.Linear(coarse, classes)

    def features(self, img_B1HW: torch.Tensor) -> torch.Tensor:
        x = self.coarse(self.halve(self.fine(self.stem(img_B1HW))))
        return F.silu(self.norm(x)).mean((2, 3))

    def forward(self, img_B1HW: torch.Tensor) -> torch.Tensor:
        return self.out(self.features(img_B1HW))


def load_second_classifier(path: Path = CHECKPOINTS / NAME / "model.safetensors") -> SecondClassifier:
    """The network in a file written by `train_second_classifier`, in evaluation mode and float32.

    Raises FileNotFoundError for a missing file, ValueError for a file of something else.
    """
    return open_network(SecondClassifier, path, "second-classifier").to(memory_format=torch.channels_last)


@torch.inference_mode()
def second_features(model: SecondClassifier, images_N1HW: torch.Tensor) -> torch.Tensor:
    """Features (N, 80) of bytes (N, 1, 28, 28), `STEP` images at a time."""
    check_images("images", images_N1HW)
    device = model.out.weight.device
    return torch.cat([model.features(to_float(img.to(device))).cpu() for img in images_N1HW.split(STEP)])


@torch.inference_mode()
def second_accuracy(model: SecondClassifier, images_N1HW: torch.Tensor, label_N: torch.Tensor) -> float:
    """Share of bytes (N, 1, 28, 28) that the network gives their label."""
    check_images("images", images_N1HW)
    device = model.out.weight.device
    found = torch.cat([model(to_float(img.to(device))).argmax(1).cpu() for img in images_N1HW.split(STEP)])
    return (found == label_N).float().mean().item()


def check_images(argument: str, images: torch.Tensor) -> None:
    """Raises ValueError unless the images are what the network takes."""
    if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != (1, 28, 28):
        raise ValueError(
            f"{argument}: {NAME} takes uint8 images (N, 1, 28, 28), got {images.dtype} {tuple(images.shape)}"
        )
