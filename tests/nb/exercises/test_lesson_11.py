"""Exercises of notebook 11: wrong attempts are told from right ones. The solutions are run by nbval."""

import math

import pytest
import torch
import torch.nn.functional as F

from varlite.mamba2 import Mamba2State
from varlite.nb.exercises import lesson_11 as lesson
from varlite.nb.exercises import verdict


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (2.087, "right."),
        (4675, "number of tokens"),
        (1.087, "the scale's own"),
        (0.479, "other way"),
        (2.515, "at 256 x 256"),
        (4, "too large"),
    ],
)
def test_scanned_tokens_are_counted(times, said):
    assert said in verdict("11.1", times)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(68.5, "right."), (69, "right."), (68, "right."), (137, "keys and values"), (67, "Nearly"), (17536, "numbers")],
)
def test_the_size_at_which_a_state_pays(tokens, said):
    assert said in verdict("11.2", tokens)


def one_token(layer, u_BC, conv_BX3, h_BNES):
    state = Mamba2State(conv_BX3, h_BNES)
    return layer(u_BC[:, None], state)[:, 0], state.conv, state.ssm


def test_a_token_at_a_time_goes_on_from_both_memories():
    assert verdict("11.3", one_token).startswith("right.")
    forgetful = lambda layer, u, conv, h: one_token(layer, u, conv, torch.zeros_like(h))  # noqa: E731
    assert "The first 1 tokens are right. At token 2, the matrix h" in verdict("11.3", forgetful)
    unmoved = lambda layer, u, conv, h: (*one_token(layer, u, conv, h)[:1], conv, h)  # noqa: E731
    assert "At token 1, the memory of the convolution" in verdict("11.3", unmoved)
    assert "three tensors" in verdict("11.3", lambda layer, u, conv, h: u)


def half_life(layer, u_BLC, mean_first=True, share=2.0):
    dt_BLN = F.softplus(layer.in_proj(u_BLC)[..., -layer.heads :] + layer.dt_bias)
    rate_BLN = dt_BLN * layer.A_log.exp()
    if mean_first:
        return math.log(share) / rate_BLN.mean((0, 1))
    return (math.log(share) / rate_BLN).mean((0, 1))


def test_half_lives_are_of_the_mean_rate():
    assert verdict("11.4", half_life).startswith("right.")
    assert "mean of half-lives" in verdict("11.4", lambda *given: half_life(*given, mean_first=False))
    assert "one e-th" in verdict("11.4", lambda *given: half_life(*given, share=math.e))
    assert "shape" in verdict("11.4", lambda layer, u: half_life(layer, u)[:2])


def test_the_rise_of_the_loss_is_compared_under_equal_inputs():
    usual, blind = lesson.rises()
    assert usual > 2 * blind  # what the exercise is about
    assert verdict("11.5", (usual, blind)).startswith("right.")
    assert "first number" in verdict("11.5", (blind, usual))
    said = verdict("11.5", (usual, 3.0))
    assert "second number" in said and f"{blind:.2f}" not in said
    assert "two numbers" in verdict("11.5", 0.1)
