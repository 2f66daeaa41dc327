"""The exercises of notebook 00, the quickstart."""

import math
from functools import cache
from typing import Any

import torch

from varlite.checkpoints.load import load, shipped
from varlite.datasets.pixels import to_bytes, to_float
from varlite.drawing import draw, keep_top
from varlite.evaluation.classifier import load_classifier
from varlite.models import Model
from varlite.nb.exercises import Off, function, kind, number
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig

TROUSER, PULLOVER, DRESS, SHIRT = 1, 2, 3, 6
PAIRS, CHANGES = 50, 30  # pictures in exercises 3 and 4


@cache
def loaded() -> tuple[Model, VQVAE]:
    return load("fashion-var-d4")


def exercise_1(tokens: Any) -> str:
    """Tokens of a picture of 256 x 256."""
    scales = Scales.of(TokenizerConfig().scales)
    slips: dict[float, str] = {
        scales.lengths[-1]: "That is the finest map alone. All maps are drawn.",
        scales.K: "That is the number of steps. Each step draws a whole map.",
        sum(h for h, _ in scales.shapes): "That is the sum of the sides. A map has as many tokens as it has cells.",
        scales.total - scales.lengths[-1]: "The finest map is missing.",
    }
    number(tokens, scales.total, slips=slips)
    raster = scales.lengths[-1]
    return f"{scales.total} tokens in {scales.K} steps; in raster order {raster} tokens, in {raster} steps."


def exercise_2(codes: Any) -> str:
    """Perplexity of a distribution over four codes."""
    p = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8], dtype=torch.float64)
    nats = torch.special.entr(p).sum().item()
    slips = {
        4: "That counts the codes. One of them is much likelier than the others.",
        nats: "That is the entropy, with the natural logarithm. What is its exponential?",
        nats / math.log(2): "That is the entropy in bits. How many equally likely codes are as uncertain?",
        2: "That is one over the probability of the likeliest code. The others count, too.",
    }  # fmt: skip
    number(codes, math.exp(nats), 0.01, slips)
    return "Fewer than four, as it leans to one of them; with 1/4 each it would be four."


@cache
def first_codes(label: int, start: int = 0) -> torch.Tensor:
    """The 1 x 1 tokens of a class for the seeds from `start` on, with the settings that `generate` has by default."""
    model, _ = loaded()
    with torch.inference_mode():
        logits_BlV = model.step(None, torch.tensor([label] * PAIRS), 0, model.make_cache())
    return draw(keep_top(logits_BlV, top_p=0.96), torch.arange(start, start + PAIRS))[:, 0]


def exercise_3(same: Any) -> str:
    """Whether pullovers and shirts of equal seeds begin with equal tokens."""
    pullover, shirt = first_codes(PULLOVER), first_codes(SHIRT)
    right = (pullover == shirt).float().mean().item()
    chance = (pullover == first_codes(SHIRT, PAIRS)).float().mean().item()
    slips = {
        1.0: "They are not all equal: the probabilities of the two classes differ.",
        chance: "That is about what different seeds give. One number for all makes a seed from the class: give a list.",
        100 * right: "Per cent? A share lies between 0 and 1.",
        PAIRS * right: "That is how many; which share of the pairs is it?",
    }
    number(same, right, 1 / PAIRS + 1e-6, slips)
    return (
        f"With different seeds it is {chance:.0%}. Equal numbers fall on the same code wherever the two classes find "
        "it about as likely, and most pullovers could be shirts."
    )


def exercise_4(change_of_mind: Any) -> str:
    """Pictures whose first scales are of another class than the rest."""
    attempt, K = function(change_of_mind), loaded()[0].scales.K
    for switch in (2, 0, K):
        right, found = one_changed(TROUSER, DRESS, switch), attempt(TROUSER, DRESS, switch, seeded(1))
        if not isinstance(found, torch.Tensor) or found.numel() != right.numel():
            raise Off(f"This should return one picture, (1, 1, 28, 28), and returns {kind(found)}.")
        if not torch.allclose(found.reshape(right.shape), right, atol=1e-3):
            raise Off(f"With switch = {switch} {remark(found.reshape(right.shape), switch)}")
    told = [f"{share_of(TROUSER, switch):.0%} after {switch}" for switch in (1, 2, 3)]
    return f"Of {CHANGES}, these remain trousers (to one judge): {', '.join(told)} scales."


def remark(found: torch.Tensor, switch: int) -> str:
    """What is off about a picture that changed its class after `switch` scales."""
    wrong = {
        "the two classes are exchanged: `first` comes first.": one_changed(DRESS, TROUSER, switch),
        "all scales are drawn as `first`.": one_changed(TROUSER, TROUSER, switch),
        "all scales are drawn as `second`.": one_changed(DRESS, DRESS, switch),
        "the class changes one scale too late.": one_changed(TROUSER, DRESS, switch + 1),
        "the class changes one scale too early.": one_changed(TROUSER, DRESS, switch - 1),
        "the picture is right, but from -1 to 1 as the decoder gives it.": 2 * one_changed(TROUSER, DRESS, switch) - 1,
    }
    for words, picture in wrong.items():
        if torch.allclose(found, picture, atol=1e-3):
            return words
    return "this is another picture than the package draws: are guidance and filters off, and is the generator used?"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_changed(first: int, second: int, switch: int) -> torch.Tensor:
    return changed(first, second, switch, seeded(1), 1)


@torch.inference_mode()
def changed(first: int, second: int, switch: int, generator: torch.Generator, n: int) -> torch.Tensor:
    """n pictures in [0, 1] whose scales before `switch` are drawn as one class and the others as another."""
    model, tokenizer = loaded()
    f_hat, x_BlZ, cache = tokenizer.empty(n), None, model.make_cache()
    for k in range(model.scales.K):
        label_B = torch.full((n,), first if k < switch else second)
        idx_Bl = draw(model.step(x_BlZ, label_B, k, cache), generator)
        f_hat = tokenizer.accumulate(f_hat, tokenizer.embed(idx_Bl), k)
        x_BlZ = tokenizer.next_input(f_hat, k) if k < model.scales.K - 1 else None
    return (tokenizer.to_image(f_hat) + 1) / 2


@cache
def share_of(label: int, switch: int) -> float:
    """The share of pictures that a judge still takes for trousers, if `switch` scales were drawn as one."""
    images = changed(TROUSER, DRESS, switch, seeded(0), CHANGES)
    judge = load_classifier(shipped("fashion-classifier"))
    with torch.inference_mode():
        return (judge(to_float(to_bytes(images))).argmax(1) == label).float().mean().item()
