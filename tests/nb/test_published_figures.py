"""The data behind the figures of the published files."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from varlite import Scales
from varlite.nb import published_figures as figures


def test_shares_add_up_and_the_bars_are_as_long_as_the_counts():
    counts = pd.DataFrame({"attention": [1e9, 4e9], "AdaLN": [1e9, 0]}, index=["small", "large"])
    shares = figures.weights_by_group(counts)
    assert shares.loc["small"].tolist() == [0.5, 0.5] and shares.loc["large"].tolist() == [1, 0]
    left, right = plt.gcf().axes
    ends = [max(p.get_x() + p.get_width() for p in left.patches if round(p.get_y() + 0.4) == i) for i in (0, 1)]
    assert ends == pytest.approx([2, 4])
    assert [text.get_text() for text in right.texts] == ["50%"]
    assert left.yaxis_inverted() and right.yaxis_inverted()


def test_models_lie_on_the_rule_that_the_lines_show():
    shown = figures.weights_by_depth({"var-d16": (16, 0.31), "var-d36": (36, 2.35)})
    assert shown["var-d36"] == (36, 2.35)
    own, shared = plt.gca().lines[:2]
    assert list(own.get_ydata()) == pytest.approx([73728e-9 * 16**3, 73728e-9 * 36**3])
    assert shared.get_ydata()[1] == pytest.approx(2.35, rel=0.03)


def test_memory_and_scores_are_returned_as_they_are_drawn():
    assert figures.memory({"weights": {"a": 1.0, "b": 2.0}, "cache": {"a": 0.5, "b": 3.0}})["cache"]["b"] == 3
    assert sorted(p.get_height() for p in plt.gca().patches) == [0.5, 1, 2, 3]
    assert figures.best_inception_scores({"sorted": [100.0] * 10, "shuffled": [900.0] * 10})["sorted"] == [100.0] * 10


def test_a_staircase_is_open_where_the_mask_is():
    scales = Scales.of([1, 2, 3])
    mask_LL = scales.block_causal_mask()
    bias_LL = torch.zeros(mask_LL.shape).masked_fill(~mask_LL, -torch.inf)
    assert torch.equal(figures.staircase(bias_LL, scales.levels(), "a mask"), mask_LL)
