import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from examples import SIDES, lively_raster, lively_var, one_scale_tokenizer, random_tokens, tiny_tokenizer
from PIL import Image

from varlite.nb import order_figures as figures
from varlite.nb.plots import scale_colours
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def test_changed_tokens_are_counted_at_their_places():
    a = random_tokens(SIDES, batch=4)
    b = [idx_Bl.clone() for idx_Bl in a]
    assert all((share == 0).all() for share in figures.changed_tokens(a, b, SCALES))
    b[3][0, 7] += 1
    b[3][1, 7] += 1
    shares = figures.changed_tokens(a, b, SCALES)
    assert [share.shape for share in shares] == list(SCALES.shapes)
    assert shares[3][1, 2] == 0.5 and shares[3].sum() == 0.5


def test_change_maps_return_what_changed_outside_of_the_frame():
    share_hw = torch.zeros(4, 4)
    share_hw[2:, 2:] = 1
    share_hw[0, 0] = 0.6
    outside = figures.change_maps({"a": ([share_hw], Scales.of([4]))}, box=(0.5, 0.5, 1, 1))
    assert outside == {"a": pytest.approx(0.6 / 12)}
    assert torch.equal(torch.as_tensor(plt.gcf().axes[0].images[0].get_array().data), share_hw)


def test_change_maps_stand_side_by_side_and_mark_the_rows_of_a_raster_that_come_first():
    shares = [torch.zeros(2, 2), torch.zeros(5, 5)]
    rows = {"raster": (shares[1:], Scales.of([5])), "next scale": (shares, Scales.of([2, 5]))}
    figures.change_maps(rows, box=(0.5, 0.5, 1, 1))
    raster, *coarse_to_fine = plt.gcf().axes
    assert [axis.get_title() for axis in coarse_to_fine] == ["next scale\n2 x 2", "next scale\n5 x 5"]
    assert [list(line.get_ydata()) for line in raster.lines] == [[1.5, 1.5]]  # two rows end above the middle of five
    assert not any(len(axis.lines) for axis in coarse_to_fine)


def test_attention_by_distance_is_averaged_over_the_queries_that_can_look_so_far():
    L, width = 12, 2
    weights = torch.zeros(3, 2, L, L)
    weights[..., range(4, L), range(L - 4)] = 1.0  # all that can look four places back do: at the fifth token before
    weights[..., 0] = 0.5  # the class
    line = figures.by_distance({"layer 1": weights}, width)["layer 1"]
    assert line == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    marks = [mark.get_xdata()[0] for mark in plt.gca().lines[1:]]
    assert marks == [2, 4, 6, 8]


def test_grids_cut_the_columns_asked_for(tmp_path):
    page = np.zeros((2 + 3 * 10, 2 + 5 * 10), np.uint8)
    page[:, 22:] = 200
    Image.fromarray(page).save(tmp_path / "a.png")
    figures.pictures_of({"a": tmp_path / "a.png"}, ["x", "y", "z"], columns=2, side=8, gap=2)
    axes = plt.gcf().axes
    assert len(axes) == 6 and all(axis.images[0].get_array().max() == 0 for axis in axes)
    figures.pictures_of({name: tmp_path / "a.png" for name in "ab"}, ["x"], columns=3, side=8, gap=2)
    assert [axis.get_title() for axis in plt.gcf().axes] == ["", "a", "", "", "", "b", ""]  # each above its own three
    figures.pictures_of({"a": tmp_path / "a.png"}, ["x", "y", "z"], columns=2, side=8, gap=2)
    axes = plt.gcf().axes
    assert [axis.get_ylabel() for axis in axes[::2]] == ["x", "y", "z"] and axes[0].get_title() == "a"


def test_seconds_are_of_each_step_and_elapsed_adds_them_up():
    models = {"raster": (lively_raster(), one_scale_tokenizer()), "next scale": (lively_var(), tiny_tokenizer())}
    seconds = figures.seconds_by_step(models, 1, rounds=2)
    assert [len(of_steps) for of_steps in seconds.values()] == [25, 4]
    assert all(t > 0 for of_steps in seconds.values() for t in of_steps)
    total = figures.elapsed(seconds)
    assert total["next scale"] == pytest.approx(1000 * sum(seconds["next scale"]))
    assert len(plt.gca().patches) == 29


def test_growth_returns_the_exponents_of_what_it_draws():
    panels = {"pairs": {"a": lambda n: 3 * n**4, "b": lambda n: n**2}, "steps": {"c": lambda n: n}}
    slopes = figures.growth([2, 4, 8], panels)
    assert slopes["pairs"] == {"a": pytest.approx(4), "b": pytest.approx(2)}
    assert slopes["steps"] == {"c": pytest.approx(1)}
    assert plt.gcf().axes[0].lines[1].get_ydata().tolist() == [4, 16, 64]


def test_budget_draws_pairs_of_rows_with_the_band_of_their_seeds():
    def row(fd, recall):
        return {"mean": {"fd": fd, "recall": recall}, "band": {"fd": [fd - 1, fd + 1], "recall": [recall, recall]}}

    data = figures.budget({"plain": (row(9.0, 0.2), row(5.0, 0.1))}, {"fd": "FD", "recall": "recall"})
    assert data == {"fd": {"plain": [9.0, 5.0]}, "recall": {"plain": [0.2, 0.1]}}
    fd, recall = plt.gcf().axes
    assert [patch.get_height() for patch in fd.patches] == [9, 5] and recall.get_title() == "recall"
    assert [list(line.get_ydata()) for line in fd.lines] == [[8, 10], [4, 6]]
    assert fd.patches[0].get_hatch() != fd.patches[1].get_hatch()  # told apart without colour


def test_bars_show_the_numbers_they_are_given():
    groups = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert figures.two_bars(groups, "y") == groups
    assert [patch.get_height() for patch in plt.gca().patches] == [1, 3, 2, 4]


def test_the_overview_counts_the_tokens_of_the_steps_it_shows():
    shown = figures.overview(SCALES)
    assert shown["next scale"] == {1: 1, 2: 4, 3: 9, 4: 25}
    assert shown["next image token"] == {1: 1, 9: 1, 17: 1, 25: 1}
    axes = plt.gcf().axes
    assert len(axes) == 1 + 2 * SCALES.K and axes[-1].get_title() == "step 4 of 4: 25 new"
    assert axes[2].collections[0].get_array().flatten().tolist() == [1] * 8 + [2] + [0] * 16


def test_masks_show_and_count_the_pairs_that_see_each_other():
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    spans = Scales.of([1, 2]).spans
    blocks = Scales.of([1, 2]).block_causal_mask()
    panels = {"a": (causal, [(0, 1), (1, 2), (2, 3)], ["red"] * 3), "b": (blocks, spans, scale_colours(2))}
    assert figures.masks(panels) == {"a": 6, "b": 1 + 4 * 5}
    left, right = plt.gcf().axes
    assert left.images[0].get_array().tolist() == [[1, 0, 0], [2, 2, 0], [3, 3, 3]]
    assert right.images[0].get_array().tolist() == [[1, 0, 0, 0, 0], *[[2] * 5] * 4]


def test_the_race_shows_as_many_stages_of_both_and_both_to_the_end():
    raster, by_scale = torch.rand(25, 2, 1, 8, 8), torch.rand(4, 2, 1, 8, 8)
    shown = figures.race(raster, by_scale, columns=4, rows=["bag", "boot"])
    assert shown == {"raster": [1, 9, 17, 25], "next scale": [1, 2, 3, 4]}
    axes = plt.gcf().axes
    assert [axis.get_ylabel() for axis in axes[::9]] == ["bag", "boot"]
    assert [axes[j].get_title() for j in (1, 6)] == ["token 9", "scale 2"]
    assert torch.equal(torch.as_tensor(axes[9 + 3].images[0].get_array().data), raster[24, 1, 0])
    assert torch.equal(torch.as_tensor(axes[9 + 8].images[0].get_array().data), by_scale[3, 1, 0])
