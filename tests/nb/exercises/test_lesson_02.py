"""Exercises of notebook 02: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch

from varlite.nb.exercises import lesson_02 as lesson
from varlite.nb.exercises import verdict

SAID = {
    1020: "right.",
    8160: "in bits",
    680: "number of tokens",
    384: "finest map",
    765: "512 codes",
    1100: "too large",
}


@pytest.mark.parametrize("size", SAID)
def test_bytes_are_those_of_all_tokens(size):
    assert SAID[size] in verdict("02.1", size)


def test_guesses_from_one_token_are_told_from_one_guess_for_all():
    code_N, label_N = (x[: lesson.GUESSED] for x in lesson.first_tokens())
    table_VC = lesson.votes(code_N, label_N)
    right = (table_VC.argmax(1)[code_N] == label_N).float().mean().item()
    assert verdict("02.2", right).startswith("right.")
    assert "commonest class" in verdict("02.2", label_N.bincount().max().item() / lesson.GUESSED)
    assert "which share" in verdict("02.2", lesson.GUESSED * right)


def decoder(forgetful=False, later=False):
    def mended(idx):
        tokenizer, f_hat, f_hats = lesson.tokenizer(), lesson.tokenizer().empty(len(idx[0])), []
        for k, idx_Bl in enumerate(idx):
            start = torch.zeros_like(f_hat) if forgetful else f_hat
            f_hat = tokenizer.accumulate(start, tokenizer.embed(idx_Bl), k) + (0.3 if later and k == 3 else 0)
            f_hats.append(f_hat)
        return f_hats

    return mended


def test_a_decoder_is_judged_by_how_far_its_sums_agree():
    assert verdict("02.3", decoder()).startswith("right.")
    assert verdict("02.3", decoder(forgetful=True)).startswith("not yet. Up to 1 x 1 the sums agree. After 2 x 2 ")
    assert verdict("02.3", decoder(later=True)).startswith("not yet. Up to 3 x 3 the sums agree. After 5 x 5 ")
    assert "list of 5 sums" in verdict("02.3", lambda idx: decoder()(idx)[-1])


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    assert verdict("02.4", lambda f, f_hat: f + (f_hat - f).detach()).startswith("right.")
    assert "that of `f`" in verdict("02.4", lambda f, f_hat: f)
    assert "no gradient at all" in verdict("02.4", lambda f, f_hat: f_hat.detach())
    assert "doesn't reach" in verdict("02.4", lambda f, f_hat: f_hat)
    assert "should be detached" in verdict("02.4", lambda f, f_hat: f - f.detach() + f_hat)


def test_token_maps_must_leave_less_missing_than_the_greedy_ones(monkeypatch):
    greedy = lesson.encoded()[0]
    assert "It leaves 0.0% less missing" in verdict("02.5", lambda f: greedy)
    other = [greedy[0].roll(1, 0), *greedy[1:]]
    assert "more missing" in verdict("02.5", lambda f: other)
    assert "shapes" in verdict("02.5", lambda f: greedy[:4])
    assert "whole numbers" in verdict("02.5", lambda f: [greedy[0] + 512, *greedy[1:]])
    monkeypatch.setattr(lesson, "LEAST_GAIN", -1)
    assert verdict("02.5", lambda f: greedy).startswith("right.")
