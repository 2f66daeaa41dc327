"""The exercises of notebook 03, VAR from nothing."""

import math
from functools import cache
from typing import Any

import torch

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.drawing import Step
from varlite.models import Model
from varlite.nb.exercises import Off, function, kind, number
from varlite.nb.plots import scale_names
from varlite.sampling import generate
from varlite.tokenizer import VQVAE

PICTURES = 100  # of the test set, for the exercises that need some


@cache
def shipped() -> tuple[Model, VQVAE]:
    return load("fashion-var-d4")


@cache
def encoded() -> tuple[list[torch.Tensor], torch.Tensor]:
    """Token maps and labels of some test images."""
    test, (_, tokenizer) = FashionMNIST("test"), shipped()
    with torch.inference_mode():
        return tokenizer.encode(to_float(test.all_images[:PICTURES])), test.labels[:PICTURES]


def exercise_1(pairs: Any) -> str:
    """How many cells of the block mask are open."""
    scales = shipped()[0].scales
    spans, L = scales.spans, scales.total
    number(
        pairs, sum((end - start) * end for start, end in spans),
        slips={
            sum((end - start) * start for start, end in spans): "A token also sees the other tokens of its own scale.",
            L * L: "That is every cell, closed ones too.",
            L * (L + 1) // 2: "That is the triangle of next-token order. Here a whole scale opens at once.",
            sum(length**2 for length in scales.lengths): "A token also sees all coarser scales.",
        },
    )  # fmt: skip
    return f"That is {pairs / L**2:.0%} of all pairs; next-token order over as many tokens has {(L + 1) / L / 2:.0%}."


def exercise_2(loss: Any) -> str:
    """The loss of a network that knows nothing."""
    V = shipped()[0].config.vocab
    slips = {
        V: "That is the number of codes.",
        1 / V: "That is the probability of the right code, not its cross-entropy.",
    }
    slips[math.log2(V)] = "That is in bits. PyTorch's cross-entropy takes the natural logarithm."
    slips[math.log10(V)] = "PyTorch's cross-entropy takes the natural logarithm."
    number(loss, math.log(V), 0.01, slips)
    return "A first loss far above it means that a network is sure of something before it has seen anything."


def exercise_3(fold: Any) -> str:
    """Weights of an equal model without level embedding."""
    model, tokenizer = shipped()
    given = {name: weight.clone() for name, weight in model.state_dict().items()}
    found = function(fold)({name: weight.clone() for name, weight in given.items()})
    if not isinstance(found, dict):
        raise Off(f"This should be a dictionary of weights, and is {kind(found)}.")
    for name, weight in given.items():
        if name not in found:
            raise Off(f"{name} is missing.")
        if found[name].shape != weight.shape:
            raise Off(f"{name} should have the shape {tuple(weight.shape)}, and has {tuple(found[name].shape)}.")
    if found["level_embed.weight"].any():
        raise Off("level_embed.weight is not zero everywhere.")
    twin = type(model)(model.config).eval()
    twin.load_state_dict({name: found[name] for name in given})
    idx, label_B = encoded()
    with torch.inference_mode():
        x_BLZ = model.inputs(tokenizer, [idx_Bl[:4] for idx_Bl in idx])
        change_BLV = (twin(x_BLZ, label_B[:4]) - model(x_BLZ, label_B[:4])).abs()
    off = [name for name, part in zip(scale_names(model.scales), model.scales.split(change_BLV), strict=True)
           if part.max() > 1e-3]  # fmt: skip
    if off:
        raise Off(f"The level embedding is gone, but the logits changed, at {', '.join(off)}.")
    return "The level embedding adds nothing that positions could not say. It may still help training."


def exercise_4(sample: Any) -> str:
    """The mended sampler."""
    model, tokenizer = shipped()
    label_B = torch.tensor([0, 3, 5, 9])
    steps: list[Step] = []
    settings: dict[str, Any] = {"cfg": 1.5, "top_p": 0, "on_scale": steps.append}
    generate(model, tokenizer, label_B, generator=torch.Generator().manual_seed(3), **settings)
    right = [step.idx_Bl for step in steps]
    with torch.inference_mode():
        found = function(sample)(model, label_B, 1.5, torch.Generator().manual_seed(3))
    if not isinstance(found, list | tuple) or len(found) != len(right):
        raise Off(f"This should return a list of {len(right)} token maps, and returns {kind(found)}.")
    equal: list[str] = []
    for name, mine_Bl, theirs_Bl in zip(scale_names(model.scales), found, right, strict=True):
        if getattr(mine_Bl, "shape", None) != theirs_Bl.shape:
            raise Off(f"The map {name} should be a tensor of shape {tuple(theirs_Bl.shape)}.")
        if not torch.equal(mine_Bl, theirs_Bl):
            before = f"Up to {equal[-1]} all tokens agree with the package's. " if equal else ""
            raise Off(f"{before}At {name}, {(mine_Bl != theirs_Bl).sum()} of {theirs_Bl.numel()} tokens differ.")
        equal.append(name)
    return "All tokens agree with the package's."


def exercise_5(classify: Any) -> str:
    """A VAR as a classifier."""
    model, tokenizer = shipped()
    idx, label_B = encoded()
    with torch.inference_mode():
        found = function(classify)(model, tokenizer, idx)
    if not isinstance(found, torch.Tensor) or found.shape != label_B.shape:
        raise Off(f"This should be a tensor of {len(label_B)} classes, one for each picture, and is {kind(found)}.")
    if found.is_floating_point() or not ((found >= 0) & (found < 10)).all():
        raise Off("Classes are whole numbers from 0 to 9.")
    right = (found == label_B).sum().item()
    if right < LEAST_RIGHT:
        raise Off(f"It recognises {right} of {len(label_B)} test pictures. The model knows more than that.")
    return f"It recognises {right} of {len(label_B)} test pictures, though nobody trained it to."


LEAST_RIGHT = 75  # of PICTURES; the sum over all tokens recognises 85
