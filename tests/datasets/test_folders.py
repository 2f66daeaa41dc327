import shutil
import time

import numpy as np
import pytest
import torch
from examples import image_folder
from PIL import Image

from varlite.datasets import open_dataset
from varlite.datasets.folders import ImageFolder
from varlite.datasets.pixels import view


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).convert(mode).save(path)


@pytest.fixture
def mixed(tmp_path):
    """Every kind of file that people have, all of one colour."""
    colour = np.full((31, 45, 3), (200, 100, 50), np.uint8)
    save(tmp_path / "a" / "rgb.png", colour)
    save(tmp_path / "a" / "palette.png", colour, "P")
    save(tmp_path / "a" / "alpha.png", np.dstack([colour, np.full((31, 45), 255, np.uint8)]))
    save(tmp_path / "b" / "photo.jpeg", colour)
    save(tmp_path / "b" / "tall.png", colour.transpose(1, 0, 2).repeat(3, 0))
    save(tmp_path / "b" / "tiny.png", colour[:2, :3])
    for i in range(6):
        save(tmp_path / "c" / f"grey{i}.png", np.full((9 + i, 20), 130, np.uint8))
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_kind_and_size_are_converted(mixed, channels):
    splits = [ImageFolder(mixed, split, (12, 16), channels) for split in ("train", "test")]
    images = torch.cat([data.images(torch.arange(len(data.labels))) for data in splits])
    names = [path.rsplit("/", 1)[1] for data in splits for path in data.names]
    labels = torch.cat([data.labels for data in splits])
    assert images.shape == (12, channels, 12, 16) and images.dtype == torch.uint8
    assert splits[0].classes == ("a", "b", "c") and labels.bincount().tolist() == [3, 3, 6]
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    for name, image in zip(names, images, strict=True):
        expected = [130] * channels if name.startswith("grey") else [200, 100, 50] if channels == 3 else [grey]
        tolerance = 30 if name.startswith("palette") else 4
        assert (image.flatten(1).float() - torch.tensor(expected)[:, None]).abs().max() <= tolerance, name


def test_without_named_splits_every_tenth_image_is_for_testing(tmp_path):
    image_folder(tmp_path, per_class=15)
    train, test = (ImageFolder(tmp_path, split, (14, 14), 1) for split in ("train", "test"))
    assert len(train.labels) == 27 and len(test.labels) == 3
    assert not set(train.names) & set(test.names)
    assert set(test.labels.tolist()) == {0, 1}


@pytest.mark.parametrize("name", ["val", "test"])
def test_named_splits_are_taken_as_they_are_and_told_apart(tmp_path, name):
    image_folder(tmp_path / "train", per_class=5)
    image_folder(tmp_path / name, per_class=5)  # the very same files
    train, test = (ImageFolder(tmp_path, split, (14, 14), 1) for split in ("train", "test"))
    assert len(train.labels) == len(test.labels) == 10 and train.classes == test.classes == ("round", "square")
    assert all(path.startswith(f"{name}/") for path in test.names) and all(
        path.startswith("train/") for path in train.names
    )
    assert train.checksum != test.checksum


def test_the_checksum_notices_a_replaced_a_moved_and_an_added_image(tmp_path):
    image_folder(tmp_path, per_class=11)
    checksums = [ImageFolder(tmp_path, "train", (14, 14), 1).checksum for _ in range(2)]
    save(tmp_path / "round" / "001.png", np.zeros((30, 30), np.uint8))
    checksums.append(ImageFolder(tmp_path, "train", (14, 14), 1).checksum)
    (tmp_path / "round" / "001.png").rename(tmp_path / "square" / "101.png")
    checksums.append(ImageFolder(tmp_path, "train", (14, 14), 1).checksum)
    save(tmp_path / "square" / "102.png", np.zeros((30, 30), np.uint8))
    checksums.append(ImageFolder(tmp_path, "train", (14, 14), 1).checksum)
    assert checksums[0] == checksums[1] and len(set(checksums)) == 4


def test_a_train_folder_alone_gives_the_test_images_too(tmp_path):
    image_folder(tmp_path / "train", per_class=15)
    train, test = (ImageFolder(tmp_path, split, (14, 14), 1) for split in ("train", "test"))
    assert (len(train.names), len(test.names)) == (27, 3) and train.classes == test.classes == ("round", "square")


def test_a_class_may_be_called_train(tmp_path):
    image_folder(tmp_path, per_class=10, classes=("car", "train"))
    data = ImageFolder(tmp_path, "train", (14, 14), 1)
    assert data.classes == ("car", "train") and len(data.names) == 18
    shutil.rmtree(tmp_path / "car")
    with pytest.raises(ValueError, match=r"/train must hold one sub-folder of images for each class"):
        ImageFolder(tmp_path, "train", (14, 14), 1)


def test_labels_go_by_the_name_of_the_class_in_both_splits(tmp_path):
    image_folder(tmp_path / "train", per_class=2, classes=("a", "b"))
    image_folder(tmp_path / "val", per_class=2, classes=("b",))
    test = ImageFolder(tmp_path, "test", (14, 14), 1)
    assert test.classes == ("a", "b") and test.labels.tolist() == [1, 1]
    image_folder(tmp_path / "val", per_class=2, classes=("c",))
    with pytest.raises(ValueError, match=r"val has classes that .*train has not: c"):
        ImageFolder(tmp_path, "test", (14, 14), 1)


def test_images_lie_at_any_depth_and_what_is_hidden_or_no_image_is_left_alone(tmp_path):
    image_folder(tmp_path, per_class=3)
    for name in (".ipynb_checkpoints/0.png", "round/deep/er/z.PNG", "round/._000.png", "round/.hidden.png"):
        save(tmp_path / name, np.zeros((14, 14), np.uint8))
    (tmp_path / "round" / "Thumbs.db").write_text("")
    (tmp_path / "README.txt").write_text("")
    data = [ImageFolder(tmp_path, split, (14, 14), 1) for split in ("test", "train")]
    assert data[0].classes == ("round", "square")
    assert sorted(data[0].names + data[1].names) == sorted(
        [*(f"{name}/00{i}.png" for name in ("round", "square") for i in range(3)), "round/deep/er/z.PNG"]
    )


def test_the_order_does_not_depend_on_that_of_the_directory(tmp_path):
    for name in "cab":
        for i in (3, 1, 2):
            save(tmp_path / "train" / "x" / f"{name}{i}.png", np.zeros((4, 4), np.uint8))
    names = ImageFolder(tmp_path, "train", (4, 4), 1).names
    assert names == sorted(names) and len(names) == 8


def test_a_folder_that_cannot_be_a_dataset_is_refused_with_what_is_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither the name of a dataset \(fashion, cifar10, .*\) nor a folder"):
        open_dataset(str(tmp_path / "nothing"), "train", (14, 14), 1)
    with pytest.raises(ValueError, match="must hold one sub-folder of images for each class"):
        open_dataset(str(tmp_path), "train", (14, 14), 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"/a holds no images \(\.jpg, \.jpeg.*; left out: .* 1 \.txt"):
        open_dataset(str(tmp_path), "train", (14, 14), 1)
    save(tmp_path / "a" / "0.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="too few images to leave any for the test split"):
        open_dataset(str(tmp_path), "test", (14, 14), 1)
    with pytest.raises(ValueError, match="grey or RGB, the model wants 4 channels"):
        open_dataset(str(tmp_path), "test", (14, 14), 4)


# Random crops


def test_a_random_batch_depends_on_its_seed_and_indices_alone(tmp_path):
    image_folder(tmp_path, per_class=10, side=90)
    data, again = (ImageFolder(tmp_path, "train", (14, 14), 1) for _ in range(2))
    whole = data.images(torch.arange(18), crop_seed=7, flip=True)
    part = again.images(torch.tensor([17, 4, 4]), crop_seed=7, flip=True)
    assert torch.equal(part, whole[[17, 4, 4]])
    # Nine places, mirrored or not.
    assert (data.images(torch.arange(18), crop_seed=8, flip=True) != whole).flatten(1).any(1).sum() > 12
    assert (data.images(torch.arange(18)) != whole).flatten(1).any(1).sum() > 12


def test_as_published_large_jpegs_are_decoded_in_full_and_nothing_is_taken_as_it_is(tmp_path):
    r = np.random.RandomState(0)
    for name, side in (("large", 300), ("fits", 16)):
        (tmp_path / name).mkdir()
        for i in range(10):
            suffix = ".png" if name == "fits" else ".jpg"
            Image.fromarray(r.randint(0, 256, (side, side), np.uint8)).save(tmp_path / name / f"{i}{suffix}")
    ours, published = (open_dataset(str(tmp_path), "train", (16, 16), 1, as_published=p) for p in (False, True))
    rows = torch.arange(len(ours.labels))
    assert ours.checksum == published.checksum
    a, b = (x.images(rows) for x in (ours, published))
    assert (a != b).flatten(1).any(1).all()
    for i, name in enumerate(published.names):
        with Image.open(tmp_path / name) as image:
            assert torch.equal(b[i], view(image, (16, 16), i, None, False, enlarge=True))
            assert name.startswith("large") or torch.equal(a[i, 0], torch.from_numpy(np.array(image)))


# Files that cannot be read


def damage(path, how):
    whole = path.read_bytes()
    if how == "vanished":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "html": b"<html>not found</html>"}[how])


def train_folder(tmp_path, per_class):
    """All of it for training."""
    (tmp_path / "val").mkdir()
    return ImageFolder(image_folder(tmp_path / "train", per_class=per_class).parent, "train", (14, 14), 1)


@pytest.mark.parametrize("how", ["empty", "truncated", "html", "vanished"])
def test_an_unreadable_image_is_replaced_by_the_next_with_its_label_and_noted(tmp_path, how):
    data = train_folder(tmp_path, per_class=4)
    whole = data.images(torch.arange(8))
    for name in ("round/001.png", "round/003.png", "square/003.png"):
        damage(tmp_path / "train" / name, how)
    for _ in range(2):
        images = data.images(torch.arange(8))
        assert torch.equal(images, whole[[0, 2, 2, 4, 4, 5, 6, 0]])  # after the last comes the first
        assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    assert sorted(data.skipped) == ["train/round/001.png", "train/round/003.png", "train/square/003.png"]
    assert all(data.skipped.values())


def test_an_image_too_large_for_memory_is_skipped(tmp_path, monkeypatch):
    data = train_folder(tmp_path, per_class=2)
    save(tmp_path / "train" / "round" / "000.png", np.zeros((60, 60), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 14 * 14)
    images = data.images(torch.arange(4))
    assert torch.equal(images[0], images[1]) and "too large: Image size (3600" in data.skipped["train/round/000.png"]


def test_a_few_unreadable_images_among_many_are_no_reason_to_stop(tmp_path):
    data = train_folder(tmp_path, per_class=150)
    for i in range(0, 120, 10):
        damage(tmp_path / "train" / "round" / f"{i:03d}.png", "empty")
    for rows in torch.randperm(300, generator=torch.Generator().manual_seed(0)).split(60):
        data.images(rows)
    assert len(data.skipped) == 12


def test_a_tenth_of_a_small_folder_may_be_broken(tmp_path):
    data = train_folder(tmp_path, per_class=50)
    for i in range(10):
        damage(tmp_path / "train" / "square" / f"{5 * i:03d}.png", "truncated")
    for _ in range(3):
        data.images(torch.arange(100))
    assert len(data.skipped) == 10


def test_a_class_that_is_broken_as_a_whole_is_replaced_from_all_over_unless_it_is_a_large_share(tmp_path, monkeypatch):
    data = train_folder(tmp_path, per_class=40)
    monkeypatch.setattr(ImageFolder, "IN_A_ROW", 20)
    for i in range(30):
        damage(tmp_path / "train" / "round" / f"{i:03d}.png", "truncated")
    with pytest.raises(
        OSError, match=r"of 20 images, evenly spread, from .*, most of them in train/round \(\d+\): train/r"
    ):
        data.images(torch.arange(30))
    data = ImageFolder(tmp_path, "train", (14, 14), 1, unreadable=0.5)
    assert data.images(torch.arange(30)).shape == (30, 1, 14, 14)
    assert len(data.skipped) == 30
    with pytest.raises(ValueError, match=r"unreadable must be a share from 0 to 1, got 5"):
        ImageFolder(tmp_path, "train", (14, 14), 1, unreadable=5)


def test_an_image_that_was_unreadable_for_a_moment_is_used_again_with_its_own_label(tmp_path):
    data = train_folder(tmp_path, per_class=4)
    whole = data.images(torch.arange(8))
    path = tmp_path / "train" / "round" / "003.png"
    path.rename(tmp_path / "elsewhere")
    assert torch.equal(data.images(torch.tensor([3]))[0], whole[4]) and data.labels[3] == 1
    assert data.retry(data.skipped).tolist() == []
    (tmp_path / "elsewhere").rename(path)
    assert data.retry(["train/round/003.png", "other.png"]).tolist() == [3]
    assert torch.equal(data.images(torch.tensor([3]))[0], whole[3]) and data.labels[3] == 0 and not data.skipped


def test_a_disk_that_went_away_stops_the_training(tmp_path):
    data = train_folder(tmp_path, per_class=30)
    data.images(torch.arange(60))
    for i in range(0, 30, 2):
        damage(tmp_path / "train" / "square" / f"{i:03d}.png", "vanished")
    data.images(torch.arange(60))
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(
        OSError, match=r"60 images in a row .* cannot be read.* \(No such file or directory\).*restored"
    ):
        data.images(torch.arange(5))


def test_a_hundred_thousand_images_are_listed_in_seconds(tmp_path):
    """None is opened for the list. Here two thousand, in less than one."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(1000):
            (tmp_path / name / f"{i:05d}.jpg").touch()
    start = time.monotonic()
    assert len(ImageFolder(tmp_path, "train", (14, 14), 1).names) == 1800
    assert time.monotonic() - start < 1


def test_every_class_keeps_an_image_to_train_on(tmp_path):
    for i in range(30):
        save(tmp_path / f"c{i}" / "only.png", np.zeros((4, 4), np.uint8))
    train = ImageFolder(tmp_path, "train", (4, 4), 1)
    assert train.labels.tolist() == list(range(30))
    with pytest.raises(ValueError, match="too few images to leave any for the test split"):
        ImageFolder(tmp_path, "test", (4, 4), 1)


def test_the_same_images_elsewhere_have_the_same_checksum(tmp_path):
    image_folder(tmp_path / "photos", per_class=11)
    shutil.copytree(tmp_path / "photos", tmp_path / "scratch" / "photos")
    names = ["photos", "photos/", "./photos", "scratch", "scratch/photos"]
    sums = {split: {ImageFolder(f"{tmp_path}/{name}", split, (4, 4), 1).checksum for name in names}
            for split in ("train", "test")}  # fmt: skip
    assert len(sums["train"]) == len(sums["test"]) == 1 and sums["train"] != sums["test"]
    (tmp_path / "photos" / "round").rename(tmp_path / "photos" / "bowls")
    assert ImageFolder(tmp_path / "photos", "train", (4, 4), 1).checksum not in sums["train"]
