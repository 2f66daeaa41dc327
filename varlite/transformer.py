"""The parts of the next-scale transformer: attention with a cache, feed-forward, AdaLN, block, head."""

import math
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

AdaLNKind = Literal["own", "shared", "none"]  # a layer for each block, one for all, or unconditional


class KVCache:
    """Keys and values of the tokens so far, for one attention layer; room for all `length` is allocated at once."""

    def __init__(self, length: int):
        self.length, self.used = length, 0
        self.keys = self.values = torch.empty(0)

    def append(self, k_BNlE: torch.Tensor, v_BNlE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the newest tokens; returns views of the keys and values of all tokens so far."""
        if self.used == 0:
            B, N, _, E = k_BNlE.shape
            self.keys, self.values = (x.new_empty(B, N, self.length, E) for x in (k_BNlE, v_BNlE))
        start, self.used = self.used, self.used + k_BNlE.shape[2]
        self.keys[:, :, start : self.used] = k_BNlE
        self.values[:, :, start : self.used] = v_BNlE
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]


class Attention(nn.Module):
    """Multi-head self-attention.

    With `normalise` queries and keys have unit length and each head learns its softmax temperature, capped at 100, as
    the published models from depth 16 on; without it logits are scaled by 0.25 / sqrt(E).
    """

    def __init__(self, C: int, heads: int, normalise: bool):
        super().__init__()
        self.heads, self.E = heads, C // heads
        self.qkv = nn.Linear(C, 3 * C, bias=False)
        # No bias on the keys: without normalisation softmax would cancel it, with it the published models have none.
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(C)), nn.Parameter(torch.zeros(C))
        self.log_scale = nn.Parameter(torch.full((heads,), math.log(4.0))) if normalise else None
        self.proj = nn.Linear(C, C)

    def joint(self, x_BlC: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values of all heads from one product, (B, l, 3 C)."""
        return F.linear(x_BlC, self.qkv.weight, self.joint_bias())

    def joint_bias(self) -> torch.Tensor:
        return torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))

    def project(self, x_BlC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Queries, keys and values (B, N, l, E), and the factor of q k before softmax."""
        B, l, _ = x_BlC.shape
        q, k, v = self.joint(x_BlC).view(B, l, 3, self.heads, self.E).permute(2, 0, 3, 1, 4)
        scale = 0.25 / math.sqrt(self.E)
        if self.log_scale is not None:
            temperature_N11 = self.log_scale.clamp_max(math.log(100)).exp().view(-1, 1, 1)
            q, k, scale = unit(q, temperature_N11), unit(k), 1.0
        # Under autocast normalising returns float32, v is what autocast chose.
        return q.to(v.dtype), k.to(v.dtype), v, scale

    def forward(self, x_BlC: torch.Tensor, mask_ll: Any = None, cache: KVCache | None = None) -> torch.Tensor:
        """`mask_ll` is True where a row may look, or a `block_mask` of that; a cache is appended to, and attended to
        whole."""
        q, k, v, scale = self.project(x_BlC)
        if cache is not None:
            k, v = cache.append(k, v)
        if isinstance(mask_ll, torch.Tensor | None):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_ll, scale=scale)
        else:
            out = compiled_flex()(q, k, v, block_mask=mask_ll, scale=scale)
        return self.proj(out.transpose(1, 2).reshape(x_BlC.shape))


def unit(x: torch.Tensor, length: Any = 1.0) -> torch.Tensor:
    """Vectors along the last axis, of the given length: a product with a reciprocal, whose gradient costs less than a
    division's."""
    return x * (length / x.norm(dim=-1, keepdim=True).clamp_min(1e-12))


# Training on a GPU: no work for blocks of the mask in which nothing may be seen

BLOCK = 128  # tokens of a block


def block_mask(mask_LL: torch.Tensor) -> Any:
    """A dense mask as FlexAttention takes it: 128 x 128 blocks that are empty, full, or looked up entry by entry.

    Of the 36 blocks of VAR's mask at 256 x 256, 8 are empty and need no work, and 12 are full.
    """
    from torch.nn.attention.flex_attention import create_block_mask  # three seconds of start-up

    L = len(mask_LL)
    return create_block_mask(lambda b, n, q, k: mask_LL[q, k], None, None, L, L, mask_LL.device, BLOCK)


def for_training(mask: Any, dtype: torch.dtype, E: int) -> Any:
    """The mask of teacher forcing as it is quickest to train with: a `block_mask` on a CUDA GPU, if that works there,
    otherwise as it is. `dtype` is that of queries, keys and values, `E` the size of a head."""
    if not isinstance(mask, torch.Tensor) or not mask.is_cuda or not flex_works(mask.device, dtype, E):
        return mask
    return block_mask(mask)


@cache
def compiled_flex() -> Any:
    """FlexAttention, which is quick only when compiled."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


@cache
def flex_works(device: torch.device, dtype: torch.dtype, E: int) -> bool:
    """Whether FlexAttention gives there what the dense mask gives, and the same gradients: tried once.

    Warns where it fails, although torch has it for the device.
    """
    if not torch.cuda.is_available() or find_spec("triton") is None:
        return False
    try:
        off = flex_error(device, dtype, E)
        problem = "" if off < (0.05 if dtype.itemsize < 4 else 0.01) else f"its results are off by {off:.2g}"
    except Exception as error:  # what a compiler that is missing or broken raises is of many types
        problem = str(error).split("\n")[0]
    if problem:
        warnings.warn(f"FlexAttention does not work here ({problem}); training uses the dense mask", stacklevel=2)
    return not problem


def flex_error(device: torch.device, dtype: torch.dtype, E: int, flex: Any = None, gradients: bool = True) -> float:
    """The largest difference between FlexAttention and the dense mask, in outputs and gradients, over 200 tokens."""
    draws, L = torch.Generator(device).manual_seed(0), 200
    level_L = torch.arange(L, device=device) // 30
    mask_LL = level_L[:, None] >= level_L[None, :]
    found = []
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        qkv = [torch.randn(2, 2, L, E, generator=draws, device=device).to(dtype) for _ in range(4)]
        blocks = block_mask(mask_LL)
        for use_flex in (False, True):
            q, k, v = (x.clone().requires_grad_(gradients) for x in qkv[:3])
            if use_flex:
                out = (flex or compiled_flex())(q, k, v, block_mask=blocks, scale=0.25)
            else:
                out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_LL, scale=0.25)
            grads = torch.autograd.grad((out * qkv[3]).sum(), (q, k, v)) if gradients else ()
            found.append([x.detach().float() for x in (out, *grads)])
    return max((a - b).abs().max().item() for a, b in zip(*found, strict=True))


class FFN(nn.Module):
    """Linear, GELU (tanh form), linear."""

    def __init__(self, C: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(C, hidden), nn.Linear(hidden, C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class AdaLN(nn.Module):
    """Adaptive layer norm (DiT, arXiv 2212.09748): the condition gives `n` vectors of width C, each (B, 1, C)."""

    def __init__(self, D: int, C: int, n: int):
        super().__init__()
        self.linear, self.n = nn.Linear(D, n * C), n

    def forward(self, cond_BD: torch.Tensor) -> list[torch.Tensor]:
        return list(self.linear(F.silu(cond_BD)).unflatten(-1, (1, self.n, -1)).unbind(-2))


class SharedAdaLN(nn.Module):
    """AdaLN of a block whose linear layer is shared by all (the 512 model): the block adds an offset of its own.

    Its condition is that layer's output, (B, n * C), instead of the class embedding.
    """

    def __init__(self, C: int, n: int):
        super().__init__()
        self.offset_nC = nn.Parameter(torch.randn(n, C).div_(C**0.5))  # in place, as in mamba2.py

    def forward(self, shared_BD: torch.Tensor) -> list[torch.Tensor]:
        vectors_B1nC = shared_BD.unflatten(-1, (1, *self.offset_nC.shape)) + self.offset_nC
        return list(vectors_B1nC.unbind(-2))


class PlainNorm(nn.Module):
    """Unconditional replacement for AdaLN: learned scales and shifts for each of `branches`, gates fixed at 1.

    VAR was like this before AdaLN (paper, table 3): the class enters through the start token alone.
    """

    def __init__(self, C: int, branches: int, gates: bool):
        super().__init__()
        self.norm_nC = nn.Parameter(torch.zeros(2 * branches, C))
        self.gates = (1.0,) * (branches if gates else 0)

    def forward(self, cond_BD: torch.Tensor) -> list[Any]:
        return [*self.gates, *self.norm_nC[:, None, None].unbind(0)]


def make_ada_ln(C: int, branches: int, kind: AdaLNKind) -> nn.Module:
    """The layer that gives a block of `branches` residual branches its gates, scales and shifts, in this order."""
    if kind == "none":
        return PlainNorm(C, branches, gates=True)
    return SharedAdaLN(C, 3 * branches) if kind == "shared" else AdaLN(C, C, 3 * branches)


def vectors(ada_ln: nn.Module, cond: torch.Tensor | list) -> list:
    """The output of `ada_ln` for a condition. A list is that already: sampling computes it once."""
    return ada_ln(cond) if isinstance(cond, torch.Tensor) else cond


def modulate(x_BlC: torch.Tensor, scale_B1C: torch.Tensor, shift_B1C: torch.Tensor) -> torch.Tensor:
    """LayerNorm without parameters of its own, then the condition's scale and shift."""
    return torch.addcmul(shift_B1C, F.layer_norm(x_BlC, x_BlC.shape[-1:], eps=1e-6), 1 + scale_B1C)


def drop_path(x_BlC: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """Stochastic depth (arXiv 1603.09382): leave a residual branch out for a random share p of the batch."""
    if not training or p == 0:
        return x_BlC
    keep_B11 = torch.rand(x_BlC.shape[0], 1, 1, device=x_BlC.device) >= p
    return x_BlC * (keep_B11 / (1 - p))


class Block(nn.Module):
    """Attention and feed-forward, both residual, modulated and gated by the condition, as in DiT."""

    def __init__(self, C: int, heads: int, hidden: int, normalise: bool, ada_ln: AdaLNKind, drop_path: float):
        super().__init__()
        self.attn, self.ffn = Attention(C, heads, normalise), FFN(C, hidden)
        self.ada_ln = make_ada_ln(C, 2, ada_ln)
        self.drop_path = drop_path

    def forward(
        self, x: torch.Tensor, cond: torch.Tensor | list, mask: torch.Tensor | None = None, cache: KVCache | None = None
    ) -> torch.Tensor:
        """x_BlC -> x_BlC. Incremental exactly when a cache is given: x then holds the newest scale's tokens only.

        `cond` is the condition or, made of it before, `vectors`.
        """
        gamma1, gamma2, scale1, scale2, shift1, shift2 = vectors(self.ada_ln, cond)
        p, training = self.drop_path, self.training
        x = x + drop_path(gamma1 * self.attn(modulate(x, scale1, shift1), mask, cache), p, training)
        x = x + drop_path(gamma2 * self.ffn(modulate(x, scale2, shift2)), p, training)
        return x

    def make_cache(self, length: int) -> KVCache:
        """The cache that makes `forward` incremental, for up to `length` tokens."""
        return KVCache(length)


class Head(nn.Module):
    """Modulated LayerNorm and a linear layer to the codebook; logits are float32 whatever autocast does before."""

    def __init__(self, C: int, V: int, ada_ln: AdaLNKind):
        super().__init__()
        self.ada_ln = PlainNorm(C, 1, gates=False) if ada_ln == "none" else AdaLN(C, C, 2)
        self.linear = nn.Linear(C, V)

    def forward(self, x_BlC: torch.Tensor, cond: torch.Tensor | list) -> torch.Tensor:
        scale, shift = vectors(self.ada_ln, cond)
        return self.linear(modulate(x_BlC, scale, shift)).float()


class ClassEmbedding(nn.Module):
    """One vector for each class, and one more, index `null`, for "no class", which guidance and label dropout use."""

    def __init__(self, classes: int, D: int):
        super().__init__()
        self.table, self.null = nn.Embedding(classes + 1, D), classes

    def forward(self, label_B: torch.Tensor) -> torch.Tensor:
        return self.table(label_B)
