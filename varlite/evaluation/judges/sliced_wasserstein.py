"""Sliced 2-Wasserstein distance of whole pictures and of patches (Bonneel et al. 2015; arXiv 1710.10196 on patches).

Rows are projected onto fixed random unit directions, seeded; along each the two sets are sorted and compared quantile
by quantile, which is W2 in one dimension, for equal and unequal numbers. The score is 1000 times the mean of W2 squared
over directions, on pixels in [0, 1]. No network is involved.

    sw_pixels     128 directions over all pixels: brightness, contrast, and what is where, in large shapes
    sw_patches    48 directions over 7 x 7 patches, 5 pixels apart, all positions together; each direction sums to zero,
                  so that a patch's brightness does not count: edges, texture, noise

Fooled by: repeating and memorising real pictures. Pixels hardly see detail: compression and weak noise change large
shapes little. Patches do not know where they come from: pictures cut up and put together anew would pass. Both lie near
their floor for few images, and the floor falls with N: compare equal numbers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from varlite.evaluation.judges.interface import Judge, Pictures, Views

PATCH, APART = 7, 5
QUANTILES = 2000


def directions(count: int, width: int, seed: int, zero_sum: bool = False) -> torch.Tensor:
    """(count, width) unit vectors, uniform on the sphere, or on that of vectors that sum to zero."""
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    if zero_sum:
        vectors = vectors - vectors.mean(1, keepdim=True)
    return vectors / vectors.norm(dim=1, keepdim=True)


def projection_views(channels: int, size: tuple[int, int], seed: int = 0) -> Views:
    """The views "sw_pixels", bytes -> (B, 128), and "sw_patches", bytes -> (B, patches, 48)."""
    whole = directions(128, channels * size[0] * size[1], seed)
    of_patches = directions(48, channels * PATCH**2, seed, zero_sum=True).view(48, channels, PATCH, PATCH)

    def pixels(img_BCHW: torch.Tensor) -> torch.Tensor:
        return (img_BCHW.float() / 255).flatten(1) @ whole.T

    def patches(img_BCHW: torch.Tensor) -> torch.Tensor:
        return F.conv2d(img_BCHW.float() / 255, of_patches, stride=APART).flatten(2).transpose(1, 2)

    return {"sw_pixels": pixels, "sw_patches": patches}


def quantiles(x_NP: torch.Tensor) -> torch.Tensor:
    """(QUANTILES, P): the quantiles (i + 1/2) / QUANTILES of each column, each one of its values."""
    if x_NP.ndim != 2 or not len(x_NP):
        raise ValueError(f"rows must be (N, P) with N of at least 1, got {tuple(x_NP.shape)}")
    place = ((torch.arange(QUANTILES) + 0.5) / QUANTILES * len(x_NP)).long()
    # Sorting copies: a few columns at a time.
    return torch.cat([x.sort(0).values[place] for x in x_NP.split(16, 1)], 1)


BLIND = {"sw_pixels": frozenset({"memorised"}), "sw_patches": frozenset({"memorised"})}  # corruptions that they miss


class SlicedWasserstein(Judge):
    """1000 times sliced W2 squared of the view "sw_pixels" or "sw_patches": the mean over its columns.

    Exact, but for rounding, where the numbers of rows divide `QUANTILES`; near it otherwise.
    """

    squared = True

    def __init__(self, view: str):
        self.name, self.blind = view, BLIND[view]
        self.sees = {"sw_pixels": "large shapes and brightness", "sw_patches": "edges, texture, noise"}[view]

    def rows(self, pictures: Pictures) -> torch.Tensor:
        return pictures.view(self.name)

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        return self.against(reference)(samples)

    def against(self, reference: torch.Tensor) -> Callable[[torch.Tensor], float]:
        real = quantiles(flat(reference))
        return lambda samples: 1000 * (quantiles(flat(samples)) - real).double().square().mean().item()


def flat(rows: torch.Tensor) -> torch.Tensor:
    """Rows of patches (N, patches, P) as one patch a row."""
    return rows if rows.ndim == 2 else rows.flatten(0, 1)
