"""What every figure is made of: that it shows the data that it is given, told apart without colour."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from examples import SIDES
from PIL import Image

from varlite.io.pictures import save_png, tile
from varlite.nb import plots
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def test_lines_are_drawn_as_given_and_told_apart_without_colour():
    plots.lines_over_scales({"a": [4, 3, 2, 1], "b": torch.tensor([5.0, 4.0, 3.0, -2.0])}, SCALES, "rise")
    a, b = plt.gca().lines
    assert list(a.get_ydata()) == [4, 3, 2, 1] and list(b.get_ydata()) == [5, 4, 3, -2]
    assert (a.get_marker(), a.get_linestyle()) != (b.get_marker(), b.get_linestyle())
    assert plt.gca().get_ylim()[0] <= -2  # what falls below zero is shown too


def test_bars_have_the_colour_of_their_scale_and_the_hatching_of_their_group():
    groups = {"a": [1.0, 2.0, 3.0, 4.0], "b": [0.5, 0.0, -1.0, 1.0]}
    assert plots.bars_by_scale(groups, SCALES, "height", limit=5, limit_name="most") == groups
    axis = plt.gca()
    assert [patch.get_height() for patch in axis.patches] == [1, 2, 3, 4, 0.5, 0, -1, 1]
    assert [patch.get_facecolor()[:3] for patch in axis.patches] == plots.scale_colours(4) * 2
    assert axis.patches[0].get_hatch() == axis.patches[3].get_hatch() != axis.patches[4].get_hatch()
    assert all(0 < b.get_x() - a.get_x() < 1 for a, b in zip(axis.patches[:4], axis.patches[4:], strict=True))
    assert sorted(text.get_text() for text in axis.get_legend().texts) == ["a", "b", "most"]
    plots.bars_by_scale([3.0, 4.0], SCALES, "height")
    assert [label.get_text() for label in plt.gca().get_xticklabels()] == ["3 x 3", "5 x 5"]  # the finest


def test_named_bars_say_their_numbers():
    plots.named_bars({"one": 0.25, "two": 0.5}, "share", limit=0.1)
    axis = plt.gca()
    assert [patch.get_width() for patch in axis.patches] == [0.25, 0.5]
    assert [text.get_text() for text in axis.texts] == ["25%", "50%"]


def test_image_grids_show_rows_of_any_length_and_leave_gaps():
    images = torch.rand(3, 1, 10, 12)
    axes = plots.image_axes({"a": list(images), "b": [None, images[1]]})
    assert axes.shape == (2, 3) and [axis.get_ylabel() for axis in axes[:, 0]] == ["a", "b"]
    assert [len(axis.images) for axis in axes.flat] == [1, 1, 1, 0, 1, 0]
    assert torch.equal(torch.as_tensor(axes[1, 1].images[0].get_array().data), images[1, 0])


def test_tiles_are_read_from_the_grid_that_a_training_writes(tmp_path):
    images = torch.arange(12, dtype=torch.uint8).view(4, 3, 1, 1, 1).expand(4, 3, 1, 8, 8)  # 3 row + column
    save_png(tmp_path / "grid.png", tile([list(row) for row in images]))
    tiles = plots.tiles_of(tmp_path / "grid.png", [0, 3], [1, 2], side=8)
    assert torch.equal(tiles, images[[0, 3]][:, [1, 2]] / 255)
    for rows, columns in (([4], [0]), ([0], [3]), ([-1], [0])):
        with pytest.raises(ValueError, match=r"grid.png has 4 rows and 3 columns; got rows \[.*\] and columns"):
            plots.tiles_of(tmp_path / "grid.png", rows, columns, side=8)


def test_png_files_have_every_pixel_as_wide_as_asked_for(tmp_path):
    img = torch.tensor([[[0.0, 1.0]]])
    (tmp_path / "a.png").write_bytes(plots.png(img, zoom=3))
    assert np.array(Image.open(tmp_path / "a.png")).tolist() == [[0, 0, 0, 255, 255, 255]] * 3
