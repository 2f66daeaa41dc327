import datetime
import io
import re

import numpy as np
import pytest
import torch
import traitlets
from examples import tiny_images
from PIL import Image

from varlite.editing import box_mask, edit
from varlite.nb.widgets.painter import Painter


@pytest.fixture(scope="session")
def models(model, tokenizer):
    return model, tokenizer


@pytest.fixture
def painter(models):
    return Painter(*models, tiny_images()[0], class_names=[f"class {i}" for i in range(10)])


def click_and_wait(painter):
    painter.answer({"do": "edit", "mask": painter.canvas.mask})
    painter.thread.join(60)


def hole(rows=slice(2, 6), columns=slice(4, 8)):
    keep = torch.ones(10, 10, dtype=torch.bool)
    keep[rows, columns] = False
    return keep


def said(painter):
    return re.sub("<[^>]*>", "", painter.status.value)


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(image.value)))


def test_an_edit_is_the_packages_own_with_the_mask_and_settings_on_screen(painter, models):
    painter.keep_HW = hole()
    painter.label.value, painter.cfg.value, painter.seed.value, painter.paste.value = 3, 4.0, 7, False
    before = pixels(painter.screen)
    click_and_wait(painter)
    expected = edit(*models, tiny_images()[:1], hole(), [3], hide=True, cfg=4.0, seeds=7)[0]
    assert torch.equal(painter.result, expected)
    assert (pixels(painter.screen) != before).any()
    assert said(painter) == "edited with seed 7" and not painter.canvas.busy


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


def test_errors_speak_of_the_controls_and_the_next_edit_works(painter):
    click_and_wait(painter)
    assert said(painter) == "Nothing to repaint yet: paint on the picture first."
    painter.keep_HW = hole(slice(0, 1), slice(0, 1))
    click_and_wait(painter)
    assert "tick &quot;thin&quot;, or use a larger brush" in said(painter) and painter.result is None
    assert 'role="alert"' in painter.status.value and "overflow-wrap" in painter.status.value
    painter.thin.value = True
    click_and_wait(painter)
    assert painter.result is not None and not painter.canvas.busy


def test_an_edit_is_with_the_mask_that_comes_with_the_click(painter, models):
    painter.keep_HW = hole()
    given = ["0"] * 100
    given[50:] = "1" * 50  # not what Python knew of
    painter.answer({"do": "edit", "mask": "".join(given)})
    painter.thread.join(60)
    expected = edit(*models, tiny_images()[:1], hole(slice(5, 10), slice(0, 10)), hide=True, paste=True, seeds=0)[0]
    assert torch.equal(painter.result, expected)


def test_one_of_several_pictures_or_a_file_can_be_chosen(models):
    painter = Painter(*models, tiny_images())
    assert painter.which.options == ("1", "2")
    first, edited = painter.canvas.picture, pixels(painter.screen)
    painter.which.value = "2"
    assert torch.equal(painter.img_3HW, tiny_images()[1]) and painter.canvas.picture != first
    assert (pixels(painter.screen) != edited).any()

    painter.upload.value = [upload("mine.png", Image.new("RGB", (30, 20), (255, 0, 0)))]
    assert painter.which.value == "mine.png" and painter.img_3HW.shape == (1, 10, 10)
    assert said(painter) == "mine.png, cut to 10 x 10 in grey." and not painter.upload.value  # nothing is kept whole
    painter.keep_HW = hole()
    click_and_wait(painter)
    assert painter.result is not None


def test_a_file_that_is_no_picture_is_refused_in_words(painter):
    broken = upload("notes.png", Image.new("L", (2, 2))) | {"content": b"no picture"}
    painter.upload.value = [broken]
    assert said(painter).startswith("notes.png cannot be read: not an image") and painter.which.value == "1"


def upload(name, picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    now = datetime.datetime.now(datetime.UTC)
    return {"name": name, "type": "image/png", "size": 1, "content": memoryview(file.getvalue()), "last_modified": now}


def test_no_class_is_called_none(painter):
    assert painter.label.label == "none"


def test_a_picture_goes_with_the_widget_for_pages_that_show_none(painter):
    before = painter._repr_mimebundle_()["image/png"]
    painter.keep_HW = hole()
    after = painter._repr_mimebundle_()["image/png"]
    assert before != after and Image.open(io.BytesIO(after)).format == "PNG"


def test_a_click_during_an_edit_starts_no_second_one(painter):
    painter.keep_HW = hole()
    seen = []
    painter.status.observe(lambda _: (seen.append(said(painter)), painter.start()), "value")
    click_and_wait(painter)
    K = painter.model.scales.K
    assert seen[:-1] == ["editing ...", *(f"scale {k + 1} of {K}" for k in range(K))]


def test_what_is_changed_during_an_edit_is_for_the_next_one(models):
    painter = Painter(*models, tiny_images(), seed=3)
    painter.keep_HW = hole()

    def meddle(_):
        assert painter.canvas.busy == painter.which.disabled == painter.upload.disabled
        painter.seed.value, painter.cfg.value = 7, 9
        painter.keep_HW = torch.ones(10, 10).bool()

    painter.status.observe(meddle, "value")
    click_and_wait(painter)
    assert said(painter) == "edited with seed 3" and not painter.which.disabled
    expected = edit(*models, tiny_images()[:1], hole(), hide=True, paste=True, seeds=3)[0]
    assert torch.equal(painter.result, expected)


def test_every_control_has_a_label(painter):
    assert repr(painter) == "Painter(10 x 10)"
    controls = [painter.label, painter.cfg, painter.seed, painter.hide, painter.thin, painter.paste, painter.which]
    assert all(control.description for control in controls)


def test_a_second_file_of_the_same_name_is_another_picture(painter):
    for level, name in ((0, "1"), (255, "1")):
        painter.upload.value = [upload(name, Image.new("L", (10, 10), level))]
        shown = painter.canvas.picture
    assert list(painter.which.options)[-2:] == ["1 (2)", "1 (3)"] and painter.which.value == "1 (3)"
    assert painter.img_3HW.mean() == 1 and said(painter).startswith("1 (3), cut to")
    painter.which.value = "1 (2)"
    assert painter.img_3HW.mean() == -1 and painter.canvas.picture != shown
