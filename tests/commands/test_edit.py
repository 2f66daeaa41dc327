import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from varlite.commands.edit import read_box, read_mask, veil
from varlite.io.files import atomic
from varlite.scales import Scales

SCALES, SIZE = Scales.of([1, 2, 3, 5]), (10, 10)  # the tiny models: two pixels a token


@pytest.fixture
def varlite(varlite):
    """Runs a command line in a folder with the picture `image.png`: (exit status, stdout, stderr)."""
    Image.fromarray(picture(10, 10)).save("image.png")
    return varlite


@pytest.fixture
def edit(varlite, trained):
    return lambda *arguments: varlite("edit", "image.png", "--model", trained / "var", "--device", "cpu", *arguments)


def picture(height, width):
    y, x = np.mgrid[:height, :width]
    return (255 * (x / width + y / height) / 2).astype(np.uint8)


def mask(path, height=10, width=10, rows=slice(2, 6), columns=slice(4, 8), white=255, dtype=np.uint8):
    values = np.zeros((height, width), dtype)
    values[rows, columns] = white
    Image.fromarray(values).save(path)
    return path


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# What is written


def test_edits_are_written_with_a_record_and_a_picture_of_all(edit, tmp_path):
    status, stdout, _ = edit("--mask", mask("mask.png"), "--num", 3, "--seed", 4, "--grid", "some where/grid.png")
    assert status == 0 and "3 images in out/edits, some where/grid.png" in stdout
    out = tmp_path / "out" / "edits"
    assert files(out) == ["00000.png", "00001.png", "00002.png", "edits.json"]
    grid = pixels("some where/grid.png")
    assert grid.shape == (2 + 12, 2 + 5 * 12)
    assert (grid[2:12, 2:12] == pixels("image.png")).all()
    assert (grid[2:12, 26:36] == pixels(out / "00000.png")).all()
    record = json.loads((out / "edits.json").read_text())
    assert record["options"] == {"hide": True, "thin": False, "paste": True}
    assert (record["task"], record["label"], record["seed"], record["num"]) == ("inpaint", None, 4, 3)
    assert len({record["image_sha256"], record["mask_sha256"], record["weights_sha256"]}) == 3
    assert record["command"].startswith("varlite edit image.png")


def test_an_edit_depends_on_seed_and_number_alone_and_changes_only_what_is_white(edit, tmp_path):
    mask("mask.png")
    edit("--mask", "mask.png", "--num", 3, "--batch", 2, "--out", "a")
    edit("--mask", "mask.png", "--num", 2, "--batch", 1, "--out", "b")
    edit("--mask", "mask.png", "--seed", 1, "--out", "c")
    a = [pixels(f"a/{i:05d}.png") for i in range(3)]
    for i in range(2):
        assert abs(a[i] - pixels(f"b/{i:05d}.png")).max() <= 1  # rounding of another batch size
    assert (a[0] != a[1]).any() and (a[0] != pixels("c/00000.png")).any()
    far = np.ones((10, 10), bool)
    far[1:7, 3:9] = False  # the mask and half a token around it
    changed = a[0] != pixels("image.png")
    assert changed.any() and not changed[far].any()


def test_a_box_is_repainted_and_in_outpainting_kept(edit):
    box = ("--box", 0.2, 0.2, 0.6, 0.6)
    for task, kept in (("inpaint", False), ("outpaint", True)):
        assert edit(*box, "--task", task, "--out", task)[0] == 0
        same = pixels(f"{task}/00000.png") == pixels("image.png")
        assert same[3:5, 3:5].all() == kept
        assert same[:1, :1].all() != kept


def test_a_class_changes_the_edit_and_the_published_behaviour_is_an_option_away(edit):
    mask("mask.png")
    edit("--mask", "mask.png", "--out", "none")
    edit("--mask", "mask.png", "--task", "class", "--label", 1, "--out", "one", "--cfg", 4)
    edit("--mask", "mask.png", "--out", "published", "--no-hide", "--no-paste")
    assert (pixels("none/00000.png") != pixels("one/00000.png")).any()
    assert (pixels("published/00000.png") != pixels("image.png"))[8:, :2].any()  # a reconstruction, far from the mask


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(10, 10), (50, 50), (31, 64), (7, 5)])
def test_an_image_of_any_size_and_kind_is_resized_to_what_the_model_works_on(edit, mode, size):
    Image.fromarray(picture(*size)).convert(mode).save("image.png")
    status, _, stderr = edit("--box", 0, 0, 0.4, 0.4)
    assert (status, stderr) == (0, "")
    assert pixels("out/edits/00000.png").shape == SIZE


def test_an_interrupted_write_leaves_the_picture_that_was_there(tmp_path):
    path = tmp_path / "00000.png"
    path.write_text("before")
    with pytest.raises(OSError), atomic(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "before" and files(tmp_path) == ["00000.png"]


# Masks


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


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --mask or --box"),
        (["--mask", "mask.png", "--box", 0, 0, 1, 1], "either --mask or --box"),
        (["--box", 0, 0, 1, 2], "box must be y0 < y1"),
        (["--mask", "missing.png"], "missing.png"),
        (["--mask", "dots.png"], "less than half of every token .*--thin"),
        (["--mask", "mask.png", "--task", "class"], "task class needs a --label"),
        (["--mask", "mask.png", "--label", 1], "--label is for --task class; inpaint uses no class"),
        (["--mask", "mask.png", "--task", "class", "--label", 10], "class number from 0 to 1, got 10"),
        (["--mask", "mask.png", "--num", 0], "num must be at least 1"),
        (["--mask", "mask.png", "--cfg", -1], "cfg must be 0 or more"),
        (["--mask", "mask.png", "--grid", "grid.jpg"], "grid must be a .png file"),
        (["--mask", "mask.png", "--grid", "mask.png"], "would take the place of mask.png"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_named_before_anything_is_written(edit, tmp_path, arguments, message):
    mask("mask.png")
    mask("dots.png", rows=slice(0, 1), columns=slice(0, 1))
    before = files(tmp_path)
    status, _, stderr = edit(*arguments)
    assert status == 1 and stderr.startswith("varlite: error: ") and stderr.count("\n") == 1
    assert re.search(message, stderr), stderr
    assert files(tmp_path) == before


def test_the_image_is_not_overwritten_by_its_edit(varlite, trained, tmp_path):
    Image.fromarray(picture(10, 10)).save("00000.png")
    status, _, stderr = varlite(
        "edit", "00000.png", "--model", trained / "var", "--box", 0, 0, 1, 0.5, "--out", tmp_path
    )
    assert status == 1 and "would take the place of 00000.png; choose another folder" in stderr
