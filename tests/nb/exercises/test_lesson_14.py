"""Exercises of notebook 14: wrong attempts are told from right ones. The solutions are run by nbval."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from varlite.models import KINDS, VAR, VARConfig, register
from varlite.models.markov import Markov
from varlite.nb.exercises import NOT_TRIED, verdict
from varlite.transformer import Block


def test_steps_at_equal_time_are_fewer():
    assert verdict("14.1", 320).startswith("right.")
    assert "other way round" in verdict("14.1", 500)
    assert "quarter fewer" in verdict("14.1", 300)


def apart(conv, x_BlC, lengths, turned=False):
    found = []
    for part in x_BlC.split(lengths, 1):
        side = round(part.shape[1] ** 0.5)
        square = part.mT.unflatten(2, (side, side))
        found.append((conv(square.mT).mT if turned else conv(square)).flatten(2).mT)
    return torch.cat(found, 1)


@pytest.mark.parametrize(
    ("mix", "said"),
    [
        (apart, "right."),
        (lambda conv, x, lengths: conv(x.mT[:, :, None])[:, :, 0].mT, "leaks"),
        (lambda conv, x, lengths: apart(conv, x, lengths, turned=True), "exchanged"),
        (lambda conv, x, lengths: x, "look at 1 x 1, 2 x 2, 3 x 3"),
        (lambda conv, x, lengths: conv(x.mT), "raised"),
        (lambda conv, x, lengths: apart(conv, x, (1, 4, 9)), "raised"),  # of one map alone
    ],
)
def test_a_convolution_must_keep_the_maps_apart_and_mix_within_them(mix, said):
    assert said in verdict("14.2", mix)


def duel(mine, plain, noise=math.hypot):
    for (a, h), (b, g) in zip(mine, plain, strict=True):
        if abs(a - b) > noise(h, g):
            return 1 if a < b else -1
    return 0


def test_the_worst_judge_that_can_tell_decides():
    assert verdict("14.3", duel).startswith("right.")
    mean = lambda mine, plain: 1 if sum(a for a, _ in mine) < sum(b for b, _ in plain) else -1  # noqa: E731
    assert "not the mean" in verdict("14.3", mean)
    assert "the next can" in verdict("14.3", lambda mine, plain: 1 if mine[0] < plain[0] else -1)
    assert "hypotenuse" in verdict("14.3", lambda mine, plain: duel(mine, plain, lambda h, g: h + g))
    assert "1, -1 or 0" in verdict("14.3", lambda mine, plain: mine[0][0] < plain[0][0])


# A variant


@pytest.fixture(autouse=True)
def no_new_kinds_stay():
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)


def registered(model):
    register("mine", model, dataclass(frozen=True)(type("MineConfig", (VARConfig,), {})))
    return model


def test_a_variant_that_keeps_the_contract_is_right():
    class Further(Markov):
        """A map sees the map before it, and the first."""

        def make_mask(self, scales, device):
            level_L = scales.levels(device)
            return super().make_mask(scales, device) | (level_L[None] == level_L[:, None] - 1)

    assert verdict("14.4", registered(Further)).startswith("right. Nothing leaks")


def test_a_variant_must_differ_from_var_and_be_registered():
    assert verdict("14.4", ...) == NOT_TRIED
    assert "should be the class" in verdict("14.4", "mine")
    same = type("Same", (VAR,), {})
    assert "is not registered" in verdict("14.4", same)
    assert "what VAR computes" in verdict("14.4", registered(same))


def test_a_mask_that_lets_everything_through_leaks():
    class Careless(VAR):
        def make_mask(self, scales, device):
            return torch.ones(scales.total, scales.total, dtype=torch.bool)

    assert "It leaks: change the input of the 7 x 7 map" in verdict("14.4", registered(Careless))


def test_a_mask_within_a_map_is_not_what_the_cache_does():
    class Lonely(VAR):
        def make_mask(self, scales, device):
            level_L = scales.levels()
            return (level_L[:, None] > level_L) | torch.eye(len(level_L), dtype=torch.bool)

    said = verdict("14.4", registered(Lonely))
    assert "Nothing leaks. Up to 1 x 1 all is well." in said and "with a cache" in said


def test_a_layer_that_nothing_uses_and_code_that_fails_are_named():
    class Idle(Block):
        def __init__(self, C, *rest):
            super().__init__(C, *rest)
            self.unused = nn.Linear(C, C)

    assert "no gradient reaches blocks.0.unused" in verdict("14.4", registered(type("Unused", (VAR,), {"block": Idle})))

    class Failing(Block):
        def __init__(self, *given):
            raise RuntimeError("no such layer")

    KINDS.pop("mine")
    said = verdict("14.4", registered(type("Fails", (VAR,), {"block": Failing})))
    assert "Building it raised RuntimeError: no such layer" in said
