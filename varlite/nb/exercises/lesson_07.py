"""The exercises of notebook 07, editing."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.drawing import Step
from varlite.editing import box_mask, edit
from varlite.models import Model
from varlite.nb.editing_figures import masks_by_scale
from varlite.nb.exercises import NotTried, Off, bare, function, kind, number
from varlite.sampling import generate
from varlite.tokenizer import VQVAE

SIDE, HOLE = 28, 11  # pixels


@cache
def shipped() -> tuple[Model, VQVAE]:
    return load("fashion-var-d4")


@cache
def pictures() -> torch.Tensor:
    return to_float(FashionMNIST("test").images(torch.tensor([1, 3, 11])))


def exercise_1(tokens_sampled: Any) -> str:
    """How many tokens the published rule samples."""
    scales = shipped()[0].scales
    keep_HW = torch.ones(SIDE, SIDE, dtype=torch.bool)
    keep_HW[:HOLE, :HOLE] = False
    sampled = [(~mask).sum().item() for mask in masks_by_scale(keep_HW, scales)]
    touched = sum(math.ceil(HOLE * h / SIDE) ** 2 for h, _ in scales.shapes[1:])
    inside = sum((HOLE * h // SIDE) ** 2 for h, _ in scales.shapes)
    number(tokens_sampled, sum(sampled), 0, {
        sum(sampled) + 1: "The 1 x 1 token is kept.",
        sampled[-1]: "That is the finest scale alone.",
        touched: "Those are all tokens that the hole touches. Roughly, the rule asks for half.",
        inside: "Those are the tokens that lie in the hole completely. About half is enough.",
    })  # fmt: skip
    return f"By scale: {', '.join(map(str, sampled))}. At 2 x 2 more than a third of what is sampled was to be kept."


def recorded(hook: Callable[[Step], Any]) -> list[torch.Tensor]:
    """What an edit with this hook adds to the sum, by scale."""
    model, tokenizer = shipped()
    vectors: list[torch.Tensor] = []

    def on_scale(step: Step) -> None:
        hook(step)
        vectors.append(step.h_BlZ.clone())

    keep_hw = box_mask((0.15, 0.15, 0.85, 0.85), model.scales, inside=False)
    edit(model, tokenizer, pictures(), keep_hw, seeds=0, on_scale=on_scale)
    return vectors


def exercise_2(free_the_first: Any) -> str:
    """A hook that puts back the 1 x 1 token that was drawn."""
    if not callable(free_the_first):
        raise Off(f"This should be a function, and is {kind(free_the_first)}.")
    if bare(free_the_first):
        raise NotTried

    def drawn(step: Step) -> None:
        if step.k == 0:
            step.h_BlZ = shipped()[1].embed(step.idx_Bl)

    def theirs(step: Step) -> None:
        try:
            free_the_first(step)
        except Exception as error:
            raise Off(f"Your function raised {type(error).__name__}: {error}") from error

    vectors, right, kept = recorded(theirs), recorded(drawn), recorded(lambda _: None)
    if torch.equal(vectors[0], kept[0]):
        raise Off("The 1 x 1 token is still the picture's own.")
    if vectors[0].shape != right[0].shape:
        raise Off(f"step.h_BlZ should have the shape {tuple(right[0].shape)}, and has {tuple(vectors[0].shape)}.")
    if not torch.allclose(vectors[0], right[0], atol=1e-5):
        raise Off("At 1 x 1 there is something else than the code that was drawn.")
    if not all(torch.allclose(a, b, atol=1e-4) for a, b in zip(vectors, right, strict=True)):
        raise Off("1 x 1 is as it should be, but a finer scale changed, too. It should only act on the first.")
    return "On the 60 pictures of the lesson, this takes most of the leak away, and not all."


def exercise_3(variations: Any) -> str:
    """Variations that share the first maps."""
    model, tokenizer = shipped()
    img = pictures()
    with torch.inference_mode():
        idx = tokenizer.encode(img)
    labels = torch.full((len(img),), model.config.classes)
    call = function(variations)
    for n in (0, 2, 4, model.scales.K):

        def keep(step: Step, n: int = n) -> None:
            if step.k < n:
                step.h_BlZ = tokenizer.embed(idx[step.k])

        right = generate(model, tokenizer, labels, on_scale=keep, seeds=5)
        with torch.inference_mode():
            found = call(model, tokenizer, img, n, 5)
        if not isinstance(found, torch.Tensor) or found.shape != right.shape:
            raise Off(f"This should return images of shape {tuple(right.shape)}, and returns {kind(found)}.")
        if not torch.allclose(found.float(), right, atol=0.01):
            what = "with nothing kept, samples without a class" if n == 0 else f"with {n} maps kept"
            raise Off(f"The pictures {what} differ from the package's by {(found - right).abs().max():.2f} at most.")
    return "With two or three maps kept it mostly is the same kind of thing."


def exercise_4(pasted: Any) -> str:
    """A paste that never touches the hole."""
    width = 3
    keep_HW = torch.ones(SIDE, SIDE, dtype=torch.bool)
    keep_HW[8:18, 10:20] = False
    original, edited = torch.zeros(2, 1, SIDE, SIDE), torch.ones(2, 1, SIDE, SIDE)
    found = function(pasted)(edited.clone(), original.clone(), keep_HW.clone(), width)
    if not isinstance(found, torch.Tensor) or found.shape != edited.shape:
        raise Off(f"This should return a tensor of shape {tuple(edited.shape)}, and returns {kind(found)}.")
    hole = (~keep_HW).float()[None, None]
    grown = [F.max_pool2d(hole, 2 * j + 1, stride=1, padding=j)[0, 0].bool() for j in range(width + 1)]
    if not (found[..., ~keep_HW] == 1).all():
        raise Off("In the hole there is something of the original. It belongs to the edit alone.")
    if (far := found[..., ~grown[-1]]).any():
        raise Off(f"More than {width} pixels away, up to {far.max():.2f} of the edit is left. There should be none.")
    rings = [found[..., grown[j] & ~grown[j - 1]] for j in range(1, width + 1)]
    means = [ring.mean().item() for ring in rings]
    if means != sorted(means, reverse=True) or not means[0] > means[-1]:
        raise Off(
            "From the border outwards the share of the edit should fall. It is " + ", ".join(f"{m:.2f}" for m in means)
        )
    if not 0 < means[0] < 1:
        raise Off("Right beside the hole there is no blend: the pixels there are wholly of one of the two.")
    if not 0 <= min(r.min().item() for r in rings) <= max(r.max().item() for r in rings) <= 1:
        raise Off("Some pixels are no blend of the two: a weight is below zero or above one.")
    return "The share of the edit, by the distance from the hole: " + ", ".join(f"{m:.2f}" for m in means)
