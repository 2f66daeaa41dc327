"""Discriminators of stage 1.

patch       PatchGAN (arXiv 1611.07004): convolutions on the pixels, as in VQGAN
features    light heads on the frozen features of fashion-features, or for colour of still-features, at three
            resolutions: what VAR's relatives do with DINO's features (StyleGAN-T, arXiv 2301.09515, after Projected
            GAN, arXiv 2111.01007)
"""

from typing import Literal

import torch
from torch import nn

from varlite.evaluation.feature_net import WIDTHS, open_features


class PatchDiscriminator(nn.Module):
    """One logit, real or not, for each patch of the image.

    Stride-2 convolutions until a side would fall below 4, three at most as published. GroupNorm in place of BatchNorm:
    an image's logits do not depend on its batch, nor on how many processes share it.
    """

    def __init__(self, channels: int, size: tuple[int, int], width: int = 64):
        super().__init__()
        n = max(1, min(3, (min(size) // 4).bit_length() - 1))
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, n + 1):
            a, b, stride = width * 2 ** (i - 1), width * 2**i, 2 if i < n else 1
            layers += [nn.Conv2d(a, b, 4, stride, 1, bias=False), nn.GroupNorm(16, b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width * 2**n, 1, 4, 1, 1))

    def forward(self, img_B3HW: torch.Tensor) -> torch.Tensor:
        return self.layers(img_B3HW)


class FeatureDiscriminator(nn.Module):
    """(B, logits): real or not, at every position of three maps of frozen features."""

    def __init__(self, channels: int, width: int = 64):
        super().__init__()
        self.net = open_features("fashion" if channels == 1 else "still")
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features, width, 3, stride=2 if i < 2 else 1, padding=1), nn.LeakyReLU(0.2),
                nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 1),
            )
            for i, features in enumerate(WIDTHS)
        )  # fmt: skip

    def forward(self, img_B3HW: torch.Tensor) -> torch.Tensor:
        maps = self.net.maps(img_B3HW)
        return torch.cat([head(x).flatten(1) for head, x in zip(self.heads, maps, strict=True)], 1)

    def train(self, mode: bool = True) -> "FeatureDiscriminator":
        super().train(mode)
        self.net.train(False)  # batch norms keep the statistics they were trained with
        return self


def open_discriminator(kind: Literal["patch", "features"], channels: int, size: tuple[int, int]) -> nn.Module:
    """A discriminator of images (B, channels, H, W) in [-1, 1] -> logits (B, ...), with weights of its own to train."""
    return PatchDiscriminator(channels, size) if kind == "patch" else FeatureDiscriminator(channels)
