"""The data behind the figures of the capstone."""

import matplotlib.pyplot as plt
import torch

from varlite import Scales
from varlite.evaluation.judges.verdict import Report, Score
from varlite.nb import variant_figures as figures


def test_what_changes_before_the_map_that_was_changed_is_a_leak():
    scales = Scales.of([1, 2, 3])
    clean, open_ = torch.ones(3, 3).triu(), torch.ones(3, 3)
    assert figures.reach({"clean": clean, "open": open_}, scales) == {"clean": 0, "open": 3}
    left, right = plt.gcf().axes
    assert [text.get_text() for text in right.texts] == ["leak"] * 3 and not left.texts


def test_losses_are_averaged_over_some_steps():
    means = figures.losses({"a": [4.0, 2.0, 1.0, 1.0, 9.0], "b": [3.0, 3.0]}, every=2)
    assert means["a"].tolist() == [3, 1] and means["b"].tolist() == [3]


def report(values):
    scores = {name: Score(x, x - 1, x + 1, 1.0, 0.5) for name, x in values.items()}
    return Report(100, scores, chosen_with=("fd_first",))


def test_judges_stand_in_the_order_of_what_the_first_set_suffers_by():
    shown = figures.by_judge(
        {"a": report({"fd_first": 3.0, "spread": 6.0}), "b": report({"fd_first": 2.0, "spread": 9.0})}
    )
    assert list(shown) == ["spread", "fd_first"] and shown["spread"] == {"a": 10, "b": 16}
    axis = plt.gca()
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["spread", "fd_first"]
    assert [tick.get_color() for tick in axis.get_yticklabels()] == ["black", "0.6"]
