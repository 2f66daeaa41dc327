"""The exercises of notebook 11, M-VAR."""

import math
from copy import deepcopy
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.mamba2 import Mamba2, Mamba2State, S
from varlite.models import Model
from varlite.nb.exercises import Off, function, kind, number, tensor
from varlite.scales import Scales
from varlite.speed.mvar_state import SCHEDULES
from varlite.tokenizer import VQVAE

PICTURES = 32  # as in the notebook
TOKENS = 7


@cache
def shipped() -> tuple[Model, VQVAE]:
    return load("fashion-mvar-d4")


@cache
def encoded() -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    """What each scale is given from the second on, what it is to predict, and the labels, of some test images."""
    test, (_, tokenizer) = FashionMNIST("test"), shipped()
    with torch.no_grad():
        idx = tokenizer.encode(to_float(test.images(torch.arange(PICTURES))))
        inputs = list(tokenizer.inputs(idx).split(tokenizer.scales.lengths[1:], 1))
    return inputs, idx, test.labels[:PICTURES]


@cache
def mamba_input() -> tuple[Mamba2, torch.Tensor]:
    """The Mamba layer of the second block, and its input (B, L, C) for those images."""
    model, given = shipped()[0], []
    inputs, _, label_B = encoded()
    layer = model.blocks[1].mamba
    handle = layer.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.no_grad():
        model(torch.cat(inputs, 1), label_B)
    handle.remove()
    return layer, given[0]


def exercise_1(times: Any) -> str:
    """How many more tokens are scanned without a carried state."""
    scales, smaller = (Scales.of(SCHEDULES[side]) for side in (512, 256))
    scanned, at_256 = (sum(end for _, end in of.spans) for of in (scales, smaller))
    number(
        times, scanned / scales.total, 0.01,
        slips={
            scanned: "That is the number of tokens scanned. How many times the carried way's is it?",
            scanned / scales.total - 1: "That counts the tokens before each scale, and not the scale's own.",
            scales.total / scanned: "The other way round.",
            at_256 / smaller.total: "That is at 256 x 256.",
        },
    )  # fmt: skip
    return (
        "A smaller multiple than at 256 x 256, where the sides grow more slowly: with each side r times the last, it "
        "tends to 1 / (1 - r^-2)."
    )


def exercise_2(tokens: Any) -> str:
    """From how many tokens on a state is smaller than a cache."""
    C = shipped()[0].config.width
    state = 134 * C + 384
    number(
        tokens, state / (2 * C), 0.55,
        slips={
            state / C: "A cache has keys and values.",
            134 / 2: "Nearly. The convolution remembers a little more than that.",
            state: "That is how many numbers the state has.",
        },
    )  # fmt: skip
    return f"Our pictures have {shipped()[0].scales.total} tokens, hardly more. At 256 x 256 there are 680."


def exercise_3(one_token: Any) -> str:
    """A Mamba layer, one token at a time."""
    layer, u_BLC = mamba_input()
    call, state = function(one_token), Mamba2State()
    conv_BX3 = torch.zeros(4, layer.sizes[1], 3)
    h_BNES = torch.zeros(4, layer.heads, layer.sizes[0] // layer.heads, S)
    with torch.no_grad():
        for t in range(TOKENS):
            right_BC = layer(u_BLC[:4, t : t + 1], state)[:, 0]
            found = call(layer, u_BLC[:4, t], conv_BX3, h_BNES)
            if not isinstance(found, tuple | list) or len(found) != 3:
                raise Off(f"This should return three tensors, and returns {kind(found)}.")
            so_far = f"The first {t} tokens are right. " if t else ""
            named = {"the memory of the convolution": state.conv, "the matrix h": state.ssm, "the output": right_BC}
            for what, right in named.items():
                mine = {"the output": found[0], "the matrix h": found[2]}.get(what, found[1])
                tensor(mine, right, 1e-4, f"{so_far}At token {t + 1}, {what}")
            _, conv_BX3, h_BNES = found
    return f"All {TOKENS} tokens agree with the package's, which got them one by one, too."


def exercise_4(half_life: Any) -> str:
    """After how many tokens a head has forgotten half."""
    layer, u_BLC = mamba_input()
    with torch.no_grad():
        found = function(half_life)(layer, u_BLC)
        raw_BLN = layer.in_proj(u_BLC)[..., -layer.heads :] + layer.dt_bias
        rate_BLN = F.softplus(raw_BLN) * layer.A_log.exp()
    right_N = math.log(2) / rate_BLN.mean((0, 1))
    if isinstance(found, torch.Tensor) and found.shape == right_N.shape:
        ratio_N = found / right_N
        if (ratio_N - 1 / math.log(2)).abs().max() < 0.01:
            raise Off("After so many tokens one e-th is left, which is less than half.")
        if (ratio_N * right_N - math.log(2) * (1 / rate_BLN).mean((0, 1))).abs().max() < 0.01 * right_N.max():
            raise Off("That is the mean of half-lives. Take the mean of the rates first.")
        tensor(ratio_N, torch.ones_like(ratio_N), 0.01)
    tensor(found, right_N, 0.01 * right_N.max().item())
    return f"From {right_N.min():.0f} to {right_N.max():.0f} tokens in one layer; the finest map has 49."


@torch.no_grad()
def losses(shown: list[torch.Tensor], emptied: bool, states_of: list[torch.Tensor] | None = None) -> torch.Tensor:
    """Cross-entropy of each scale, (K,), that is given `shown`, with the states that the usual inputs have left or, if
    `states_of`, these; or with empty ones."""
    model, (inputs, targets, label_B) = shipped()[0], encoded()
    carried, found = model.make_cache(), []
    for k, (x_BlZ, shown_BlZ) in enumerate(zip([None, *(states_of or inputs)], [None, *shown], strict=True)):
        states = model.make_cache() if emptied else deepcopy(carried)
        log_p_BlV = model.step(shown_BlZ, label_B, k, states).log_softmax(-1)
        found.append(-log_p_BlV.gather(-1, targets[k][..., None]).mean())
        model.step(x_BlZ, label_B, k, carried)
    return torch.stack(found)


@cache
def blind() -> list[torch.Tensor]:
    """Inputs without content: their mean over the pictures."""
    return [x_BlZ.mean(0, keepdim=True).expand_as(x_BlZ) for x_BlZ in encoded()[0]]


@cache
def rises() -> tuple[float, float]:
    """The mean rise of the loss without states: with the inputs, and with their mean over pictures."""
    usual, of_blind = ((losses(x, True) - losses(x, False)).mean().item() for x in (encoded()[0], blind()))
    return usual, of_blind


def exercise_5(matters: Any) -> str:
    """Whether the state matters more where the input says nothing."""
    if not isinstance(matters, tuple | list) or len(matters) != 2:
        raise Off(f"This should be two numbers, and is {kind(matters)}.")
    with_nothing = losses(blind(), True)
    wrong = {
        (with_nothing - losses(encoded()[0], False)).mean().item(): "Both losses of this difference need inputs "
        "without content.",
        (with_nothing - losses(blind(), False, blind())).mean().item(): "Here the states have never seen the pictures. "
        "They have to come from the usual inputs.",
    }
    for name, mine, right in zip(("first", "second"), matters, rises(), strict=True):
        try:
            number(mine, right, 0.006, wrong)
        except Off as off:
            raise Off(f"The {name} number: {off}") from None
    return "So the state is no second copy from which the model could go on: without inputs it helps even less."
