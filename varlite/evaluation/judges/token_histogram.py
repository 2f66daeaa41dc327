"""Distance between histograms of tokens, per scale (after CHD, arXiv 2603.08064, which has one 1-D tokenizer's).

Token frequencies are compared with those of real pictures, encoded by the model's own tokenizer, by total variation:
half the sum of |p - q|, the share of tokens that would have to be others. Scales count by their numbers of tokens.

    tokens, token_pairs      of the images, encoded again: works for any images
    drawn_tokens, -_pairs    that the model drew: what the sampler did, before the decoder hides it

Pairs are a token and its neighbour to the right or below. V x V of them would be mostly empty, so codes are first put
into 32 groups of codes alike (k-means of the code vectors): 1,024 kinds of pairs.

Sees: texture and detail, wrong by a little everywhere, which a classifier is trained to overlook; pairs see whether
neighbours fit together.
Fooled by: repeating or memorising real pictures, whose tokens are right; anything the tokenizer encodes alike. It has
no idea of what is shown where: it is the same when pictures trade their parts. The two kinds can disagree: decoding and
encoding again does not give the drawn tokens back, and a sampler that exaggerates detail can so make up for a decoder
that blurs, further from the data in drawn tokens and nearer in encoded ones. Drawn tokens favour plain sampling, which
is trained on nothing else. The floor falls with N: compare equal numbers.
"""

import torch

from varlite.datasets.pixels import to_float
from varlite.evaluation.judges.interface import Judge, Pictures, Views
from varlite.tokenizer import VQVAE

GROUPS = 32
BLIND = {  # corruptions (experiments/corruptions.py) that they miss
    name: frozenset({"memorised"}) for name in ("tokens", "token_pairs", "drawn_tokens", "drawn_pairs")
}


def token_view(tokenizer: VQVAE) -> Views:
    """The view "tokens": bytes -> (B, L) tokens of all scales, 32-bit."""
    device = tokenizer.quantizer.codebook.weight.device

    def tokens(img_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.cat(tokenizer.encode(to_float(img_BCHW.to(device))), 1).int().cpu()

    return {"tokens": tokens}


def token_rows(judge: "TokenHistogram | TokenPairs", pictures: Pictures) -> torch.Tensor:
    """(N, L) tokens: drawn ones if the judge takes those and the pictures are a model's, otherwise encoded ones.

    Raises ValueError for a judge of drawn tokens and samples without: real pictures are marked by `real=True`.
    """
    if not judge.drawn or pictures.real:
        return pictures.view("tokens")
    if not pictures.has("drawn"):
        raise ValueError(f"{judge.name}: the images do not come with the tokens that a model drew")
    return pictures.view("drawn")


def total_variation(a: torch.Tensor, b: torch.Tensor, kinds: int) -> float:
    """Of the frequencies of integers in [0, kinds), in [0, 1]."""
    p, q = (torch.bincount(x.flatten().long(), minlength=kinds).double() / x.numel() for x in (a, b))
    return 0.5 * (p - q).abs().sum().item()


def groups_of(codes_VZ: torch.Tensor, groups: int = GROUPS, rounds: int = 20, seed: int = 0) -> torch.Tensor:
    """(V,) group of each code: k-means of the code vectors, from seeded starts, so the same for the same codebook."""
    codes = codes_VZ.detach().float().cpu()
    generator = torch.Generator().manual_seed(seed)
    means = codes[torch.randperm(len(codes), generator=generator)[:groups]].clone()
    for _ in range(rounds):
        nearest = torch.cdist(codes, means).argmin(1)
        counts = torch.bincount(nearest, minlength=len(means))
        sums = torch.zeros_like(means).index_add_(0, nearest, codes)
        means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], means)
    return torch.cdist(codes, means).argmin(1)


class TokenHistogram(Judge):
    """Total variation between frequencies of tokens, averaged over scales by their numbers of tokens."""

    sees = "frequencies of the tokenizer's codes at each scale"

    def __init__(self, tokenizer: VQVAE, drawn: bool = False):
        """drawn: of the tokens that the model drew, which `Pictures.once("drawn", ...)` must have been given."""
        self.name, self.drawn = "drawn_tokens" if drawn else "tokens", drawn
        self.blind = BLIND[self.name]
        self.spans, self.V = tokenizer.scales.spans, tokenizer.config.vocab

    def rows(self, pictures: Pictures) -> torch.Tensor:
        return token_rows(self, pictures)

    def scales(self, samples_NL: torch.Tensor, reference_ML: torch.Tensor) -> list[float]:
        """The distance at each scale."""
        return [total_variation(samples_NL[:, a:b], reference_ML[:, a:b], self.V) for a, b in self.spans]

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        lengths = [b - a for a, b in self.spans]
        return sum(n * d for n, d in zip(lengths, self.scales(samples, reference), strict=True)) / sum(lengths)


class TokenPairs(Judge):
    """The same of neighbours, codes in groups, averaged over scales by their numbers of pairs."""

    sees = "which codes lie beside and above each other"

    def __init__(self, tokenizer: VQVAE, drawn: bool = False):
        """drawn: as of `TokenHistogram`."""
        self.name, self.drawn = "drawn_pairs" if drawn else "token_pairs", drawn
        self.blind = BLIND[self.name]
        self.tokenizer_scales = tokenizer.scales
        self.group_V = groups_of(tokenizer.quantizer.codebook.weight)
        self.kinds = int(self.group_V.max()) + 1

    def rows(self, pictures: Pictures) -> torch.Tensor:
        return token_rows(self, pictures)

    def pairs(self, idx_NL: torch.Tensor, k: int) -> torch.Tensor:
        """Numbers in [0, kinds^2) of all neighbours at scale k, flat."""
        a, b = self.tokenizer_scales.spans[k]
        h, w = self.tokenizer_scales.shapes[k]
        group = self.group_V[idx_NL[:, a:b].long()].unflatten(1, (h, w))
        beside = group[:, :, :-1] * self.kinds + group[:, :, 1:]
        below = group[:, :-1] * self.kinds + group[:, 1:]
        return torch.cat([beside.flatten(), below.flatten()])

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        total = weight = 0.0
        for k in range(self.tokenizer_scales.K):
            ours, theirs = self.pairs(samples, k), self.pairs(reference, k)
            if len(ours):
                total += len(ours) * total_variation(ours, theirs, self.kinds**2)
                weight += len(ours)
        return total / weight
