"""Exercises of notebook 10: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest

from varlite.experiments import scaling_laws as scaling
from varlite.nb.exercises import lesson_10 as lesson
from varlite.nb.exercises import verdict
from varlite.presets import MODELS


def test_the_cost_grows_more_slowly_than_the_size():
    right = scaling.flops(MODELS["fashion-var-d4"].config) / scaling.flops(MODELS["fashion-var-d2"].config)
    assert right < 8 and verdict("10.1", right).startswith("right.")
    assert "N grows" in verdict("10.1", 8)
    assert "other way" in verdict("10.1", 1 / right)
    assert f"{right:.1f}" not in verdict("10.1", 5)


def test_a_tenfold_size_is_ten_to_the_exponent():
    exponent = scaling.fit(*lesson.at_end("val_loss")).exponent
    assert verdict("10.2", 100 * (1 - 10**exponent)).startswith("right.")
    for wrong, said in (
        (100 * 10**exponent, "left"), (1 - 10**exponent, "share"), (-1000 * exponent, "power"),
        (100 * (1 - 2**exponent), "twice"),
    ):  # fmt: skip
        assert said in verdict("10.2", wrong)


@pytest.mark.parametrize("wrong", [lambda N, L: 0, lambda N, L: len(N) - 1, lambda N, L: 2])
def test_the_longest_lever_is_found_in_every_case(wrong):
    assert verdict("10.3", lesson.moving).startswith("right.")
    assert "moves the exponent most" in verdict("10.3", wrong)


def test_what_moves_the_exponent_is_an_index():
    assert "index" in verdict("10.3", lambda N, L: 0.5)


def test_the_coarse_loss_is_a_weighted_difference():
    def weighted(a, b, n):
        return (sum(n) * a - n[-1] * b) / sum(n[:-1])

    assert verdict("10.4", weighted).startswith("right.")
    assert "equally large" in verdict("10.4", lambda a, b, n: 2 * a - b)
    assert "all tokens" in verdict("10.4", lambda a, b, n: (sum(n) * a - n[-1] * b) / sum(n))


def test_the_best_size_counts_only_what_the_budget_reaches():
    assert verdict("10.5", lesson.reached).startswith("right.")
    assert "too large" in verdict("10.5", lambda budget, curves: max(curves))
    assert "too small" in verdict("10.5", lambda budget, curves: min(curves))
    assert "sizes N" in verdict("10.5", lambda budget, curves: budget)
