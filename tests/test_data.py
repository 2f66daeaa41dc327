import gzip
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import image_folder

from varlite.data import DATA, FASHION_FILES, FashionMNIST, ImageFolder, batch_indices, open_dataset, to_bytes, to_float


@pytest.fixture
def copy(tmp_path):
    """A copy of the test split."""
    for name in (*FASHION_FILES["test"], "SHA256SUMS"):
        shutil.copy(DATA / "fashion-mnist" / name, tmp_path)
    return tmp_path


# Fashion-MNIST


def test_the_test_split_is_that_of_the_paper(copy):
    data = FashionMNIST("test", copy)
    assert data.all_images.shape == (10_000, 1, 28, 28) and data.all_images.dtype == torch.uint8
    assert data.labels.bincount().tolist() == [1000] * 10 and len(data.classes) == 10
    assert data.labels[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
    assert abs(data.all_images.float().mean() / 255 - 0.2868) < 1e-4
    indices = torch.tensor([7, 3, 7])
    assert torch.equal(data.images(indices), data.all_images[indices])


def test_a_missing_file_is_named_with_the_ways_to_get_it(copy):
    (copy / FASHION_FILES["test"][1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels.* is missing.*git checkout data.*VARLITE_DATA"):
        FashionMNIST("test", copy)
    with pytest.raises(FileNotFoundError, match="train-images"):
        FashionMNIST("train", copy)


def test_a_changed_file_is_noticed_when_it_is_read(copy):
    path = copy / FASHION_FILES["test"][1]
    labels = bytearray(gzip.decompress(path.read_bytes()))
    labels[100] ^= 1
    path.write_bytes(gzip.compress(bytes(labels)))
    data = FashionMNIST("test", copy)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is damaged: its SHA-256 is \w+, expected \w+"):
        data.labels  # noqa: B018
    assert len(data.all_images) == 10_000  # the other file is whole
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is damaged"):
        FashionMNIST("test", copy).labels  # noqa: B018


def test_bytes_survive_the_way_to_floats_and_back():
    img = torch.arange(256, dtype=torch.uint8)
    x = to_float(img)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_bytes((x + 1) / 2), img)
    assert to_bytes(torch.tensor([-0.2, 0.0019, 0.002, 1.3])).tolist() == [0, 0, 1, 255]


def test_a_named_dataset_of_another_size_or_split_is_refused():
    with pytest.raises(ValueError, match="fashion has 1 x 28 x 28 images, the model wants 3 x 256 x 256"):
        open_dataset("fashion", "train", (256, 256), 3)
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        open_dataset("fashion", "val", (28, 28), 1)


# The order of training


@pytest.mark.parametrize(("n", "batch"), [(60, 12), (61, 12), (5, 8), (1, 1)])
def test_a_pass_visits_every_example_at_most_once_and_leaves_out_less_than_a_batch(n, batch):
    steps = n // min(batch, n)
    for epoch in range(3):
        visited = torch.cat([batch_indices(n, batch, epoch * steps + i, seed=1) for i in range(steps)])
        assert len(visited.unique()) == len(visited) > n - min(batch, n)


def test_a_batch_depends_on_its_arguments_alone():
    first = [batch_indices(60, 12, step, seed=1) for step in range(20)]
    again = {step: batch_indices(60, 12, step, seed=1) for step in (19, 0, 7, 3)}
    assert all(torch.equal(first[step], batch) for step, batch in again.items())
    assert not torch.equal(first[0], first[5])  # the next pass has another order
    assert not torch.equal(first[0], batch_indices(60, 12, 0, seed=2))


# Folders of images


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
    names = [path.rsplit("/", 1)[1] for data in splits for path in data.paths]
    labels = torch.cat([data.labels for data in splits])
    assert images.shape == (12, channels, 12, 16) and images.dtype == torch.uint8
    assert splits[0].classes == ("a", "b", "c") and labels.bincount().tolist() == [3, 3, 6]
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    for name, image in zip(names, images, strict=True):
        expected = [130] * channels if name.startswith("grey") else [200, 100, 50] if channels == 3 else [grey]
        tolerance = 30 if name.startswith("palette") else 4
        assert (image.flatten(1).float() - torch.tensor(expected)[:, None]).abs().max() <= tolerance, name


def test_an_image_keeps_its_proportions_and_loses_a_margin(tmp_path):
    x = np.linspace(0, 255, 90).astype(np.uint8)
    save(tmp_path / "a" / "0.png", np.tile(x, (90, 1)))
    (image,) = ImageFolder(tmp_path, "test", (16, 16), 1).images(torch.tensor([0]))
    ramp = image[0, 0].float() / 255
    assert (image[0] == image[0, :1]).all()
    # 16 of 18 columns, so a margin of a ninth is cut.
    torch.testing.assert_close(ramp, (torch.arange(16) + 1.5) / 18, atol=0.02, rtol=0)


def test_without_named_splits_every_tenth_image_is_for_testing(tmp_path):
    image_folder(tmp_path, per_class=15)
    train, test = (ImageFolder(tmp_path, split, (14, 14), 1) for split in ("train", "test"))
    assert len(train.labels) == 27 and len(test.labels) == 3
    assert not set(train.paths) & set(test.paths)
    assert set(test.labels.tolist()) == {0, 1}


@pytest.mark.parametrize("name", ["val", "test"])
def test_named_splits_are_taken_as_they_are_and_told_apart(tmp_path, name):
    image_folder(tmp_path / "train", per_class=5)
    image_folder(tmp_path / name, per_class=5)  # the very same files
    train, test = (ImageFolder(tmp_path, split, (14, 14), 1) for split in ("train", "test"))
    assert len(train.labels) == len(test.labels) == 10 and train.classes == test.classes == ("round", "square")
    assert all(f"/{name}/" in path for path in test.paths) and all("/train/" in path for path in train.paths)
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


def test_a_folder_that_cannot_be_a_dataset_is_refused_with_what_is_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither the name of a dataset \(fashion\) nor a folder"):
        open_dataset(str(tmp_path / "nothing"), "train", (14, 14), 1)
    with pytest.raises(ValueError, match="must hold one sub-folder of images for each class"):
        open_dataset(str(tmp_path), "train", (14, 14), 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="must hold one sub-folder of images for each class"):
        open_dataset(str(tmp_path), "train", (14, 14), 1)
    save(tmp_path / "a" / "0.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="too few images to leave any for the train split"):
        open_dataset(str(tmp_path), "train", (14, 14), 1)
    with pytest.raises(ValueError, match="grey or RGB, the model wants 4 channels"):
        open_dataset(str(tmp_path), "test", (14, 14), 4)


def test_a_file_that_is_no_image_is_named_when_it_is_read(tmp_path):
    image_folder(tmp_path, per_class=3)
    (tmp_path / "round" / "001.png").write_text("<html>")
    data = open_dataset(str(tmp_path), "train", (14, 14), 1)
    with pytest.raises(OSError, match=r"round/001\.png"):
        data.images(torch.arange(3))
