"""The codebook in training: how codes are initialised and updated, so that it does not collapse.

A code far from every residual is never chosen, gets no gradient and never moves. Remedies, all but the last an entry of
the recipe, each measured in data/results/codebook.json:

    start=residuals | kmeans     initialise the codes with residuals that they must quantize, not with small noise
    reseed=true                  again and again move codes that are hardly chosen onto such residuals
    codebook=mean                codes are moving averages of the vectors assigned to them, in place of a gradient
    znorm (of the tokenizer)     codes are compared by angle, so that no code is too long to be chosen
"""

from typing import Any

import torch
import torch.nn.functional as F

from varlite.evaluation.validation import codebook_health
from varlite.quantizer import MultiScaleQuantizer
from varlite.scales import Scales


@torch.no_grad()
def scale_residuals(f_BZhw: torch.Tensor, f_hats: list[torch.Tensor], scales: Scales) -> list[torch.Tensor]:
    """The residual that each scale had to quantize, [(B * l, Z)]."""
    before = [torch.zeros_like(f_BZhw), *f_hats[:-1]]
    shrunk = (MultiScaleQuantizer.shrink(f_BZhw - f_hat, k, scales) for k, f_hat in enumerate(before))
    return [rest.flatten(2).transpose(1, 2).flatten(0, 1) for rest in shrunk]


@torch.no_grad()
def residual_codes(n: int, residuals: list[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """n codes (n, Z), drawn from the residuals, equally many from each scale.

    Drawn uniformly over tokens, nearly all would come from the finest scale; the 1 x 1 scale, with one token per image,
    would get hardly any.
    """
    in_turn = [residuals[i % len(residuals)] for i in range(n)]
    return torch.stack([z_XZ[int(torch.randint(len(z_XZ), (), generator=generator))] for z_XZ in in_turn])


@torch.no_grad()
def kmeans_codes(
    n: int, residuals: list[torch.Tensor], generator: torch.Generator, iterations: int = 10
) -> torch.Tensor:
    """n cluster centres (n, Z) of the residuals, each scale with the same total weight.

    Lloyd's algorithm, initialised by `residual_codes`; a centre that no residual is nearest to stays where it is.
    """
    x_XZ = torch.cat(residuals)
    weight_X = torch.cat([torch.full((len(z),), 1 / len(z), device=z.device) for z in residuals])
    centres_nZ = residual_codes(n, residuals, generator)
    for _ in range(iterations):
        nearest_X = torch.cdist(x_XZ, centres_nZ).argmin(1)
        total_n = x_XZ.new_zeros(n).index_add_(0, nearest_X, weight_X)
        sums_nZ = torch.zeros_like(centres_nZ).index_add_(0, nearest_X, x_XZ * weight_X[:, None])
        centres_nZ = torch.where(total_n[:, None] > 0, sums_nZ / total_n[:, None].clamp_min(1e-12), centres_nZ)
    return centres_nZ


@torch.no_grad()
def move_codes(
    codebooks: list[torch.Tensor], optimizer: torch.optim.Optimizer, rows_V: torch.Tensor, new: torch.Tensor
):
    """Put `new` into the rows where `rows_V` is True, in every copy of the codebook.

    The first copy is the optimizer's parameter; the moments of its moved codes restart at zero.
    """
    for weight in codebooks:
        weight[rows_V] = new.to(weight.dtype)
    for name, moment in optimizer.state.get(codebooks[0], {}).items():
        if name != "step":
            moment[rows_V] = 0


class CodeUsage:
    """How often each scale chooses each code: a running share, and a count since the last report."""

    def __init__(self, K: int, V: int, decay: float = 0.98):
        self.share_KV, self.decay = torch.full((K, V), 1 / V), decay
        self.count_KV = torch.zeros(K, V)

    def update(self, counts_KV: torch.Tensor) -> None:
        self.count_KV += counts_KV.cpu()
        self.share_KV.lerp_((counts_KV / counts_KV.sum(1, keepdim=True)).cpu(), 1 - self.decay)

    def report(self) -> dict[str, Any]:
        """Codebook health of the batches since the last report."""
        counts_KV, self.count_KV = self.count_KV, torch.zeros_like(self.count_KV)
        return codebook_health(counts_KV)

    def dead(self, below: float = 0.05) -> torch.Tensor:
        """Codes that every scale chooses less often than `below` times an equal share."""
        return self.share_KV.amax(0) < below / self.share_KV.shape[1]

    def revive(self, rows_V: torch.Tensor) -> None:
        """Give moved codes time to be chosen before they can count as dead again."""
        self.share_KV[:, rows_V] = 1 / self.share_KV.shape[1]

    def state_dict(self) -> dict[str, Any]:
        return {"share_KV": self.share_KV, "count_KV": self.count_KV}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.share_KV, self.count_KV = state["share_KV"].clone(), state["count_KV"].clone()


class MovingCodes:
    """Codes as moving averages of the vectors assigned to them (arXiv 1711.00937, appendix A), in place of a gradient.

    N <- d N + (1 - d) n,  M <- d M + (1 - d) sum z,  code = M / N; a code that is hardly chosen stays where it is.
    """

    def __init__(self, codes_VZ: torch.Tensor, decay: float = 0.99):
        self.codes_VZ, self.decay = codes_VZ, decay
        self.restart(torch.ones(len(codes_VZ), dtype=torch.bool), first=True)

    def restart(self, rows_V: torch.Tensor, first: bool = False) -> None:
        """Restart the averages of moved codes, as if each had been chosen once."""
        if first:
            self.n_V, self.m_VZ = torch.ones_like(self.codes_VZ[:, 0]), self.codes_VZ.detach().clone()
        self.n_V[rows_V] = 1.0
        self.m_VZ[rows_V] = self.codes_VZ.detach()[rows_V]

    @torch.no_grad()
    def update(self, n_V: torch.Tensor, sum_VZ: torch.Tensor) -> None:
        self.n_V.lerp_(n_V, 1 - self.decay)
        self.m_VZ.lerp_(sum_VZ, 1 - self.decay)
        chosen_V = self.n_V > 1e-3
        self.codes_VZ[chosen_V] = self.m_VZ[chosen_V] / self.n_V[chosen_V, None]

    def state_dict(self) -> dict[str, Any]:
        return {"n_V": self.n_V, "m_VZ": self.m_VZ}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, kept in ((self.n_V, state["n_V"]), (self.m_VZ, state["m_VZ"])):
            mine.copy_(kept)


def assigned(idx: list[torch.Tensor], residuals: list[torch.Tensor], V: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How many vectors were assigned to each code (V,), and their sum (V, Z), over all scales."""
    idx_X, z_XZ = torch.cat([i.flatten() for i in idx]), torch.cat(residuals)
    one_hot_XV = F.one_hot(idx_X, V).to(z_XZ.dtype)
    return one_hot_XV.sum(0), one_hot_XV.T @ z_XZ
