import os

import messy
import pytest

from varlite.datasets import ImageFolder
from varlite.datasets.layout import PARENT, TWICE, Pictures, find_layout


def opened(root, split="train"):
    data = ImageFolder(root, split, (8, 8), 3)
    return data, [
        data.classes[label] + "/" + name.rsplit("/", 1)[1] for label, name in zip(data.labels, data.names, strict=True)
    ]


# Splits and nesting


@pytest.mark.parametrize("inside", ["animals", "data/animals", "Train", "test"])
def test_an_archive_unpacked_into_a_folder_of_its_own_name_is_looked_into_and_that_is_said(tmp_path, inside):
    messy.folder(tmp_path / inside, {"cats": 12, "dogs": 12})
    (tmp_path / "__MACOSX" / "cats").mkdir(parents=True)
    layout = find_layout(tmp_path)
    assert layout.classes == ("cats", "dogs") and layout.train == tmp_path / inside and layout.test is None
    assert inside == "Train" or f"looked for in {tmp_path / inside}" in layout.notes[0]
    assert sum(len(ImageFolder(tmp_path, split, (8, 8), 3).names) for split in ("train", "test")) == 24


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "val"), ("train", "valid"), ("train", "validation"), ("train", "test"), ("Train", "Test"),
        ("TRAIN", "VAL"), ("training", "testing"), ("Training", "Validation"), ("seg_train", "seg_test"),
        ("train_set", "test_set"), ("seg_train/seg_train", "seg_test/seg_test"), ("photos/Train", "photos/Test"),
    ],
)  # fmt: skip
def test_splits_are_recognised_whatever_their_spelling(tmp_path, train, test):
    messy.split_folders(tmp_path, train, test)
    data, test_data = (ImageFolder(tmp_path, split, (8, 8), 3) for split in ("train", "test"))
    assert data.classes == test_data.classes == ("cats", "dogs")
    assert (len(data.names), len(test_data.names)) == (24, 6)
    assert all(name.startswith(f"{train}/") for name in data.names)
    assert all(name.startswith(f"{test}/") for name in test_data.names)


def test_of_two_test_folders_one_is_used_and_folders_beside_the_splits_are_named(tmp_path):
    messy.split_folders(tmp_path, "train", "test")
    messy.folder(tmp_path / "valid", {"cats": 1, "dogs": 1})
    messy.folder(tmp_path, {"seg_pred": 2})
    layout = find_layout(tmp_path)
    assert layout.test == tmp_path / "valid" and layout.classes == ("cats", "dogs")
    assert layout.notes == (
        "test is not used: test pictures come from valid",
        "neither a split nor used: seg_pred, beside train",
    )


def test_test_pictures_without_classes_are_not_used(tmp_path):
    messy.folder(tmp_path / "train", {"cats": 12, "dogs": 12})
    messy.folder(tmp_path, {"test": 3})
    layout = find_layout(tmp_path)
    assert layout.test is None and "test has pictures but no classes" in layout.notes[0]


def test_what_could_be_either_of_two_things_is_refused(tmp_path):
    messy.split_folders(tmp_path, "train", "Training")
    with pytest.raises(ValueError, match="several folders for training, Training and train: leave one"):
        find_layout(tmp_path)


def test_a_single_class_is_no_nesting(tmp_path):
    messy.folder(tmp_path / "cats", {"tabby": 2, "siamese": 2})
    messy.picture(1).save(tmp_path / "cats" / "x.png")
    assert find_layout(tmp_path).classes == ("cats",)


def test_pictures_in_no_class_are_mentioned(tmp_path):
    messy.folder(tmp_path.parent, {tmp_path.name: 3})
    with pytest.raises(ValueError, match=r"must hold one sub-folder .*; the 3 pictures in it are in no class"):
        find_layout(tmp_path)
    messy.folder(tmp_path, {"cats": 3})
    assert ImageFolder(tmp_path, "train", (8, 8), 3).left_out.no_class == 3


def test_classes_are_in_natural_order(tmp_path):
    messy.folder(tmp_path, {str(i): 1 for i in range(12)})
    assert find_layout(tmp_path).classes == tuple(map(str, range(12)))


# What is left out


def test_hidden_system_and_trash_folders_are_left_out(tmp_path):
    data, names = opened(messy.hidden(tmp_path))
    assert data.classes == ("cats", "dogs") and len(names) == 9
    assert set(data.left_out.folders) == {
        "@eaDir", "lost+found", "__MACOSX", "$RECYCLE.BIN", "cats/@eaDir", "cats/.ipynb_checkpoints", "cats/thumbnails",
        "dogs/.Trash-1000",
    }  # fmt: skip
    assert data.left_out.hidden == 2 and not data.left_out.suffixes


def test_more_formats_are_read_and_the_others_are_counted_by_suffix(tmp_path):
    data, names = opened(messy.formats(tmp_path))
    assert len(names) == 25 and data.left_out.suffixes == {".heic": 4}
    assert data.left_out.lines() == ["files of kinds that are not read: 4 .heic"]
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "1.heic").touch()
    with pytest.raises(ValueError, match=r"birds holds no images .*left out: .*5 \.heic"):
        opened(tmp_path)


@pytest.mark.parametrize("link", ["cats/self -> .", "cats/all -> ..", "all -> .", "cats/far -> ../../.."])
def test_links_that_lead_back_to_a_parent_are_left_out_and_named(tmp_path, link):
    root = messy.folder(tmp_path / "photos", {"cats": 5, "dogs": 5})
    name, target = link.split(" -> ")
    os.symlink(target, root / name)
    data, names = opened(root)
    assert data.classes == ("cats", "dogs") and len(set(names)) == len(names) == 9
    assert data.left_out.links == {name: PARENT} and f"1 link that {PARENT}: {name}" in data.left_out.lines()


def test_each_real_file_counts_once_in_its_own_class(tmp_path):
    root = messy.folder(tmp_path / "photos", {"cats": 5, "dogs": 5})
    elsewhere = messy.folder(tmp_path / "elsewhere", {"more": 3, "deep/er": 2})
    os.symlink("../dogs", root / "cats" / "dogs")
    os.symlink("../dogs/001.png", root / "cats" / "dog.png")
    os.symlink(elsewhere, root / "dogs" / "more")
    os.symlink(elsewhere / "more", root / "dogs" / "twice")
    os.symlink(elsewhere / "more" / "000.png", root / "cats" / "linked.png")
    os.symlink(root, elsewhere / "back")
    os.symlink("nowhere.png", root / "cats" / "z.png")
    found = Pictures(root, ["cats", "dogs"])
    cats, dogs = ([name.partition("/")[2] for name in names] for names in found.names)
    assert cats == [*(f"00{i}.png" for i in range(5)), "linked.png", "z.png"]
    assert dogs == [
        *(f"00{i}.png" for i in range(5)), "more/deep/er/000.png", "more/deep/er/001.png", "more/more/001.png",
        "more/more/002.png",
    ]  # fmt: skip
    assert found.left_out.links == {
        "cats/dogs": TWICE, "cats/dog.png": TWICE, "dogs/twice": TWICE, "dogs/more/back": PARENT,
    }  # fmt: skip


def test_classes_may_be_links(tmp_path):
    elsewhere = messy.folder(tmp_path / "elsewhere", {"a": 5, "b": 5})
    (tmp_path / "photos").mkdir()
    for name, target in (("cats", "a"), ("dogs", "b")):
        os.symlink(elsewhere / target, tmp_path / "photos" / name)
    data, names = opened(tmp_path / "photos")
    assert data.classes == ("cats", "dogs") and len(names) == 9
    os.symlink("cats", tmp_path / "photos" / "kittens")
    with pytest.raises(ValueError, match=f"kittens holds no images .*left out: 1 link that {TWICE}: kittens"):
        opened(tmp_path / "photos")


def test_pipes_are_left_out(tmp_path):
    root = messy.folder(tmp_path, {"cats": 5, "dogs": 5})
    messy.fifo(root / "cats" / "pipe.png")
    os.symlink("pipe.png", root / "cats" / "linked.png")
    data, names = opened(root)
    assert len(names) == 9 and sorted(data.left_out.special) == ["cats/linked.png", "cats/pipe.png"]
    assert "pipes, sockets and devices: cats/pipe.png, cats/linked.png" in data.left_out.lines()
