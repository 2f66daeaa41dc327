"""Known corruptions of real pictures, in growing strength: what judges are judged by.

Each takes `Material` and a strength and returns images and labels, as many as it was given. All random numbers come
from the material's generator, so the same seed gives the same pictures.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

Corrupted = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Material:
    """Bytes (N, channels, H, W) to corrupt, with labels; other real pictures to take instead; the training pictures."""

    images: torch.Tensor
    labels: torch.Tensor
    spare: torch.Tensor
    spare_labels: torch.Tensor
    training: torch.Tensor
    training_labels: torch.Tensor
    seed: int

    def generator(self) -> torch.Generator:
        # Far from other seeds: noise from the numbers that also made a judge's directions would be no noise to it.
        return torch.Generator().manual_seed(7_919_000 + self.seed)

    def chosen(self, share: float) -> torch.Tensor:
        """(N,) booleans: a random share of the images. A larger share has the smaller ones within it."""
        N = len(self.images)
        mask = torch.zeros(N, dtype=torch.bool)
        mask[torch.randperm(N, generator=self.generator())[: round(share * N)]] = True
        return mask


def to_bytes(x: torch.Tensor) -> torch.Tensor:
    """[0, 255] as float -> bytes, rounded to nearest."""
    return x.round().clamp(0, 255).to(torch.uint8)


def smoothed(img_NCHW: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of bytes as float in [0, 255]; the border is mirrored. sigma in pixels."""
    reach = max(1, min(int(3 * sigma + 0.5), *(side - 1 for side in img_NCHW.shape[2:])))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    x = img_NCHW.float().flatten(0, 1)[:, None]
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), "reflect"), weights)
    x = F.conv2d(F.pad(x, (0, 0, reach, reach), "reflect"), weights.transpose(2, 3))
    return x.view(img_NCHW.shape)


def blur(m: Material, sigma: float) -> Corrupted:
    return to_bytes(smoothed(m.images, sigma)), m.labels


def noise(m: Material, sigma: float) -> Corrupted:
    """Gaussian, sigma in byte levels."""
    return to_bytes(m.images + sigma * torch.randn(m.images.shape, generator=m.generator())), m.labels


def contrast(m: Material, lost: float) -> Corrupted:
    """Differences from each picture's own mean shrink by the share `lost`."""
    mean = m.images.float().mean((1, 2, 3), keepdim=True)
    return to_bytes(mean + (1 - lost) * (m.images - mean)), m.labels


def sharpen(m: Material, amount: float) -> Corrupted:
    """Unsharp mask: `amount` times what a blur of one pixel takes away is added."""
    return to_bytes(m.images + amount * (m.images - smoothed(m.images, 1.0))), m.labels


def jpeg(m: Material, loss: float) -> Corrupted:
    """Compressed with quality 100 - loss."""

    def one(img_CHW: torch.Tensor) -> torch.Tensor:
        array, buffer = img_CHW.permute(1, 2, 0).numpy(), io.BytesIO()
        Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(buffer, "JPEG", quality=int(100 - loss))
        return torch.from_numpy(np.array(Image.open(buffer))).view(array.shape).permute(2, 0, 1)

    return torch.stack([one(img) for img in m.images]), m.labels


def dropped(m: Material, classes: float) -> Corrupted:
    """No picture of the first `classes` classes: others, of classes that are left, stand in their places."""
    gone = m.labels < classes
    rows = (m.spare_labels >= classes).nonzero().flatten()[: int(gone.sum())]
    if len(rows) < int(gone.sum()):
        raise ValueError(f"spare: {int(gone.sum())} pictures of other classes are needed, there are {len(rows)}")
    images, labels = m.images.clone(), m.labels.clone()
    images[gone], labels[gone] = m.spare[rows], m.spare_labels[rows]
    return images, labels


def duplicated(m: Material, share: float) -> Corrupted:
    """A share of each class gives way to further copies of the rest of it."""
    source = torch.arange(len(m.images))
    for c in m.labels.unique():
        rows = (m.labels == c).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=m.generator())]
        kept = max(1, round((1 - share) * len(rows)))
        source[rows] = rows[torch.arange(len(rows)) % kept]
    return m.images[source], m.labels


def memorised(m: Material, share: float) -> Corrupted:
    """A share gives way to training pictures of its class."""
    images, taken = m.images.clone(), m.chosen(share)
    for c in m.labels.unique():
        rows, own = (taken & (m.labels == c)).nonzero().flatten(), (m.training_labels == c).nonzero().flatten()
        pick = own[torch.randperm(len(own), generator=m.generator())[: len(rows)]]
        images[rows] = m.training[pick]
    return images, m.labels


def class_means(m: Material, share: float) -> Corrupted:
    """A share gives way to the mean training picture of its class."""
    images, taken = m.images.clone(), m.chosen(share)
    for c in m.labels.unique():
        images[taken & (m.labels == c)] = to_bytes(m.training[m.training_labels == c].float().mean(0))
    return images, m.labels


CORRUPTIONS: dict[str, tuple[Callable[[Material, float], Corrupted], tuple[float, ...]]] = {
    "blur": (blur, (0.5, 0.8, 1.5)),
    "noise": (noise, (5, 15, 40)),
    "contrast": (contrast, (0.1, 0.25, 0.5)),
    "sharpen": (sharpen, (0.5, 1.0, 2.0)),
    "jpeg": (jpeg, (40, 70, 90)),
    "dropped": (dropped, (1, 2, 4)),
    "duplicated": (duplicated, (0.5, 0.8, 0.95)),
    "memorised": (memorised, (0.2, 0.5, 1.0)),
    "class_means": (class_means, (0.05, 0.2, 0.5)),
}
