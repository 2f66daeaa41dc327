"""Residual quantization over scales with one shared codebook (VAR, arXiv 2404.02905, algorithms 1 and 2).

rest = f - f_hat --area--> p_k x p_k --nearest code--> idx_Bl --codebook--> h --bicubic--> h w --phi_k--> + f_hat
"""

from functools import wraps

import torch
import torch.nn.functional as F
from torch import nn

from varlite.scales import Scales


class Phi(nn.Module):
    """phi(h) = (1 - r) h + r conv(h): repairs what up-sampling a coarse map blurs. `ratio` is r, published 0.5."""

    def __init__(self, Z: int, ratio: float):
        super().__init__()
        self.conv = nn.Conv2d(Z, Z, 3, padding=1)
        self.ratio = ratio

    def forward(self, h_BZhw: torch.Tensor) -> torch.Tensor:
        return torch.lerp(h_BZhw, self.conv(h_BZhw), self.ratio)


def phi_index(k: int, K: int, shared: int) -> int:
    """Which of `shared` phi's serves scale k of K; `shared` = 0 gives every scale its own.

    The published models were trained with this float64 expression. At K = 10 and four phi's, k = 2 and k = 7 lie
    exactly between two ticks and rounding decides, so exact or float32 arithmetic would give other tokens.
    """
    if shared == 0:
        return k
    margin = 1 / 3 / shared if shared == 4 else 1 / 2 / shared
    last, place = 1 - margin, k / max(1, K - 1)
    step = (last - margin) / max(1, shared - 1)
    ticks = [i * step + margin for i in range(shared - 1)] + [last if shared > 1 else margin]
    return min(range(shared), key=lambda i: abs(ticks[i] - place))


def without_autocast(function):
    """Run in full precision: under autocast 1 to 7 % of the tokens would differ. It costs next to nothing."""

    @wraps(function)
    def in_full(self, x: torch.Tensor, *rest):
        with torch.autocast(x.device.type, enabled=False):
            return function(self, x.to(self.codebook.weight.dtype), *rest)

    return in_full


class MultiScaleQuantizer(nn.Module):
    """Codebook (V, Z), the phi's, and the three steps that encoding, training and sampling share.

    `phi_shared`: how many phi's the scales share, 0 for one each. `znorm`: look codes up by cosine instead of by L2.
    """

    def __init__(
        self, V: int, Z: int, scales: Scales, phi_shared: int = 4, phi_ratio: float = 0.5, znorm: bool = False
    ):
        super().__init__()
        self.codebook = nn.Embedding(V, Z)
        self.phis = nn.ModuleList(Phi(Z, phi_ratio) for _ in range(phi_shared or scales.K))
        self.phi_shared, self.znorm = phi_shared, znorm

    def phis_of(self, scales: Scales) -> list[nn.Module]:
        """The phi's that a schedule uses: of few scales not all that are shared."""
        return [self.phis[i] for i in sorted({phi_index(k, scales.K, self.phi_shared) for k in range(scales.K)})]

    @without_autocast
    def nearest(self, z_XZ: torch.Tensor) -> torch.Tensor:
        """Index of the nearest code for each row: squared L2, or the largest cosine with `znorm`."""
        codes_VZ = self.codebook.weight
        if self.znorm:
            return (F.normalize(z_XZ, dim=-1) @ F.normalize(codes_VZ, dim=-1).T).argmax(-1)
        # |z - e|^2 without |z|^2, which is the same for every code.
        return torch.addmm(codes_VZ.square().sum(-1), z_XZ, codes_VZ.T, alpha=-2).argmin(-1)

    @without_autocast
    def accumulate(self, f_hat_BZhw: torch.Tensor, h_BlZ: torch.Tensor, k: int, scales: Scales) -> torch.Tensor:
        """Add scale k's code embeddings to f_hat: up-sample to the full map, phi_k, sum."""
        h_BZhw = h_BlZ.to(f_hat_BZhw.dtype).transpose(1, 2).unflatten(2, scales.shapes[k])
        if k < scales.K - 1:
            h_BZhw = F.interpolate(h_BZhw, size=scales.last, mode="bicubic")
        return f_hat_BZhw + self.phis[phi_index(k, scales.K, self.phi_shared)](h_BZhw)

    def next_input(self, f_hat_BZhw: torch.Tensor, k: int, scales: Scales) -> torch.Tensor:
        """What scale k + 1 sees: f_hat after scale k, area-averaged to that scale's sides, as (B, l, Z)."""
        return self.shrink(f_hat_BZhw, k + 1, scales).flatten(2).transpose(1, 2)

    @without_autocast
    def encode(self, f_BZhw: torch.Tensor, scales: Scales) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Quantize f scale by scale. Returns the tokens [idx_Bl] and f_hat after each scale [f_hat_BZhw].

        Differentiable in the codebook and the phi's; the choice of codes takes no gradient.
        """
        f_hat_BZhw, idx, f_hats = torch.zeros_like(f_BZhw), [], []
        for k in range(scales.K):
            rest_BZhw = f_BZhw.detach() - f_hat_BZhw.detach()
            z_BlZ = self.shrink(rest_BZhw, k, scales).flatten(2).transpose(1, 2)
            idx.append(self.nearest(z_BlZ.detach().reshape(-1, z_BlZ.shape[-1])).view(z_BlZ.shape[:2]))
            f_hat_BZhw = self.accumulate(f_hat_BZhw, self.codebook(idx[-1]), k, scales)
            f_hats.append(f_hat_BZhw)
        return idx, f_hats

    @staticmethod
    def shrink(f_BZhw: torch.Tensor, k: int, scales: Scales) -> torch.Tensor:
        """Area-average a full map to the sides of scale k."""
        return F.interpolate(f_BZhw, size=scales.shapes[k], mode="area") if k < scales.K - 1 else f_BZhw
