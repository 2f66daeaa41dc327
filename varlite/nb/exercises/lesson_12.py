"""The exercises of notebook 12, where VAR sits."""

import math
from functools import cache
from itertools import pairwise
from typing import Any

import torch

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.models import Model
from varlite.nb.exercises import Off, function, kind, number, tensor
from varlite.tokenizer import VQVAE

STEPS = 8


@cache
def shipped() -> tuple[Model, VQVAE]:
    return load("fashion-maskgit-d4")


def exercise_1(evaluations: Any) -> str:
    """Evaluations of Heun's method with guidance."""
    number(
        evaluations, 2 * (2 * STEPS - 1),
        slips={
            2 * STEPS - 1: "That is without guidance.",
            2 * STEPS: "Is that Heun's method without guidance, or Euler's with it? You need both doublings.",
            4 * STEPS: "The last step has nothing to look ahead to.",
            STEPS: "That is Euler's method without guidance.",
        },
    )  # fmt: skip
    return "VAR draws a picture in as many evaluations as it has scales, and twice that with guidance."


def kept(tokens: int, passes: int) -> list[int]:
    left = [math.floor(tokens * math.cos(math.pi / 2 * t / passes)) for t in range(passes + 1)]
    return [before - after for before, after in pairwise(left)]


def exercise_2(newly_kept: Any) -> str:
    """How many tokens become final in each pass."""
    call = function(newly_kept)
    for tokens, passes in ((49, 8), (256, 12), (49, 1)):
        found, right = call(tokens, passes), kept(tokens, passes)
        case = f"For {tokens} tokens and {passes} passes"
        if not isinstance(found, list | tuple) or len(found) != passes:
            raise Off(f"{case} this should be a list of {passes} numbers, and is {kind(found)}.")
        if sum(found) != tokens:
            raise Off(f"{case} your numbers add up to {sum(found)}. In the end every token is kept.")
        if list(found) != right:
            first = next(i for i, (mine, theirs) in enumerate(zip(found, right, strict=True)) if mine != theirs)
            raise Off(f"{case} the first {first} numbers are right, and the next is not.")
    first, *_, last = kept(49, STEPS)
    return f"Slow at first and quick at the end: of 49 tokens {first} in the first pass, {last} in the last."


def exercise_3(clean: Any) -> str:
    """The end of the straight line."""
    numbers = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 4, 16, 7, 7, generator=numbers).double().unbind(0)
    for t in (0.25, 0.5, 1.0):
        x_t, v = torch.lerp(x_0, noise, t), noise - x_0
        found = function(clean)(x_t, v, t)
        if isinstance(found, torch.Tensor) and found.shape == noise.shape and (found - noise).abs().max() < 1e-6:
            raise Off("That is the noise, the other end of the line.")
        tensor(found, x_0, 1e-6, f"At t = {t} the result")
    return "With a real network the velocity is a guess, and so is this: at t = 1 the average picture of the class."


@cache
def hole() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens (l,) of a picture, which of them are known, and its label."""
    _, tokenizer = shipped()
    test, (h, w) = FashionMNIST("test"), tokenizer.scales.last
    with torch.inference_mode():
        idx_Bl = tokenizer.encode(to_float(test.all_images[:1]))[0]
    known_hw = torch.ones(h, w).bool()
    known_hw[h // 2 :] = False
    return idx_Bl[0], known_hw.flatten(), test.labels[:1]


def exercise_4(inpaint: Any) -> str:
    """In-painting with MaskGIT."""
    model, tokenizer = shipped()
    given_l, known_l, label_B = hole()
    seed_B = torch.arange(8)
    with torch.inference_mode():
        found = function(inpaint)(model, tokenizer, label_B.expand(8), seed_B, given_l, known_l)
    if not isinstance(found, torch.Tensor) or found.shape != (8, len(given_l)):
        raise Off(f"This should be tokens of shape {(8, len(given_l))}, and is {kind(found)}.")
    changed = (found[:, known_l] != given_l[known_l]).sum().item()
    if changed:
        raise Off(f"{changed} of {8 * int(known_l.sum())} known tokens were drawn over.")
    if all(torch.equal(found[0], row) for row in found[1:]):
        raise Off("All eight pictures are the same: the hole is not drawn anew for each seed.")
    with torch.inference_mode():
        h_BlZ, hidden_Bl = tokenizer.embed(found), (~known_l).expand(8, -1)
        loss = -model(h_BlZ, hidden_Bl, label_B.expand(8)).log_softmax(-1).gather(-1, found[..., None])[hidden_Bl]
    if loss.mean() > MOST_SURPRISED:
        raise Off(
            f"What is known stays. What is filled in does not go with it: {loss.mean():.1f} nats of surprise a token. "
            "Did the network see the known tokens from the first pass on?"
        )
    return "What is known stays, and what is new goes with it. VAR needs more for this: its tokens overlap."


MOST_SURPRISED = 4.0  # nats a token; a right solution has about 3
