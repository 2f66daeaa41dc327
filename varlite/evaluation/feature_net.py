"""fashion-features: a third network of Fashion-MNIST, in whose features losses compare and discriminators look.

It is neither of the two networks that score (fashion-classifier, fashion-judge): what a loss pleases must not be what
judges. It shares no layer, seed or augmentation with them, and it has learned a second task: to tell how much a picture
was blurred and how noisy it was made, so that its features keep sharpness and texture.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from varlite.checkpoints.assemble import open_network
from varlite.io.places import CHECKPOINTS

NAME = "fashion-features"
WIDTHS = (24, 48, 96)  # at full, half and quarter resolution


class FeatureNet(nn.Module):
    """img (B, 1, H, W) in [-1, 1] -> `maps`, features at three resolutions; logits of the classes; and `damages`."""

    def __init__(self, classes: int):
        super().__init__()
        self.stages = nn.ModuleList()
        for a, b in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers = [[nn.Conv2d(c, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.GELU()] for c in (a, b)]
            self.stages.append(nn.Sequential(*layers[0], *layers[1]))
        self.damage, self.out = nn.Linear(2 * sum(WIDTHS), 2), nn.Linear(WIDTHS[-1], classes)

    def maps(self, img_B1HW: torch.Tensor) -> list[torch.Tensor]:
        x = img_B1HW
        found: list[torch.Tensor] = []
        for stage in self.stages:
            found.append(stage(F.avg_pool2d(x, 2) if found else x))
            x = found[-1]
        return found

    def both(self, img_B1HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, classes), and blur and noise (B, 2): 0 for none, 1 for the strongest of the training."""
        maps = self.maps(img_B1HW)
        moments = [m for x in maps for m in (x.mean((2, 3)), x.var((2, 3), correction=0).add(1e-6).sqrt())]
        return self.out(maps[-1].mean((2, 3))), self.damage(torch.cat(moments, 1))

    def forward(self, img_B1HW: torch.Tensor) -> torch.Tensor:
        return self.both(img_B1HW)[0]


def load_features(path: Path = CHECKPOINTS / NAME / "model.safetensors") -> FeatureNet:
    """The network in a file written by `varlite train-features`, in evaluation mode, without gradients.

    Raises FileNotFoundError for a missing file, ValueError for a file of something else.
    """
    return open_network(FeatureNet, path, "features").requires_grad_(False).to(memory_format=torch.channels_last)
