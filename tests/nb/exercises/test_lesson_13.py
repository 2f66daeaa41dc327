"""Exercises of notebook 13: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch

from varlite.nb.exercises import verdict


def lost(real, again):
    return (real - again).square().mean() / real.var()


def test_what_is_lost_is_relative_to_the_variance():
    assert verdict("13.1", lost).startswith("right.")
    assert "relative to what" in verdict("13.1", lambda real, again: (real - again).square().mean())
    assert "root" in verdict("13.1", lambda real, again: (real - again).square().mean() / real.std())


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(7.03, "right."), (7.81, "held out"), (421.9, "seconds"), (843.75, "number of steps"), (14.06, "Two steps")],
)
def test_minutes_are_counted_until_each_picture_was_seen_twelve_times(minutes, said):
    assert said in verdict("13.2", minutes)


def test_the_nearest_picture_is_found_for_each_sample():
    flat = lambda x: x.flatten(1)  # noqa: E731
    assert verdict("13.3", lambda a, b: torch.cdist(flat(a), flat(b)).argmin(1)).startswith("right.")
    assert "of 4 samples" in verdict("13.3", lambda a, b: torch.cdist(flat(a), flat(b)).argmax(1))
    assert "4 indices" in verdict("13.3", lambda a, b: torch.cdist(flat(a), flat(b)).argmin(0))


def blame(samples, again, real):
    if samples < 1.1 * real:
        return "neither"
    return "tokenizer" if again - real > (samples - real) / 2 else "transformer"


def test_what_holds_a_model_back_is_told_from_what_lies_beyond_real_pictures():
    assert verdict("13.4", blame).startswith("right.")
    assert "beyond real pictures" in verdict(
        "13.4", lambda s, a, r: "neither" if s < 1.1 * r else "tokenizer" if a > s / 2 else "transformer"
    )
    assert "nearly as good" in verdict("13.4", lambda s, a, r: "tokenizer")
    assert "should be" in verdict("13.4", lambda s, a, r: a)


def share(pictures, training, own=True, mean=False):
    flat = lambda x: x.flatten(1)  # noqa: E731
    distance, which = torch.cdist(flat(pictures), flat(training)).min(1)
    among = torch.cdist(flat(training), flat(training))
    gap = (among.fill_diagonal_(torch.inf) if own else among).min(1).values
    return (distance < (gap.mean() if mean else gap[which])).double().mean().item()


def test_suspicious_pictures_are_nearer_than_the_neighbour_of_what_they_are_near_to():
    assert verdict("13.5", share).startswith("right.")
    assert "its own neighbour" in verdict("13.5", lambda p, t: share(p, t, own=False))
    assert "As a share" in verdict("13.5", lambda p, t: share(p, t) * len(p))
    assert not verdict("13.5", lambda p, t: share(p, t, mean=True)).startswith("right.")
    assert not verdict("13.5", lambda p, t: 1.0).startswith("right.")
