"""Exercises of appendix A1: wrong attempts are told from right ones. The solutions are run by nbval."""

from statistics import mean, median

import pytest

from varlite.nb.exercises import lesson_A1 as lesson
from varlite.nb.exercises import verdict


@pytest.mark.parametrize(("share", "said"), [
    (0.0996, "right."), (0.1107, "both together"), (0.04, "its own scale"), (9.96, "per cent"), (0.5, "too large"),
])  # fmt: skip
def test_attention_has_a_small_share(share, said):
    assert said in verdict("A1.1", share)


@pytest.mark.parametrize(("times", "said"), [
    (1.667, "right."), (3, "Only the transformer"), (0.6, "time of the run"), (2.2, "not averaged"),
    (1.364, "faster decoder"),
])  # fmt: skip
def test_a_part_that_gets_faster(times, said):
    assert said in verdict("A1.2", times)


def test_raster_order_is_counted_with_cache_guidance_and_adaln_once():
    assert verdict("A1.3", lesson.raster).startswith("right.")
    assert "computed once" in verdict("A1.3", lambda config, tokens: lesson.raster(config, tokens, ada_ln=True))
    assert "no other" in verdict("A1.3", lambda config, tokens: lesson.raster(config, tokens, cached=False))
    assert "twice" in verdict("A1.3", lambda config, tokens: lesson.raster(config, tokens) / 2)
    assert "too large" in verdict("A1.3", lambda config, tokens: 1e15)


def stopwatch(warm_up=1, middle=median, of_batch=True):
    def milliseconds(run, batch, clock, rounds):
        times = []
        for _ in range(warm_up + rounds):
            start = clock()
            run()
            times.append(clock() - start)
        return 1000 * middle(times[warm_up:]) / (batch if of_batch else 1)

    return milliseconds


@pytest.mark.parametrize(("attempt", "said"), [
    (stopwatch(), "right."), (stopwatch(middle=min), "right."), (stopwatch(warm_up=0), "first call"),
    (stopwatch(middle=mean), "interrupted"), (stopwatch(of_batch=False), "whole batch"),
    (stopwatch(warm_up=0, middle=mean, of_batch=False), "first call"),
])  # fmt: skip
def test_a_stopwatch_is_not_fooled(attempt, said):
    assert said in verdict("A1.4", attempt)
