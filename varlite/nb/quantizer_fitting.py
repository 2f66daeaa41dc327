"""A multi-scale quantizer fitted to given latent maps, so that phi alone makes the difference."""

import torch
import torch.nn.functional as F

from varlite.quantizer import MultiScaleQuantizer
from varlite.scales import Scales


def fit_quantizer(
    f_NZhw: torch.Tensor, scales: Scales, phi_shared: int, phi_ratio: float, V: int = 512, steps: int = 150
) -> MultiScaleQuantizer:
    """A codebook and phi's for latent maps that stay as they are; `phi_ratio` 0 is no phi at all.

    The codebook starts with residuals that it must represent, equally many from every scale.
    """
    torch.manual_seed(0)
    quantizer = MultiScaleQuantizer(V, f_NZhw.shape[1], scales, phi_shared, phi_ratio)
    rest, residuals = f_NZhw[:1000], []
    for k in range(scales.K):
        small = quantizer.shrink(rest, k, scales)
        z_XZ = small.flatten(2).mT.flatten(0, 1)
        residuals.append(z_XZ[torch.randperm(len(z_XZ))[: -(-V // scales.K)]])
        rest = rest - F.interpolate(small, size=scales.last, mode="bicubic")
    with torch.no_grad():
        quantizer.codebook.weight.copy_(torch.cat(residuals)[:V])
    if phi_ratio == 0:
        quantizer.phis.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in quantizer.parameters() if p.requires_grad], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        f = f_NZhw[torch.randint(len(f_NZhw), (32,))]
        _, f_hats = quantizer.encode(f, scales)
        loss = torch.stack([F.mse_loss(f_hat, f) for f_hat in f_hats]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return quantizer.requires_grad_(False)
