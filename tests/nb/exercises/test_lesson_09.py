"""Exercises of notebook 09: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest

from varlite.nb.exercises import verdict


def test_both_numbers_of_the_claim_fit_no_source():
    assert verdict("09.1", ["is", "fid"]).startswith("right.")
    assert "Another number" in verdict("09.1", ["is"]) and "fid" not in verdict("09.1", ["is"])
    assert "Something" in verdict("09.1", []) and "Nobody claimed" in verdict("09.1", ["recall"])
    assert "list of columns" in verdict("09.1", "fid")


@pytest.mark.parametrize(("tokens", "said"), [
    (2.656, "right."), (680, "number of VAR's tokens"), (0.376, "other way"), (0.0391, "steps"), (0.2656, "sides"),
])  # fmt: skip
def test_tokens_are_counted(tokens, said):
    assert said in verdict("09.2", tokens)


def beyond_seeds(before, after):
    return None if min(len(before), len(after)) < 2 else max(after) < min(before)


def test_a_step_has_to_leave_the_range_before_it():
    assert verdict("09.3", beyond_seeds).startswith("right.")
    means = "returns True. The ranges overlap."
    assert means in verdict("09.3", lambda before, after: sum(after) / len(after) < sum(before) / len(before))
    assert "single training" in verdict("09.3", lambda before, after: max(after) < min(before))
    assert "far apart" in verdict("09.3", lambda before, after: None)


def untouched(before, after):
    """A docstring."""
    ...


def test_a_function_of_dots_is_not_tried():
    assert "not tried yet" in verdict("09.3", untouched)
    assert "not tried yet" in verdict("09.4", (..., ...))


def test_whoever_wins_always_impresses():
    assert verdict("09.4", (0.125, 6)).startswith("right.")
    assert "one of the two settings" in verdict("09.4", (0.0625, 5))
    assert "one setting alone" in verdict("09.4", (0.125, 5)) and "6" not in verdict("09.4", (0.125, 5))
