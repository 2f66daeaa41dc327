"""Losses of stage 1 beside the pixel error: a perceptual distance, and an adversarial loss (VQGAN)."""

from typing import Literal
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import nn

from varlite.checkpoints.load import CLASSIFIER, shipped
from varlite.evaluation.classifier import load_classifier

Perceptual = Literal["none", "lpips", "fashion"]


class FashionDistance(nn.Module):
    """Distance in the convolutional features of fashion-classifier: the fallback where LPIPS's weights are missing.

    LPIPS without its learned weights (arXiv 1801.03924, equation 1): features of unit length at every position, squared
    differences, averaged over positions and layers. Images (B, 1 or 3, H, W) roughly in [-1, 1], sides of at least 8;
    colour is averaged to grey, so only edges and textures count.
    """

    def __init__(self):
        super().__init__()
        self.net = load_classifier(shipped(CLASSIFIER)).requires_grad_(False)

    def layers(self, img_B3HW: torch.Tensor) -> list[torch.Tensor]:
        x, found = img_B3HW.mean(1, keepdim=True), []
        for conv, norm in zip(self.net.convs, self.net.norms, strict=True):
            x = F.relu(norm(conv(x)))
            found.append(F.normalize(x, dim=1))
            x = F.max_pool2d(x, 2)
        return found

    def forward(self, a_B3HW: torch.Tensor, b_B3HW: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.layers(a_B3HW), self.layers(b_B3HW), strict=True)
        return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).mean()

    def train(self, mode: bool = True) -> "FashionDistance":
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
                "--recipe perceptual=fashion (features of fashion-classifier) or perceptual=none"
            ) from None

    def forward(self, a_B3HW: torch.Tensor, b_B3HW: torch.Tensor) -> torch.Tensor:
        # The network takes three channels in [0, 255].
        a, b = ((x.expand(-1, 3, -1, -1) + 1) * 127.5 for x in (a_B3HW, b_B3HW))
        return self.net(a, b).mean()


def perceptual_loss(kind: Perceptual) -> nn.Module | None:
    """(a, b) -> scalar distance of images in [-1, 1]; None for "none". Raises ValueError where weights are missing."""
    return {"none": lambda: None, "lpips": LPIPS, "fashion": FashionDistance}[kind]()


class PatchDiscriminator(nn.Module):
    """PatchGAN (arXiv 1611.07004): one logit, real or not, for each patch of the image.

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


def hinge_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Discriminator loss: zero once real patches have logits above 1 and reconstructed ones below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adaptive_weight(reconstruction: torch.Tensor, adversarial: torch.Tensor, last_layer: torch.Tensor) -> torch.Tensor:
    """The factor that makes the adversarial gradient as long as the reconstruction's at the decoder's last layer
    (VQGAN, equation 7), at most 10,000."""
    a, b = (
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    )
    return (a / (b + 1e-4)).clamp(max=1e4).detach()
