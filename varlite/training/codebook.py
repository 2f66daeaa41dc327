"""The codebook in training: its health, and what keeps it from collapsing.

Left to itself, a code that is far from everything is never chosen, never gets a gradient and never moves. Remedies, all
but the last an entry of the recipe, each measured in data/results/codebook.json:

    start=residuals | kmeans     the codes begin as what the quantizer is asked for, instead of as small noise
    reseed=true                  codes that nothing chooses are moved there, again and again
    codebook=mean                codes follow the mean of what chose them, instead of a gradient
    znorm (of the tokenizer)     codes are compared by angle, so that their length keeps none from being chosen
"""

from typing import Any

import torch
import torch.nn.functional as F

from varlite.quantizer import MultiScaleQuantizer
from varlite.scales import Scales


@torch.no_grad()
def codebook_health(usage_KV: torch.Tensor) -> dict[str, Any]:
    """From counts of how often each scale drew each code: share of codes used at all; codes used, dead codes and
    perplexity per scale.

    Perplexity, exp of the entropy, is the number of codes that equal use would need; near 1 a scale has collapsed.
    """
    p_KV = usage_KV / usage_KV.sum(1, keepdim=True)
    perplexity_K = (-(p_KV * p_KV.clamp_min(1e-12).log()).sum(1)).exp()
    used_K = (usage_KV > 0).sum(1)
    return {
        "codes_used": (usage_KV.sum(0) > 0).float().mean().item(),
        "codes_used_per_scale": used_K.tolist(),
        "dead_codes_per_scale": (usage_KV.shape[1] - used_K).tolist(),
        "perplexity_per_scale": [round(p, 1) for p in perplexity_K.tolist()],
    }


def count_codes(idx: list[torch.Tensor], V: int) -> torch.Tensor:
    """(K, V) counts of the tokens of each scale."""
    return torch.stack([torch.bincount(idx_Bl.flatten(), minlength=V) for idx_Bl in idx]).float()


@torch.no_grad()
def asked_for(f_BZhw: torch.Tensor, f_hats: list[torch.Tensor], scales: Scales) -> list[torch.Tensor]:
    """What each scale looked codes up for: the rest that the scales before it left, [(B * l, Z)]."""
    before = [torch.zeros_like(f_BZhw), *f_hats[:-1]]
    shrunk = (MultiScaleQuantizer.shrink(f_BZhw - f_hat, k, scales) for k, f_hat in enumerate(before))
    return [rest.flatten(2).transpose(1, 2).flatten(0, 1) for rest in shrunk]


@torch.no_grad()
def residual_codes(n: int, asked: list[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """n codes (n, Z), drawn from what the scales asked for.

    Every scale gives an equal share. Drawn over tokens instead, the finest would give nearly all, and the 1 x 1 scale,
    with one token an image, would be left with the few codes it started on.
    """
    in_turn = [asked[i % len(asked)] for i in range(n)]
    return torch.stack([z_XZ[int(torch.randint(len(z_XZ), (), generator=generator))] for z_XZ in in_turn])


@torch.no_grad()
def kmeans_codes(n: int, asked: list[torch.Tensor], generator: torch.Generator, iterations: int = 10) -> torch.Tensor:
    """n cluster centres (n, Z) of what the scales asked for, every scale counting the same.

    Lloyd's algorithm from `residual_codes`; a centre that attracts nothing stays where it began.
    """
    x_XZ = torch.cat(asked)
    weight_X = torch.cat([torch.full((len(z),), 1 / len(z), device=z.device) for z in asked])
    centres_nZ = residual_codes(n, asked, generator)
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
    """Put `new` in the rows where `rows_V` is True of every copy of the codebook.

    The optimizer knows the first copy; its moments of a moved code start from zero.
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
        """Codes that every scale draws less often than `below` times an equal share."""
        return self.share_KV.amax(0) < below / self.share_KV.shape[1]

    def revive(self, rows_V: torch.Tensor) -> None:
        """Give moved codes the time to be found before they are judged again."""
        self.share_KV[:, rows_V] = 1 / self.share_KV.shape[1]

    def state_dict(self) -> dict[str, Any]:
        return {"share_KV": self.share_KV, "count_KV": self.count_KV}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.share_KV, self.count_KV = state["share_KV"].clone(), state["count_KV"].clone()


class MovingCodes:
    """Codes as moving averages of what chose them (arXiv 1711.00937, appendix A), in place of a gradient.

    N <- d N + (1 - d) n,  M <- d M + (1 - d) sum z,  code = M / N; a code that is hardly chosen stays where it is.
    """

    def __init__(self, codes_VZ: torch.Tensor, decay: float = 0.99):
        self.codes_VZ, self.decay = codes_VZ, decay
        self.restart(torch.ones(len(codes_VZ), dtype=torch.bool), first=True)

    def restart(self, rows_V: torch.Tensor, first: bool = False) -> None:
        """Codes that were moved begin with the weight of one choice."""
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


def chosen(idx: list[torch.Tensor], asked: list[torch.Tensor], V: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How often each code was chosen (V,), and the sum of what chose it (V, Z), over all scales."""
    idx_X, z_XZ = torch.cat([i.flatten() for i in idx]), torch.cat(asked)
    one_hot_XV = F.one_hot(idx_X, V).to(z_XZ.dtype)
    return one_hot_XV.sum(0), one_hot_XV.T @ z_XZ
