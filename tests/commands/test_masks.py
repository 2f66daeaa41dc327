import numpy as np
import pytest
import torch
from painted import mask, picture
from PIL import Image

from varlite.commands.masks import read_box, read_mask, veil
from varlite.scales import Scales

SCALES, SIZE = Scales.of([1, 2, 3, 5]), (10, 10)  # the tiny models: two pixels a token


@pytest.mark.parametrize(("white", "dtype"), [(255, np.uint8), (1, np.uint8), (65535, np.uint16), (True, bool)])
def test_white_is_repainted_and_black_kept(tmp_path, white, dtype):
    keep = read_mask(mask(tmp_path / "mask.png", white=white, dtype=dtype), (10, 10), SIZE, SCALES)
    expected = torch.ones(10, 10, dtype=torch.bool)
    expected[2:6, 4:8] = False
    assert torch.equal(keep, expected)


def test_a_mask_has_the_size_of_the_file_of_what_the_model_sees_or_of_the_last_scale(tmp_path):
    wide = (60, 30)  # width and height; the middle 30 x 30 is used, three pixels for one
    at_file = mask(tmp_path / "file.png", 30, 60, slice(6, 18), slice(27, 39))
    at_half = mask(tmp_path / "half.png", 15, 30, slice(3, 9), slice(13, 20))
    at_model = mask(tmp_path / "model.png")
    at_last = mask(tmp_path / "last.png", 5, 5, slice(1, 3), slice(2, 4))
    expected = read_mask(at_model, wide, SIZE, SCALES)
    assert torch.equal(read_mask(at_file, wide, SIZE, SCALES), expected)
    tokens = read_mask(at_last, wide, SIZE, SCALES)
    assert torch.equal(tokens.repeat_interleave(2, 0).repeat_interleave(2, 1), expected)
    assert not (read_mask(at_half, wide, SIZE, SCALES) & ~expected).any()


def test_a_line_thinner_than_a_pixel_of_the_model_survives_the_resizing(tmp_path):
    path = mask(tmp_path / "line.png", 200, 200, slice(None), slice(90, 91))
    assert (~read_mask(path, (200, 200), SIZE, SCALES)).sum(1).tolist() == [1] * 10


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda path: mask(path, 10, 14), "14 x 10; it must have the proportions of the image, 10 x 10"),
        (lambda path: mask(path, white=0), "has no white"),
        (lambda path: mask(path, white=128), "black and white only, but has the value 128"),
        (lambda path: Image.fromarray(picture(10, 10)).save(path), "black and white only, but has the value"),
        (lambda path: Image.new("RGBA", (10, 10), (255, 255, 255, 9)).save(path), "partly transparent"),
    ],
    ids=["proportions", "empty", "grey", "a picture", "transparent"],
)  # fmt: skip
def test_a_mask_that_is_none_is_refused(tmp_path, save, message):
    path = tmp_path / "mask.png"
    save(path)
    with pytest.raises(ValueError, match=f"mask: .*mask.png .*{message}"):
        read_mask(path, (10, 10), SIZE, SCALES)


def test_a_mask_whose_white_is_cropped_away_is_refused(tmp_path):
    path = mask(tmp_path / "mask.png", 30, 60, slice(6, 18), slice(0, 9))
    with pytest.raises(ValueError, match="no white, which marks what to repaint, in the 10 x 10 used"):
        read_mask(path, (60, 30), SIZE, SCALES)


def test_a_box_that_covers_no_token_or_leaves_none_is_refused():
    for box, task in (((0.05, 0.05, 0.08, 0.08), "inpaint"), ((0, 0, 1, 1), "outpaint")):
        with pytest.raises(ValueError, match="leaves nothing to repaint"):
            read_box(box, task, SCALES)
    assert not read_box((0, 0, 1, 1), "inpaint", SCALES).any()


def test_the_veil_covers_what_is_to_be_repainted():
    img, keep = torch.full((3, 10, 10), 7, dtype=torch.uint8), torch.ones(5, 5, dtype=torch.bool)
    keep[1, 2] = False
    covered = (veil(img, keep) != 7).all(0)
    assert covered[2:4, 4:6].all() and covered.sum() == 4
