"""Exercises of appendix A2: wrong attempts are told from right ones. The solutions are run by nbval."""

import re
from zipfile import ZipFile

import pytest

from varlite.nb.exercises import verdict


@pytest.mark.parametrize(
    ("billions", "said"), [(3.48, "right."), (73728 * 36**3 / 1e9, "right."), (2.35, "share"), (3468.6, "millions")]
)
def test_an_own_adaln_in_each_block_is_paid_for(billions, said):
    assert said in verdict("A2.1", billions)


@pytest.mark.parametrize(
    ("error", "said"),
    [(2**-8, "right."), (2**-7, "nearer"), (2**-9, "Count again"), (2**-24, "float32"), (0.1, "large")],
)
def test_rounding_is_half_the_distance_of_two_neighbours(error, said):
    assert said in verdict("A2.2", error)


def stored(path, pattern=r"/data/\d+$"):
    with ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist() if re.search(pattern, entry.filename))


def test_tensors_are_told_from_the_rest_of_the_archive():
    assert verdict("A2.3", stored).startswith("right.")
    assert "whole file" in verdict("A2.3", lambda path: path.stat().st_size)
    assert "number of numbers" in verdict("A2.3", lambda path: stored(path) // 4)
    assert verdict("A2.3", lambda path: stored(path, "data")).startswith("not yet.")


def test_a_wide_canvas_keeps_its_first_map_and_its_heights():
    right = lambda sides: [(1, 1), *((h, h * 3 // 2) for h in sides[1:])]  # noqa: E731
    assert verdict("A2.4", right).startswith("right.")
    assert "start tokens" in verdict("A2.4", lambda sides: [(h, h * 3 // 2 + 1) for h in sides])
    assert "should be wide" in verdict("A2.4", lambda sides: [(w, h) for h, w in right(sides)])
    assert "right width" in verdict("A2.4", lambda sides: [(1, 1), *((h, 2 * h) for h in sides[1:])])
    assert "list of as many" in verdict("A2.4", lambda sides: right(sides)[1:])
