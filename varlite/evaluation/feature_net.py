"""fashion-features and still-features: networks in whose features losses compare and discriminators look.

They are none of the networks that score (fashion-classifier, fashion-judge, still-reader): what a loss pleases must not
be what judges. They share no layer, seed or augmentation with those, and have learned a second task beside the class:
to tell how much a picture was blurred and how noisy it was made, so that their features keep sharpness and texture.
"""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from varlite.checkpoints.assemble import open_network
from varlite.io.places import CHECKPOINTS

NAMES = {"fashion": "fashion-features", "still": "still-features"}  # the first grey, the second RGB
WIDTHS = (24, 48, 96)  # at full, half and quarter resolution


class FeatureNet(nn.Module):
    """img (B, 1 or 3, H, W) in [-1, 1] -> `maps`, features at three resolutions; and `both`, what they tell.

    Images with other channels than the network's become grey, or are taken three times.
    """

    def __init__(self, classes: int, channels: int = 1):
        super().__init__()
        self.channels, self.stages = channels, nn.ModuleList()
        for a, b in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers = [[nn.Conv2d(c, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.GELU()] for c in (a, b)]
            self.stages.append(nn.Sequential(*layers[0], *layers[1]))
        self.damage, self.out = nn.Linear(2 * sum(WIDTHS), 2), nn.Linear(WIDTHS[-1], classes)

    def maps(self, img_BCHW: torch.Tensor) -> list[torch.Tensor]:
        C = img_BCHW.shape[1]
        x = img_BCHW if self.channels == C else img_BCHW.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
        found: list[torch.Tensor] = []
        for stage in self.stages:
            found.append(stage(F.avg_pool2d(x, 2) if found else x))
            x = found[-1]
        return found

    def both(self, img_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, classes), and blur and noise (B, 2): 0 for none, 1 for the strongest of the training."""
        maps = self.maps(img_BCHW)
        moments = [m for x in maps for m in (x.mean((2, 3)), x.var((2, 3), correction=0).add(1e-6).sqrt())]
        return self.out(maps[-1].mean((2, 3))), self.damage(torch.cat(moments, 1))

    def forward(self, img_BCHW: torch.Tensor) -> torch.Tensor:
        return self.both(img_BCHW)[0]


def load_features(path: Path = CHECKPOINTS / NAMES["fashion"] / "model.safetensors") -> FeatureNet:
    """The network in a file written by `varlite train-features`, in evaluation mode, without gradients.

    Raises FileNotFoundError for a missing file, ValueError for a file of something else.
    """
    return open_network(FeatureNet, path, "features").requires_grad_(False).to(memory_format=torch.channels_last)


def open_features(name: Literal["fashion", "still"]) -> FeatureNet:
    """The network that ships for this data, as `load_features` does."""
    return load_features(CHECKPOINTS / NAMES[name] / "model.safetensors")
