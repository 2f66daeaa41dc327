import pytest
import torch
from PIL import Image

from varlite.nb.widgets.picker import attention_explorer, map_png


def explorer(layers=("first", "second"), shape=(2, 3)):
    weights = {name: torch.rand(2, 6, 6).softmax(-1) for name in layers}
    return weights, attention_explorer(list(torch.rand(2, 1, 4, 6)), weights, shape)


def parts(box):
    controls, views, words, _ = box.children
    return *controls.children, *views.children, words


def test_choosing_a_position_picture_or_layer_shows_another_map():
    weights, box = explorer()
    which, layer, picker, screen, words = parts(box)
    seen = [screen.value]
    assert seen[0] == map_png(weights["first"][0, 4].view(2, 3), 1, 1)
    for control, trait, value in [
        (picker, "row", 0),
        (picker, "column", 2),
        (layer, "value", "second"),
        (which, "value", 1),
    ]:
        before = picker.picture
        setattr(control, trait, value)
        assert screen.value not in seen
        assert (picker.picture != before) == (control is which)
        seen.append(screen.value)
    assert screen.value == map_png(weights["second"][1, 2].view(2, 3), 0, 2)
    later = weights["second"][1, 2, 3:].sum()
    assert "Row 1, column 3" in words.value and f"{later:.0%} goes to later positions" in words.value


def test_a_map_is_light_where_nothing_is_seen_and_dark_at_its_largest(tmp_path):
    (tmp_path / "map.png").write_bytes(map_png(torch.tensor([[0.0, 1.0], [0.5, 0.0]]), 1, 1, side=20))
    grey = Image.open(tmp_path / "map.png").convert("L")
    assert grey.size == (20, 20)
    assert grey.getpixel((5, 5)) > grey.getpixel((5, 15)) > grey.getpixel((15, 5))


def test_every_control_has_a_label():
    which, layer, picker, *_ = parts(explorer()[1])
    assert which.description == "picture" and layer.description == "layer" and "arrow keys" in picker.label
    assert "aria-label" in str(picker._esm) and "ArrowDown" in str(picker._esm)


def test_weights_that_do_not_fit_the_pictures_are_refused():
    with pytest.raises(ValueError, match=r"layers\['first'\] must have shape \(2, 9, 9\), got \(2, 6, 6\)"):
        explorer(shape=(3, 3))
