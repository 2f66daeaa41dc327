"""Exercises of notebook 12: wrong attempts are told from right ones. The solutions are run by nbval."""

import math

import pytest
import torch

from varlite.drawing import draw
from varlite.nb.exercises import lesson_12 as lesson
from varlite.nb.exercises import verdict


@pytest.mark.parametrize(
    "attempt, said",
    [(30, "right."), (15, "without guidance"), (16, "both doublings"), (32, "look ahead"), (8, "Euler")],
)
def test_evaluations_are_counted(attempt, said):
    assert said in verdict("12.1", attempt)


def test_what_becomes_final_adds_up_to_all_tokens():
    assert verdict("12.2", lesson.kept).startswith("right.")
    assert "add up to" in verdict("12.2", lambda tokens, passes: [1] * passes)
    even = lambda tokens, passes: [tokens // passes] * (passes - 1) + [tokens - tokens // passes * (passes - 1)]  # noqa: E731
    assert "the first 0 numbers are right" in verdict("12.2", even)
    assert "list of 8" in verdict("12.2", lambda tokens, passes: [tokens])


def test_the_clean_end_of_the_line_is_told_from_the_noisy_one():
    assert verdict("12.3", lambda x_t, v, t: x_t - t * v).startswith("right.")
    assert "other end" in verdict("12.3", lambda x_t, v, t: x_t + (1 - t) * v)
    assert "values are off" in verdict("12.3", lambda x_t, v, t: x_t - v)


def inpaint(model, tokenizer, label_B, seed_B, given_l, known_l, seen=True, held=True):
    idx_Bl = torch.where(known_l, given_l, 0).expand(len(label_B), -1)
    hidden_Bl = (~known_l).expand_as(idx_Bl) if seen else torch.ones_like(idx_Bl).bool()
    for t in range(8):
        logits_BlV = model(tokenizer.embed(idx_Bl), hidden_Bl, label_B)
        idx_Bl = torch.where(hidden_Bl, draw(logits_BlV, seed_B, t), idx_Bl)
        sure_Bl = logits_BlV.log_softmax(-1).gather(-1, idx_Bl[..., None])[..., 0]
        sure_Bl = sure_Bl.masked_fill(~hidden_Bl, torch.inf) if held else sure_Bl
        left = math.floor((~known_l).sum() * math.cos(math.pi / 2 * (t + 1) / 8))
        hidden_Bl = sure_Bl.argsort(-1).argsort(-1) < left
    return idx_Bl


def test_in_painting_keeps_what_is_known_and_goes_with_it():
    assert verdict("12.4", inpaint).startswith("right.")
    assert "drawn over" in verdict("12.4", lambda *given: inpaint(*given, seen=False))
    assert "drawn over" in verdict("12.4", lambda *given: inpaint(*given, held=False))
    blind = lambda *given: torch.where(given[5], given[4], torch.randint(512, (8, 49)))  # noqa: E731
    assert "nats of surprise" in verdict("12.4", blind)
    assert "the same" in verdict("12.4", lambda *given: given[4].expand(8, -1))
