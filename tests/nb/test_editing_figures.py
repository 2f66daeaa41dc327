import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from examples import RECTANGULAR, SIDES, tiny_images

from varlite.editing import keep_at_scale
from varlite.nb import editing_figures as figures
from varlite.nb.plots import scale_colours
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def hole(rows=slice(2, 6), columns=slice(4, 8)):
    keep = torch.ones(10, 10, dtype=torch.bool)
    keep[rows, columns] = False
    return keep


def test_the_masks_in_the_figure_are_those_that_editing_uses():
    scales = SCALES
    for thin in (False, True):
        masks = figures.masks_by_scale(hole(), scales, thin)
        for k, (mask_hw, shape) in enumerate(zip(masks, scales.shapes, strict=True)):
            assert tuple(mask_hw.shape) == shape
            assert torch.equal(mask_hw.flatten(), keep_at_scale(hole(), k, scales, thin))


def test_the_figure_of_masks_says_which_share_is_sampled_in_the_colours_of_the_scales():
    scales = Scales.of(RECTANGULAR)
    masks = figures.masks_by_scale(torch.zeros(3, 5, dtype=torch.bool), scales)
    figures.mask_pyramid({"a": masks, "b": [~mask for mask in masks]}, scales)
    titles = [axis.get_title() for axis in plt.gcf().axes]
    assert titles == ["1 x 2: 0%", "2 x 3: 100%", "3 x 5: 100%", "1 x 2: 100%", "2 x 3: 0%", "3 x 5: 0%"]
    drawn = plt.gcf().axes[1].collections[0]
    assert np.asarray(drawn.get_array()).all()


def test_the_outline_is_as_long_as_the_border_of_the_mask():
    _, axis = plt.subplots()
    assert figures.draw_border(axis, hole()) == 16 == len(axis.collections[0].get_segments())
    assert figures.draw_border(axis, torch.ones(4, 4, dtype=torch.bool)) == 0


def test_the_share_that_is_sampled_of_a_line_grows_with_its_width_and_is_all_with_thin():
    scales = SCALES
    thin, wide = (figures.sampled_share(hole(slice(None), slice(4, 4 + n)), scales) for n in (1, 4))
    assert thin == [0, 0, 1, 1] and wide[0] == 0 and wide[1] > 0.5
    assert figures.sampled_share(hole(slice(None), slice(4, 5)), scales, thin=True) == [0, 1, 1, 1]


def test_the_curves_show_the_shares_in_the_colours_of_the_scales():
    scales = SCALES
    figures.share_by_width({1: [0, 0, 0.5, 1], 2: [0, 1, 1, 1]}, {1: [0, 1, 1, 1], 2: [0, 1, 1, 1]}, scales)
    lines = plt.gca().lines
    assert [list(line.get_ydata()) for line in lines[4:6]] == [[0.5, 1], [1, 1]]
    assert {line.get_color() for line in lines[4:6]} == {scale_colours(scales.K)[2]}


def test_error_maps_share_one_range():
    figures.error_maps({"a": torch.full((10, 10), 0.1), "b": torch.full((10, 10), 0.4)}, hole())
    images = [axis.images[0] for axis in plt.gcf().axes[:2]]
    assert [image.get_clim() for image in images] == [(0, pytest.approx(0.4))] * 2


def test_edits_shows_the_images():
    images = [[tiny_images()[0] / 2 + 0.5] * 3] * 2
    figures.edits(images, hole(), ["a", "b"], ["1", "2", "3"])
    shown = plt.gcf().axes[0].images[0].get_array()
    assert np.allclose(shown, images[0][0][0])


def test_each_column_may_have_a_mask_of_its_own():
    images = [[tiny_images()[0] / 2 + 0.5] * 2] * 2
    figures.edits(images, [hole(), torch.ones(10, 10, dtype=torch.bool)])
    lines = [len(axis.collections[0].get_segments()) for axis in plt.gcf().axes]
    assert lines == [16, 0, 16, 0]
