"""The exercises of notebook 02, tokenization."""

import math
from functools import cache
from typing import Any

import torch

from varlite.checkpoints.load import load_tokenizer
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.nb.exercises import Off, function, kind, number
from varlite.nb.plots import scale_names
from varlite.tokenizer import VQVAE, TokenizerConfig

GUESSED, CODED = 200, 20  # test pictures of exercises 2, and 3 and 5


@cache
def tokenizer() -> VQVAE:
    return load_tokenizer("fashion-vq")


@cache
def features(n: int) -> torch.Tensor:
    """Feature maps of the first test pictures, (n, Z, h, w)."""
    with torch.inference_mode():
        return tokenizer().features(to_float(FashionMNIST("test").all_images[:n])).clone()


def exercise_1(size: Any) -> str:
    """Bytes of the tokens of a picture of 256 x 256."""
    config = TokenizerConfig()
    lengths, bits = [side * side for side in config.scales], math.log2(config.vocab)
    slips = {
        sum(lengths) * bits: "That is in bits.",
        sum(lengths): "That is the number of tokens.",
        lengths[-1] * bits / 8: "That is the finest map alone.",
        sum(lengths) * config.vocab / 8: "A code is one of 4,096. How many bits tell which?",
        sum(lengths) * 9 / 8: "That is with 512 codes. The published codebook has 4,096.",
    }
    number(size, sum(lengths) * bits / 8, 0.5, slips)
    return "About as much as a thumbnail of 18 x 18 pixels in colour, uncompressed."


@cache
def first_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """The 1 x 1 codes and the classes of twice as many pictures as are guessed."""
    n = 2 * GUESSED
    with torch.inference_mode():
        idx, _ = tokenizer().quantizer.encode(features(n), tokenizer().scales)
    return idx[0][:, 0], FashionMNIST("test").labels[:n]


def votes(code_N: torch.Tensor, label_N: torch.Tensor) -> torch.Tensor:
    """How often each code has each class, (V, classes)."""
    table_VC = torch.zeros(tokenizer().config.vocab, 10)
    return table_VC.index_put_((code_N, label_N), torch.ones(len(code_N)), accumulate=True)


def exercise_2(right: Any) -> str:
    """How often a class is guessed from one token."""
    code_N, label_N = first_tokens()
    code_n, label_n = code_N[:GUESSED], label_N[:GUESSED]
    table_VC = votes(code_n, label_n)
    share = table_VC.max(1).values.sum().item() / GUESSED
    most = label_n.bincount().max().item() / GUESSED
    number(
        right, share, 0.006,
        slips={
            most: "That is how often one is right who always guesses the commonest class.",
            share * GUESSED: "That is how many of the 200; which share is it?",
            table_VC.max(0).values.sum().item() / GUESSED: "That is the best code for each class: the other way round.",
        },
    )  # fmt: skip
    others = (table_VC.argmax(1)[code_N[GUESSED:]] == label_N[GUESSED:]).float().mean()
    return (
        f"Always guessing one class: {most:.0%}. But these are the pictures on which the guesses were made. On the "
        f"next {GUESSED} they are right for {others:.0%}."
    )


@cache
def encoded() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Token maps and sums of some test pictures."""
    with torch.inference_mode():
        return tokenizer().quantizer.encode(features(CODED), tokenizer().scales)


def exercise_3(mended: Any) -> str:
    """The sums after each scale."""
    idx, f_hats = encoded()
    with torch.no_grad():
        found = function(mended)([idx_Bl.clone() for idx_Bl in idx])
    if not isinstance(found, list | tuple) or len(found) != len(f_hats):
        raise Off(f"This should return a list of {len(f_hats)} sums, and returns {kind(found)}.")
    agreed = ""
    for name, mine, right in zip(scale_names(tokenizer().scales), found, f_hats, strict=True):
        if getattr(mine, "shape", None) != right.shape:
            raise Off(f"The sum after {name} should be a tensor of shape {tuple(right.shape)}.")
        gap = (mine - right).square().mean().sqrt() / right.std()
        if gap > 1e-3:
            before = f"Up to {agreed} the sums agree. " if agreed else ""
            raise Off(f"{before}After {name} the sum is off by {gap:.0%} of its size.")
        agreed = name
    return "All sums agree with the package's, so the pictures do."


def exercise_4(straight_through: Any) -> str:
    """The value of f_hat and the gradient of f."""
    torch.manual_seed(0)
    f, f_hat = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    found = function(straight_through)(f, f_hat)
    if not isinstance(found, torch.Tensor) or found.shape != f.shape:
        raise Off(f"This should be a tensor of shape {tuple(f.shape)}, and is {kind(found)}.")
    if not torch.allclose(found, f_hat, atol=1e-5):
        raise Off("Its value is not that of `f_hat`" + (", but that of `f`." if torch.allclose(found, f) else "."))
    if not found.requires_grad:
        raise Off("Its value is right, but it has no gradient at all: the encoder learns nothing.")
    weight = torch.randn_like(f)
    to_f, to_f_hat = torch.autograd.grad((found * weight).sum(), (f, f_hat), allow_unused=True)
    if to_f is None or not torch.allclose(to_f, weight, atol=1e-6):
        raise Off("Its value is right, but the gradient doesn't reach `f` unchanged.")
    if to_f_hat is not None and to_f_hat.any():
        raise Off("Its value is right and `f` learns, but `f_hat` gets a gradient, too. It should be detached.")
    return "The encoder is told what would have helped if its vectors had not been rounded: biased, and good enough."


def exercise_5(better: Any) -> str:
    """Token maps that leave less missing than the greedy ones."""
    f_BZhw, idx = features(CODED), encoded()[0]
    with torch.no_grad():
        found = function(better)(f_BZhw.clone())
    shapes = [tuple(idx_Bl.shape) for idx_Bl in idx]
    if not isinstance(found, list | tuple) or [tuple(getattr(x, "shape", ())) for x in found] != shapes:
        raise Off(f"This should be a list of token maps of the shapes {shapes}.")
    if any(x.is_floating_point() or x.min() < 0 or x.max() >= tokenizer().config.vocab for x in found):
        raise Off("Tokens are whole numbers from 0 to 511.")
    greedy_B, mine_B = missing(idx), missing(list(found))
    gain = 1 - (mine_B.mean() / greedy_B.mean()).item()
    if gain < LEAST_GAIN:
        more = f"{-gain:.1%} more" if gain < 0 else f"{gain:.1%} less"
        raise Off(f"It leaves {more} missing than the package's, and should leave {LEAST_GAIN:.0%} less.")
    return (
        f"It leaves {gain:.1%} less missing, and {(mine_B < greedy_B).sum()} of {CODED} pictures are better. Such a "
        "search costs time, and whether a transformer can predict its tokens as well is another question."
    )


LEAST_GAIN = 0.01


@torch.no_grad()
def missing(idx: list[torch.Tensor]) -> torch.Tensor:
    """The mean squared error in the features of each picture, (B,)."""
    f_hat = tokenizer().empty(len(idx[0]))
    for k, idx_Bl in enumerate(idx):
        f_hat = tokenizer().accumulate(f_hat, tokenizer().embed(idx_Bl), k)
    return (features(len(f_hat)) - f_hat).square().mean((1, 2, 3))
