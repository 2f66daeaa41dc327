"""The exercises of appendix A2, the published checkpoints."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from varlite.checkpoints.empty import parameters
from varlite.checkpoints.key_map import to_published
from varlite.checkpoints.load import load
from varlite.models import VAR
from varlite.nb.exercises import Off, function, kind, number
from varlite.presets import MODELS, SCALES_512

BILLION = 1e9


def exercise_1(billions: Any) -> str:
    """The size of VAR-d36 with an AdaLN of its own in each block."""
    config = MODELS["var-d36"].config
    with torch.device("meta"):
        unshared, shared = VAR(replace(config, shared_adaln=False)), VAR(config)
    slips = {
        parameters(shared) / BILLION: "That is the published model, whose blocks share one AdaLN.",
        float(parameters(unshared)): "In billions?",
        parameters(unshared) / 1e6: "That is in millions.",
    }
    number(billions, parameters(unshared) / BILLION, 0.05, slips)
    return f"Sharing saves {(parameters(unshared) - parameters(shared)) / BILLION:.1f} billion of them."


def exercise_2(relative_error: Any) -> str:
    """The largest relative error of rounding to bfloat16."""
    slips = {
        2**-7: "That is the distance of two neighbours. How far is it to the nearer one?",
        2**-9: "Count again: eight significant bits, with the first one.",
        2**-24: "That is float32.",
        2**-11: "That is float16.",
    }
    right = 2**-8
    number(relative_error, right, right * 0.02, slips)
    return (
        "A third decimal is already uncertain, and yet the range is that of float32. That is why it serves for weights."
    )


def exercise_3(stored_bytes: Any) -> str:
    """The bytes of the tensors of a .pth file."""
    call, (model, _) = function(stored_bytes), load("fashion-var-d4")
    tensors = to_published(model)
    right = sum(tensor.nbytes for tensor in tensors.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "var_d16.pth"
        torch.save(tensors, path)
        whole, found = path.stat().st_size, call(path)
    slips = {
        float(whole): "That is the whole file, with the pickle and the archive's list.",
        4.0 * parameters(model): "That is the weights alone. The file has other tensors, too.",
        right / 4: "That is the number of numbers.",
    }
    number(found, right, 0, slips)
    return f"{1 - 4 * parameters(model) / right:.1%} of the bytes are no weights, the mask first of all."


def exercise_4(wide: Any) -> str:
    """The schedule of a wide canvas."""
    call = function(wide)
    for sides in ([1, 2, 3, 5, 7], [1, 2, 3, 4, 5, 6, 8, 10, 13, 16], SCALES_512):
        found = call(list(sides))
        if not isinstance(found, list | tuple) or len(found) != len(sides):
            raise Off(f"For {len(sides)} maps this should be a list of as many pairs, and is {kind(found)}.")
        if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in found):
            raise Off("Each map needs a height and a width.")
        if tuple(found[0]) != (1, 1):
            raise Off("The first map is not as it was. How many start tokens are there?")
        for side, (h, w) in zip(sides[1:], found[1:], strict=True):
            if (h, w) == (side * 3 // 2, side):
                raise Off("These maps are high, and should be wide.")
            if h != side:
                raise Off(f"The map of side {side} should keep its height.")
            if w != side * 3 // 2:
                raise Off(f"The map of side {side} has not the right width.")
    return "Every map was square in training. Look for garments that are stretched, cut off or drawn twice."
