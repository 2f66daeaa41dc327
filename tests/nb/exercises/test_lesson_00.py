"""Exercises of notebook 00: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch

from varlite.nb.exercises import lesson_00 as lesson
from varlite.nb.exercises import verdict

SAID = {
    680: "right.", 256: "finest map alone", 10: "number of steps", 68: "sum of the sides", 424: "is missing",
    681: "too large",
}  # fmt: skip


@pytest.mark.parametrize("tokens", SAID)
def test_tokens_of_all_maps_are_counted(tokens):
    assert SAID[tokens] in verdict("00.1", tokens)


def test_perplexity_is_told_from_entropy_and_from_counting():
    assert verdict("00.2", 3.36).startswith("right.")
    assert "counts the codes" in verdict("00.2", 4)
    assert "natural logarithm" in verdict("00.2", 1.213)
    assert "in bits" in verdict("00.2", 1.75)
    assert "3.3" not in verdict("00.2", 3)


def test_pairs_of_one_seed_are_told_from_pairs_of_different_seeds():
    first = [lesson.first_codes(label) for label in (lesson.PULLOVER, lesson.SHIRT)]
    same = (first[0] == first[1]).float().mean().item()
    assert verdict("00.3", same).startswith("right.")
    assert "not all equal" in verdict("00.3", 1.0)
    chance = (first[0] == lesson.first_codes(lesson.SHIRT, lesson.PAIRS)).float().mean().item()
    assert chance < same / 3 and "give a list" in verdict("00.3", chance)
    assert "Per cent?" in verdict("00.3", 100 * same)


def mind(exchanged=False, late=0, unscaled=False):
    """The function, with mistakes to choose from."""

    def change_of_mind(first, second, switch, generator):
        first, second = (second, first) if exchanged else (first, second)
        image = lesson.changed(first, second, switch + late, generator, 1)
        return 2 * image - 1 if unscaled else image

    return change_of_mind


def test_a_change_of_mind_is_judged_by_the_picture(monkeypatch):
    monkeypatch.setattr(lesson, "CHANGES", 2)
    assert verdict("00.4", mind()).startswith("right.")
    assert "exchanged" in verdict("00.4", mind(exchanged=True))
    assert "too late" in verdict("00.4", mind(late=1))
    assert "too early" in verdict("00.4", mind(late=-1))
    assert "from -1 to 1" in verdict("00.4", mind(unscaled=True))
    assert "another picture" in verdict("00.4", lambda *_: torch.rand(1, 1, 28, 28))
    assert "one picture" in verdict("00.4", lambda *_: torch.rand(2, 1, 28, 28))
