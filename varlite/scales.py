"""The schedule of scales: token maps from coarse to fine.

Legend, used as suffixes of tensor names throughout the package, one letter one meaning:

    B batch    K scales    L tokens of all scales    l tokens of one scale    V codebook size
    h w sides of a token map    H W sides of an image    Z latent channels    C width of the transformer
    D width of the conditioning vector    N heads    E size of a head    S state size of a state-space layer

so `x_BLC` is a batch of sequences over all scales, `idx_Bl` the tokens of one scale, `f_hat_BZhw` a latent map.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from operator import index

import torch

from varlite.io.checks import brief


@dataclass(frozen=True)
class Scales:
    """Sides of the token maps, coarse to fine. A map is square unless given as a pair (h, w).

    >>> scales = Scales.of((1, 2, 3))
    >>> scales.lengths, scales.total, scales.spans
    ((1, 4, 9), 14, ((0, 1), (1, 5), (5, 14)))

    Raises ValueError when a side is not a positive integer, when a scale is smaller than the one before it, or when
    there is none.
    """

    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, sides: "Iterable[int | Iterable[int]] | Scales") -> "Scales":
        """Build from sides such as `(1, 2, 3, 5, 7)` or `((1, 2), (3, 6))`; a Scales is returned unchanged."""
        if isinstance(sides, Scales):
            return sides
        wrong = "scales: each side must be a positive integer or a pair of them, got"
        try:
            pairs = [tuple(map(index, s if isinstance(s, Iterable) else (s, s))) for s in sides]
        except (TypeError, RuntimeError):
            raise ValueError(f"{wrong} {brief(sides)}") from None
        for pair in pairs:
            if len(pair) != 2 or min(pair) < 1:
                raise ValueError(f"{wrong} {pair}")
        for (h0, w0), (h1, w1) in pairwise(pairs):
            if h1 < h0 or w1 < w0:
                raise ValueError(f"scales: sides must grow from coarse to fine, got {(h0, w0)} before {(h1, w1)}")
        if not pairs:
            raise ValueError("scales: at least one scale is needed, got none")
        return cls(tuple((p[0], p[1]) for p in pairs))

    @property
    def sides(self) -> list[int | list[int]]:
        """The sides as plain JSON: an integer for a square map, a pair otherwise."""
        return [h if h == w else [h, w] for h, w in self.shapes]

    @property
    def K(self) -> int:
        """Number of scales."""
        return len(self.shapes)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each scale."""
        return tuple(h * w for h, w in self.shapes)

    @property
    def total(self) -> int:
        """Tokens of all scales, L."""
        return sum(self.lengths)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Where each scale starts and ends in the sequence of all tokens."""
        ends = [sum(self.lengths[: k + 1]) for k in range(self.K)]
        return tuple((end - length, end) for end, length in zip(ends, self.lengths, strict=True))

    @property
    def last(self) -> tuple[int, int]:
        """Shape (h, w) of the finest map."""
        return self.shapes[-1]

    def levels(self, device: torch.device | str | None = None) -> torch.Tensor:
        """Scale k of each token, shape (L,). Made where it is needed: a GPU would wait for a copy of a list."""
        return torch.cat([torch.full((length,), k, device=device) for k, length in enumerate(self.lengths)])

    def block_causal_mask(self, device: torch.device | str | None = None) -> torch.Tensor:
        """(L, L) booleans, True where the token of the row may see that of the column: its own scale and coarser ones.

        This is the attention mask of VAR (paper section 3.2). It is made where it is needed, never stored.
        """
        level_L = self.levels(device)
        return level_L[:, None] >= level_L[None, :]

    def split(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Cut a tensor of all tokens, (B, L, ...), into one of each scale, (B, l, ...)."""
        if not isinstance(x, torch.Tensor) or x.ndim < 2 or x.shape[1] != self.total:
            got = x.shape[1] if len(getattr(x, "shape", ())) > 1 else brief(x)
            raise ValueError(f"expected {self.total} tokens on axis 1 for scales {self.sides}, got {got}")
        return list(x.split(self.lengths, dim=1))
