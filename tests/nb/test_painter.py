import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from tiny import RECTANGULAR, lively_var, tiny_images, tiny_tokenizer

from varlite.editing import box_mask, edit, keep_at_scale
from varlite.nb import editing_plots
from varlite.nb.painter import Painter
from varlite.nb.plots import scale_colours


@pytest.fixture(scope="module")
def models():
    return lively_var(), tiny_tokenizer()


@pytest.fixture
def painter(models):
    return Painter(*models, tiny_images()[0], class_names=[f"class {i}" for i in range(10)])


def click_and_wait(painter):
    painter.button.click()
    painter.thread.join(60)


def hole(rows=slice(2, 6), columns=slice(4, 8)):
    keep = torch.ones(10, 10, dtype=torch.bool)
    keep[rows, columns] = False
    return keep


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(image.value)))


def test_an_edit_is_the_packages_own_with_the_mask_and_settings_on_screen(painter, models):
    painter.keep_HW = hole()
    painter.label.value, painter.cfg.value, painter.seed.value, painter.paste.value = 3, 4.0, 7, False
    before = pixels(painter.screen)
    click_and_wait(painter)
    generator = torch.Generator().manual_seed(7)
    expected = edit(*models, tiny_images()[:1], hole(), [3], hide=True, cfg=4.0, generator=generator)[0]
    assert torch.equal(painter.result, expected)
    assert (pixels(painter.screen) != before).any()
    assert painter.status.value == "edited with seed 7" and not painter.button.disabled


def test_what_is_painted_is_the_mask_row_by_row(painter):
    assert painter.keep_HW.all()
    painter.canvas.mask = "1" * 13 + "0" * 87
    assert torch.equal((~painter.keep_HW).nonzero()[-1], torch.tensor([1, 2]))
    painter.keep_HW = hole()
    assert torch.equal(painter.keep_HW, hole())


def test_a_mask_at_the_last_scale_can_be_the_one_to_start_from(models):
    keep_hw = box_mask((0.2, 0.4, 0.6, 0.8), models[0].scales, inside=False)
    assert torch.equal(Painter(*models, tiny_images()[0], keep_hw=keep_hw).keep_HW, hole())
    with pytest.raises(ValueError, match="keep must have the shape"):
        Painter(*models, tiny_images()[0], keep_hw=torch.ones(3, 3))


def test_an_image_of_another_size_is_refused(models):
    with pytest.raises(ValueError, match=r"img_3HW must have shape \(1, 10, 10\), got \(1, 12, 12\)"):
        Painter(*models, torch.zeros(1, 12, 12))


@pytest.mark.parametrize("mask", ["", "0" * 99, "2" + "0" * 99])
def test_the_canvas_takes_no_mask_that_does_not_fit(painter, mask):
    with pytest.raises(traitlets.TraitError, match="10 x 10 characters 0 or 1"):
        painter.canvas.mask = mask


def test_the_picture_of_the_scales_follows_mask_and_thin(painter):
    pictures = [painter.scales_picture.value]
    painter.keep_HW = hole(columns=slice(4, 7))
    pictures.append(painter.scales_picture.value)
    painter.thin.value = True
    pictures.append(painter.scales_picture.value)
    assert len(set(pictures)) == 3


def test_guidance_can_be_set_only_with_a_class(painter):
    assert painter.cfg.disabled
    painter.label.value = 2
    assert not painter.cfg.disabled


def test_errors_are_shown_and_the_next_edit_works(painter):
    click_and_wait(painter)
    assert painter.status.value == "ValueError: nothing to repaint: paint on the picture first"
    painter.keep_HW = hole(slice(0, 1), slice(0, 1))
    click_and_wait(painter)
    assert "less than half of every token" in painter.status.value and painter.result is None
    painter.thin.value = True
    click_and_wait(painter)
    assert painter.result is not None and not painter.button.disabled


def test_a_click_during_an_edit_starts_no_second_one(painter):
    painter.keep_HW = hole()
    seen = []
    painter.status.observe(lambda change: (seen.append(change["new"]), painter.start()), "value")
    click_and_wait(painter)
    K = painter.model.scales.K
    assert seen[:-1] == ["editing ...", *(f"scale {k + 1} of {K}" for k in range(K))]


def test_every_control_has_a_label(painter):
    assert repr(painter) == "Painter(10 x 10)"
    controls = [painter.label, painter.cfg, painter.seed, painter.hide, painter.thin, painter.paste, painter.button]
    assert all(control.description for control in controls)


# Figures


def test_the_masks_in_the_figure_are_those_that_editing_uses(models):
    scales = models[0].scales
    for thin in (False, True):
        masks = editing_plots.masks_by_scale(hole(), scales, thin)
        for k, (mask_hw, shape) in enumerate(zip(masks, scales.shapes, strict=True)):
            assert tuple(mask_hw.shape) == shape
            assert torch.equal(mask_hw.flatten(), keep_at_scale(hole(), k, scales, thin))


def test_the_figure_of_masks_says_which_share_is_sampled_in_the_colours_of_the_scales():
    scales = lively_var(scales=RECTANGULAR).scales
    masks = editing_plots.masks_by_scale(torch.zeros(3, 5, dtype=torch.bool), scales)
    editing_plots.mask_pyramid({"a": masks, "b": [~mask for mask in masks]}, scales)
    titles = [axis.get_title() for axis in plt.gcf().axes]
    assert titles == ["1 x 2: 0%", "2 x 3: 100%", "3 x 5: 100%", "1 x 2: 100%", "2 x 3: 0%", "3 x 5: 0%"]
    drawn = plt.gcf().axes[1].collections[0]
    assert np.asarray(drawn.get_array()).all()
    plt.close("all")


def test_the_outline_is_as_long_as_the_border_of_the_mask():
    _, axis = plt.subplots()
    assert editing_plots.outline(axis, hole()) == 16 == len(axis.collections[0].get_segments())
    assert editing_plots.outline(axis, torch.ones(4, 4, dtype=torch.bool)) == 0
    plt.close("all")


def test_the_share_that_is_sampled_of_a_line_grows_with_its_width_and_is_all_with_thin():
    scales = lively_var().scales
    thin, wide = (editing_plots.sampled_share(hole(slice(None), slice(4, 4 + n)), scales) for n in (1, 4))
    assert thin == [0, 0, 1, 1] and wide[0] == 0 and wide[1] > 0.5
    assert editing_plots.sampled_share(hole(slice(None), slice(4, 5)), scales, thin=True) == [0, 1, 1, 1]


def test_the_curves_show_the_shares_in_the_colours_of_the_scales():
    scales = lively_var().scales
    editing_plots.share_by_width({1: [0, 0, 0.5, 1], 2: [0, 1, 1, 1]}, {1: [0, 1, 1, 1], 2: [0, 1, 1, 1]}, scales)
    lines = plt.gca().lines
    assert [list(line.get_ydata()) for line in lines[4:6]] == [[0.5, 1], [1, 1]]
    assert {line.get_color() for line in lines[4:6]} == {scale_colours(scales.K)[2]}
    plt.close("all")


def test_error_maps_share_one_range():
    editing_plots.error_maps({"a": torch.full((10, 10), 0.1), "b": torch.full((10, 10), 0.4)}, hole())
    images = [axis.images[0] for axis in plt.gcf().axes[:2]]
    assert [image.get_clim() for image in images] == [(0, pytest.approx(0.4))] * 2
    plt.close("all")


def test_edits_shows_the_images_and_bars_their_numbers():
    images = [[tiny_images()[0] / 2 + 0.5] * 3] * 2
    editing_plots.edits(images, hole(), ["a", "b"], ["1", "2", "3"])
    shown = plt.gcf().axes[0].images[0].get_array()
    assert np.allclose(shown, images[0][0][0])
    editing_plots.bars({"one": 0.25, "two": 0.5}, "share", chance=0.1)
    axis = plt.gca()
    assert [patch.get_width() for patch in axis.patches] == [0.25, 0.5]
    assert [text.get_text() for text in axis.texts] == ["25%", "50%"]
    plt.close("all")
