import os

import messy
import numpy as np
import pytest
from PIL import Image

from varlite.datasets import ImageFolder
from varlite.datasets.survey import first_lines, report, survey


def test_the_report_says_what_was_understood_and_what_was_left_out(tmp_path):
    root = messy.formats(tmp_path / "animals" / "animals").parent
    (root / "animals" / "cats" / "000.jfif").write_text("<html>")
    os.symlink("..", root / "animals" / "cats" / "all")
    found = survey(root)
    assert found.classes == ("cats", "dogs") and found.train.counts == {"cats": 10, "dogs": 15}
    assert found.test.counts == {"cats": 2, "dogs": 1} and found.train.folder == root / "animals"
    assert found.looks.opened == 27 and found.looks.grey == 0 and found.looks.sizes == {(32, 40): 27}
    text = report(root)
    for part in (
        "2 classes", "train: 25 images", "test: 3 images (every tenth", "0 cats: 10 to train on, 2 to test",
        "holds only one folder", "4 .heic", "leads back to a parent folder: cats/all", "all 32 x 40", "colour",
        "1 of 28 opened cannot be read: animals/cats/000.jfif (not an image", "25 images are few",
    ):  # fmt: skip
        assert part in text, part


def test_a_lopsided_or_tiny_data_set_is_pointed_out(tmp_path):
    messy.folder(tmp_path / "one", {f"c{i}": 1 for i in range(60)})
    text = report(tmp_path / "one")
    assert "60 of 60 classes have fewer than 10 images to train on: c0, c1, c2, c3, c4 and 55 more" in text
    assert "there are no test images" in text and "and 30 more classes, to c59" in text
    messy.folder(tmp_path / "two", {"cats": 50, "dogs": 2})
    assert "lopsided: 45 images of cats, 1 of dogs" in report(tmp_path / "two")
    messy.folder(tmp_path / "three", {"cats": 5})
    assert "only one class, cats" in report(tmp_path / "three")


def test_what_looks_like_splits_or_copies_within_classes_is_pointed_out(tmp_path):
    messy.folder(tmp_path / "a", {f"{name}/{split}": 2 for name in ("cats", "dogs") for split in ("train", "test")})
    assert "train and test folders within cats, dogs were not taken as splits" in report(tmp_path / "a")
    messy.folder(tmp_path / "b", {"cats": 2, "dogs": 2, "animals/cats": 2, "animals/dogs": 2})
    assert "animals holds folders called like other classes: a second copy" in report(tmp_path / "b")


def test_grey_saved_as_colour_unusual_numbers_and_mixed_sizes_are_seen(tmp_path):
    messy.folder(tmp_path, {"cats": 3})
    (tmp_path / "dogs").mkdir()
    for i in range(2):
        Image.fromarray((messy.RAMP * 255).astype(np.uint8)).convert("RGB").save(tmp_path / "dogs" / f"{i}.jpg")
    Image.fromarray((messy.RAMP[:, ::2] * 4095).astype(np.uint16)).save(tmp_path / "dogs" / "12.png")
    with pytest.warns(UserWarning, match=r"12\.png: pixels are 16 bits that reach up to 3990: 4095 is taken as white"):
        text = report(tmp_path)
    assert "3 grey, 3 in colour; 32 x 40 most often (5), from 32 x 20 to 32 x 40" in text
    assert "dogs/12.png: 16 bits that reach up to 3990: 4095 is taken as white" in text


def test_names_that_are_no_text_are_shown_all_the_same(tmp_path):
    messy.folder(tmp_path, {"cats": 3})
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    messy.picture(1).save(os.fsencode(tmp_path) + b"/\xff\xfe/1.png")
    report(tmp_path).encode()


def test_a_data_set_with_a_name_is_reported_too_and_what_is_no_folder_is_refused(tmp_path):
    assert "test: 10,000 images (t-shirt 1,000, " in report("fashion")
    with pytest.raises(FileNotFoundError, match=r"data: .*nothing is not a folder"):
        survey(tmp_path / "nothing")


def test_a_training_says_what_it_was_given(tmp_path):
    lines = first_lines(ImageFolder(messy.formats(tmp_path), "train", (8, 8), 3))
    assert lines[0] == f"{tmp_path}: 25 images in 2 classes (cats 10, dogs 15)"
    assert lines[1:] == ["left out: files of kinds that are not read: 4 .heic"]
