"""Inception with random weights, images to score, and requests for scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from varlite.evaluation.request import Request

LAYERS = ["2048", "logits_unbiased"]


def noise_images(num: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth RGB noise, brighter with `seed`."""
    coarse = torch.rand(num, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    images = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(0, 1) / (1 + 0.3 * seed)
    return (images * 255).byte()


def write_pngs(folder: Path, images: torch.Tensor, end: str = "png") -> Path:
    folder.mkdir(parents=True)
    for i, img in enumerate(images):
        Image.fromarray(img.permute(1, 2, 0).squeeze(2).numpy()).save(folder / f"{i:05d}.{end}")
    return folder


def inception_file(path: Path) -> Path:
    """Weights of torch-fidelity's Inception, random, with the running statistics of a few images: features differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, tensors: None)
        patch.setattr(torch, "load", lambda *arguments, **options: None)
        torch.manual_seed(0)
        net = FeatureExtractorInceptionV3("random", LAYERS, feature_extractor_weights_path="none")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    net.train()(noise_images(4))
    torch.save(net.state_dict(), path)
    return path


def write_reference(path: Path, images: torch.Tensor, pool: torch.Tensor, spatial: torch.Tensor) -> Path:
    """A reference batch as ADM's evaluator has it."""
    arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy()}
    for x, end in ((pool, ""), (spatial, "_s")):
        arrays |= {f"mu{end}": x.double().numpy().mean(0), f"sigma{end}": np.cov(x.numpy(), rowvar=False)}
    np.savez(path, **arrays)
    return path


QUICK = ("accuracy", "fd", "precision", "recall")


def request(small: Path, **changes) -> Request:
    """For quick scores of the model in the folder `small`."""
    return Request(**{"model": str(small), "num": 120, "metrics": QUICK, "batch": 16} | changes)


def scores(result: dict) -> dict:
    """The scores of a result, without the time."""
    return {name: value for name, value in result["scores"].items() if name != "seconds_per_image"}
