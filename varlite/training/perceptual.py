"""Perceptual distances of stage 1: LPIPS, and where its weights are missing the features of a small network of ours."""

from typing import Literal
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import nn

from varlite.evaluation.feature_net import NAMES, open_features

Perceptual = Literal["none", "lpips", "fashion", "still"]


class FeatureDistance(nn.Module):
    """Distance in the features of a network of ours: the fallback where LPIPS's weights are missing.

    LPIPS without its learned weights (arXiv 1801.03924, equation 1): features of unit length at every position, squared
    differences, averaged over positions and layers. Images (B, 1 or 3, H, W) roughly in [-1, 1], sides of at least 8.
    fashion-features sees them in grey, so that edges and textures count; still-features sees colour.
    """

    def __init__(self, name: Literal["fashion", "still"]):
        super().__init__()
        self.net = open_features(name)

    def layers(self, img_B3HW: torch.Tensor) -> list[torch.Tensor]:
        return [F.normalize(x, dim=1) for x in self.net.maps(img_B3HW)]

    def forward(self, a_B3HW: torch.Tensor, b_B3HW: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.layers(a_B3HW), self.layers(b_B3HW), strict=True)
        return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).mean()

    def train(self, mode: bool = True) -> "FeatureDistance":
        return super().train(False)  # batch norms keep the statistics they were trained with


class LPIPS(nn.Module):
    """LPIPS on VGG-16 (arXiv 1801.03924), as torch-fidelity has it; its weights are fetched once, 58 MB and 528 MB.

    Raises ValueError, naming the fallback, where they cannot be fetched.
    """

    def __init__(self):
        super().__init__()
        from torch_fidelity.sample_similarity_lpips import SampleSimilarityLPIPS

        try:
            self.net = SampleSimilarityLPIPS("vgg16-lpips")
        except (URLError, OSError, RuntimeError) as error:
            raise ValueError(
                f"perceptual: the weights of LPIPS could not be fetched ({error}). Where there is no network: "
                f"--recipe perceptual=fashion (features of {NAMES['fashion']}), for colour perceptual=still, or "
                "perceptual=none"
            ) from None

    def forward(self, a_B3HW: torch.Tensor, b_B3HW: torch.Tensor) -> torch.Tensor:
        # The network takes three channels in [0, 255].
        a, b = ((x.expand(-1, 3, -1, -1) + 1) * 127.5 for x in (a_B3HW, b_B3HW))
        return self.net(a, b).mean()


def perceptual_loss(kind: Perceptual) -> nn.Module | None:
    """(a, b) -> scalar distance of images in [-1, 1]; None for "none". Raises ValueError where weights are missing."""
    if kind == "none":
        return None
    return LPIPS() if kind == "lpips" else FeatureDistance(kind)
