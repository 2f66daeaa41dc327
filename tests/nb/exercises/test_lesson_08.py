"""Exercises of notebook 08: wrong attempts are told from right ones. The solutions are run by nbval."""

import numpy as np
import pytest
import torch

from varlite.nb.exercises import lesson_08 as lesson
from varlite.nb.exercises import verdict


@pytest.mark.parametrize(("distance", "said"), [
    (10, "right."), (9, "part of the means"), (18, "compares variances"), (14, "product"), (3.1623, "root"),
    (12, "large"),
])  # fmt: skip
def test_a_distance_in_one_dimension(distance, said):
    assert said in verdict("08.1", distance)


def test_an_impostor_has_the_same_moments_and_is_elsewhere():
    assert verdict("08.2", lambda x_NX: 2 * x_NX.mean(0) - x_NX).startswith("right.")
    assert "Its distance is" in verdict("08.2", lambda x_NX: -x_NX)
    assert "somewhere else" in verdict("08.2", lambda x_NX: x_NX.flip(0))
    assert "shape (1000, 6)" in verdict("08.2", lambda x_NX: x_NX[:5])


def line(x):
    return lambda given: np.polyfit([x(n) for n in given], list(given.values()), 1)


def test_the_line_is_in_one_over_n():
    assert verdict("08.3", lambda given: line(lambda n: 1 / n)(given)[1]).startswith("right.")
    assert "line in n" in verdict("08.3", lambda given: line(lambda n: n)(given)[1])
    assert "slope" in verdict("08.3", lambda given: line(lambda n: 1 / n)(given)[0])
    assert "largest set" in verdict("08.3", lambda given: given[max(given)])


def nearest(rows, others):
    return torch.cdist(rows, others).amin(1)


def test_copies_are_nearer_to_the_training_set():
    assert verdict("08.4", lambda x, a, b: (nearest(x, a) < nearest(x, b)).float().mean()).startswith("right.")
    assert "held-out" in verdict("08.4", lambda x, a, b: (nearest(x, a) > nearest(x, b)).float().mean())
    assert "On honest samples" in verdict("08.4", lambda x, a, b: 1.0)


def left_out(x_NX, reference_MX):
    parts = x_NX.chunk(10)
    rest = [torch.cat([*parts[:i], *parts[i + 1 :]]) for i in range(10)]
    return np.array([lesson.apart(rows, reference_MX) for rows in rest])


def test_a_jackknife_is_not_the_deviation_of_its_values():
    def error(x_NX, reference_MX):
        return np.sqrt(9) * left_out(x_NX, reference_MX).std()

    assert verdict("08.5", error).startswith("right.")
    assert "share most of their rows" in verdict("08.5", lambda x, y: left_out(x, y).std())
    assert "variance" in verdict("08.5", lambda x, y: error(x, y) ** 2)
    assert "taking it alone" in verdict(
        "08.5", lambda x, y: 3 * np.array([lesson.apart(part, y) for part in x.chunk(10)]).std()
    )
