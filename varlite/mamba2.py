"""Mamba-2 in plain PyTorch (arXiv 2405.21060): a state-space layer as a chunked scan, its state carried by the caller.

A head with state h (E, S) reads its input x (E,) at each token, and writes y (E,):

    h <- exp(dt A) h + dt x b^T        y = h c

where dt > 0 and the vectors b, c (S,) depend on the token and A < 0 does not: the input decides what is forgotten.
Besides the legend of varlite/scales.py: T tokens of a chunk, and U the same tokens where they are looked at from T.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

EXPAND, S, E, TAPS, CHUNK = 2, 64, 64, 4, 64


@dataclass
class Mamba2State:
    """What a layer remembers of the tokens so far; its size does not grow with them. New, it stands for no tokens."""

    conv: torch.Tensor | None = None  # (B, channels, TAPS - 1), the last inputs of the convolution
    ssm: torch.Tensor | None = None  # (B, N, E, S)


class Mamba2(nn.Module):
    """The Mamba-2 layer (section 7.1): input projection, causal convolution, scan, gated norm, output projection.

    Heads of E = 64 over twice the width C, one group: all heads share b and c.
    """

    def __init__(self, C: int):
        super().__init__()
        inner = EXPAND * C
        if inner % E:
            raise ValueError(f"width must be a multiple of {E // EXPAND} (Mamba-2 heads have {E} channels), got {C}")
        self.heads = inner // E
        self.sizes = [inner, inner + 2 * S, self.heads]
        self.in_proj = nn.Linear(C, sum(self.sizes), bias=False)
        self.conv1d = nn.Conv1d(self.sizes[1], self.sizes[1], TAPS, groups=self.sizes[1])
        # Each head starts with a step dt of its own, log-uniform in 1e-3 .. 1e-1; dt_bias is the inverse of softplus,
        # dt + log(1 - exp(-dt)). In place: out of place PyTorch imports its compiler for this on the meta device.
        dt_N = torch.empty(self.heads).uniform_(math.log(1e-3), math.log(1e-1)).exp_()
        self.dt_bias = nn.Parameter(dt_N.clone().neg_().expm1_().neg_().log_().add_(dt_N))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log_())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out_proj = nn.Linear(inner, C, bias=False)

    def forward(self, u_BlC: torch.Tensor, state: Mamba2State | None = None) -> torch.Tensor:
        """(B, l, C) -> (B, l, C). With a state, `u_BlC` goes on from the tokens before it, and the state is updated."""
        state = state or Mamba2State()
        z, xbc, dt_BlN = self.in_proj(u_BlC).split(self.sizes, -1)
        x, b_BlS, c_BlS = self._convolve(xbc, state).split((z.shape[-1], S, S), -1)
        x_BlNE = x.unflatten(-1, (self.heads, E))
        y_BlNE, state.ssm = scan(x_BlNE, F.softplus(dt_BlN + self.dt_bias), -self.A_log.exp(), b_BlS, c_BlS, state.ssm)
        y = (y_BlNE + self.D[:, None] * x_BlNE).flatten(-2)
        return self.out_proj(self.norm((y * F.silu(z)).to(self.norm.weight.dtype)))

    def _convolve(self, x_BlX: torch.Tensor, state: Mamba2State) -> torch.Tensor:
        """Depthwise convolution over the newest TAPS tokens, then SiLU; before the first token lie zeros."""
        x_BXl = x_BlX.mT
        before = x_BXl.new_zeros(*x_BXl.shape[:2], TAPS - 1) if state.conv is None else state.conv
        x_BXl = torch.cat((before, x_BXl), -1)
        state.conv = x_BXl[..., 1 - TAPS :].clone()  # a view would keep the whole piece in memory
        return F.silu(self.conv1d(x_BXl)).mT


def scan(
    x_BlNE: torch.Tensor,
    dt_BlN: torch.Tensor,
    A_N: torch.Tensor,
    b_BlS: torch.Tensor,
    c_BlS: torch.Tensor,
    h_BNES: torch.Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(outputs y_BlNE, state after the last token), from the state before the first, None being zero.

    Within a chunk the recurrence is one masked matrix product, the dual form (section 6); between chunks the state is
    passed on. So cost and memory are linear in l. Computes in float32 at least, whatever autocast says.
    """
    if x_BlNE.is_cuda and (kernel := cuda_kernel()) is not None:
        groups = (b_BlS[:, :, None], c_BlS[:, :, None])
        return kernel(x_BlNE, dt_BlN, A_N, *groups, chunk, initial_states=h_BNES, return_final_states=True)
    x, dt, A, b, c = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (x_BlNE, dt_BlN, A_N, b_BlS, c_BlS))
    h = x.new_zeros(x.shape[0], *x.shape[2:], b.shape[-1]) if h_BNES is None else h_BNES
    outputs = []
    # Costs are counted on the meta device, which knows no autocast.
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        pieces = (t.split(chunk, 1) for t in (x * dt[..., None], dt * A, b, c))
        for x_BTNE, rate_BTN, b_BTS, c_BTS in zip(*pieces, strict=True):
            log_decay_BNTU = segment_sums(rate_BTN.mT)
            seen_BNTU = log_decay_BNTU.exp() * (c_BTS @ b_BTS.mT)[:, None]
            since_start_BTN1 = rate_BTN.cumsum(1).exp()[..., None]
            until_end_BTN1 = log_decay_BNTU[..., -1, :].exp().mT[..., None]
            y_BTNE = torch.einsum("BNTU,BUNE->BTNE", seen_BNTU, x_BTNE)
            outputs.append(y_BTNE + since_start_BTN1 * torch.einsum("BTS,BNES->BTNE", c_BTS, h))
            h = since_start_BTN1[:, -1, :, None] * h + torch.einsum("BTNE,BTS->BNES", until_end_BTN1 * x_BTNE, b_BTS)
    return torch.cat(outputs, 1), h


def segment_sums(rate_BNT: torch.Tensor) -> torch.Tensor:
    """(B, N, T, U): what `rate` sums to over the tokens after U up to T; -inf where T comes before U."""
    T = rate_BNT.shape[-1]
    earlier_TU = torch.ones(T, T, dtype=torch.bool, device=rate_BNT.device).tril()
    # Not a difference of two cumulative sums: float32 would lose it where they are large and their difference is small.
    steps_BNTU = rate_BNT[..., None].expand(*rate_BNT.shape, T).masked_fill(~earlier_TU.tril(-1), 0)
    return steps_BNTU.cumsum(-2).masked_fill(~earlier_TU, -torch.inf)


@cache
def cuda_kernel():
    """The fused scan of the mamba_ssm package, or None where that is not installed."""
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ImportError:
        return None
    return mamba_chunk_scan_combined
