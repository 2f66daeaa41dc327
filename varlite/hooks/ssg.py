"""SSG, scaled spatial guidance (arXiv 2602.05534): logits are moved away from what the scale before them said already.

    logits_k + strength (logits_k - prior_k)          prior_k: logits of scale k - 1, enlarged to scale k

What is added is what scale k says beyond its prior; the first scale has none and stays. Logits are those after
classifier-free guidance, and the prior is made of logits that SSG has not changed.

Enlarging is linear in between, and exact for what the coarse map can hold (the paper's DSE, section 2.3): in the
frequencies of the two maps, those that the coarse map has replace the interpolated ones. They are scaled with the
number of tokens, so that a map that is the same everywhere stays what it is. The strength is one number for all scales,
where the paper has one for each.

Whether it helps depends on the judge: `varlite reproduce additions` measures that.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F

from varlite.drawing import Step
from varlite.io.checks import brief
from varlite.models import Model, require


class SSG:
    """The hook. It keeps the logits of the last scale, and starts anew at the first one: one hook serves many batches.

    strength: 0 changes nothing; the paper's beta. Raises ValueError for a negative or infinite one.
    """

    def __init__(self, strength: float):
        if not (isinstance(strength, int | float) and 0 <= strength < math.inf):
            raise ValueError(f"ssg must be 0 (off) or more, got {brief(strength)}")
        self.strength, self._before = strength, torch.empty(0)

    def __call__(self, step: Step) -> None:
        logits_BlV, k, shapes = step.logits_BlV, step.k, step.scales.shapes
        if self.strength and len(shapes) < 2:
            raise ValueError("ssg: it moves away from the scale before, and this model has one scale")
        if k > 0:
            prior_BlV = enlarge(self._before, shapes[k - 1], shapes[k])
            step.logits_BlV = torch.lerp(prior_BlV, logits_BlV, 1 + self.strength)
        self._before = logits_BlV


def ssg_for(model: Model, strength: float) -> SSG | None:
    """The hook for a model, None for strength 0. Raises ValueError for a model whose steps are not scales."""
    hook = SSG(strength)
    if strength == 0:
        return None
    require(model, "logits")
    if model.scales.K < 2:
        raise ValueError(f"ssg: it moves away from the scale before, and {type(model).__name__} has one scale")
    return hook


def enlarge(x_BlV: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """A map of `old` sides at `new` ones, (B, l, V): its own frequencies, and beyond them those of interpolation."""
    (h, w), (H, W) = old, new
    x = x_BlV.transpose(1, 2).unflatten(2, old)
    wide = F.interpolate(x, size=new, mode="bilinear")
    rows, columns, Rows, Columns = (cosines(n).to(x) for n in (h, w, H, W))
    with torch.autocast(x.device.type, enabled=False):  # products of half precision would not be its own frequencies
        exact = rows @ x @ columns.T * math.sqrt(H * W / (h * w))
        interpolated = (Rows @ wide @ Columns.T)[..., :h, :w]
        wide = wide + Rows[:h].T @ (exact - interpolated) @ Columns[:w]
    return wide.flatten(2).transpose(1, 2)


@lru_cache
def cosines(n: int) -> torch.Tensor:
    """(n, n) the orthonormal cosine transform (DCT-II), a frequency a row."""
    i = torch.arange(n, dtype=torch.float64)
    x = torch.cos(math.pi / n * i[:, None] * (i + 0.5)) * math.sqrt(2 / n)
    x[0] /= math.sqrt(2)
    return x
