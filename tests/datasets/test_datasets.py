import gzip
import hashlib
import pickle
import re
import shutil

import numpy as np
import pytest
import torch

from varlite.datasets import open_dataset
from varlite.datasets.batches import ahead, batch_indices, rows_across
from varlite.datasets.cifar import CIFAR10
from varlite.datasets.fashion import FASHION_FILES, FashionMNIST
from varlite.datasets.pixels import to_bytes, to_float
from varlite.io.places import DATA


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


@pytest.mark.parametrize(("size", "channels"), [((28, 28), 3), ((32, 32), 3), ((20, 40), 1)])
def test_a_named_dataset_takes_the_size_and_channels_of_the_model(size, channels):
    data, native = open_dataset("fashion", "test", size, channels), open_dataset("fashion", "test", (28, 28), 1)
    rows = torch.tensor([3, 0, 3])
    images = data.images(rows)
    assert images.shape == (3, channels, *size) and images.dtype == torch.uint8
    assert (images == images[:, :1]).all() and torch.equal(images[0], images[2])
    assert data.checksum == native.checksum and torch.equal(data.labels, native.labels)
    if size == (28, 28):
        assert torch.equal(images[:, :1], native.images(rows))


def test_images_that_fit_are_never_resampled_only_mirrored():
    data = open_dataset("fashion", "test", (28, 28), 1)
    rows = torch.arange(40)
    plain = data.images(rows)
    assert torch.equal(data.images(rows, crop_seed=3), plain)
    flipped = data.images(rows, crop_seed=3, flip=True)
    mirrored = [torch.equal(b, a.flip(-1)) for a, b in zip(plain, flipped, strict=True)]
    assert 8 < sum(mirrored) < 32
    kept = ~torch.tensor(mirrored)
    assert torch.equal(flipped[kept], plain[kept])


def test_as_published_even_images_that_fit_are_enlarged_and_cut():
    rows = torch.arange(3)
    ours, published = (open_dataset("fashion", "test", (28, 28), 1, as_published=p).images(rows) for p in (False, True))
    larger = torch.nn.functional.interpolate(ours.float(), (32, 32), mode="bicubic", antialias=True)[..., 2:30, 2:30]
    assert (published.float() - larger).abs().mean() < 4 and (published.float() - ours).abs().mean() > 8


def test_a_dataset_refuses_what_it_cannot_give():
    with pytest.raises(ValueError, match="read as grey or RGB, the model wants 4 channels"):
        open_dataset("fashion", "train", (28, 28), 4)
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        open_dataset("fashion", "val", (28, 28), 1)
    with pytest.raises(ValueError, match="flip mirrors at random and needs a crop_seed"):
        open_dataset("fashion", "test", (28, 28), 1).images(torch.arange(2), flip=True)


# CIFAR-10, of twenty images


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10 as Files

    r, folder = np.random.RandomState(0), tmp_path / "root" / Files.base_folder
    folder.mkdir(parents=True)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    pixels = r.randint(0, 256, (20, 3, 32, 32)).astype(np.uint8)
    for listed, part in (("train_list", slice(0, 15)), ("test_list", slice(15, 20))):
        content = {"data": pixels[part].reshape(-1, 3072), "labels": list(range(10))[: len(pixels[part])]}
        content["labels"] += [0] * (len(pixels[part]) - len(content["labels"]))
        monkeypatch.setattr(Files, listed, [write(listed, content)])
    name, md5 = write("batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(Files, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return tmp_path / "root", torch.from_numpy(pixels)


def test_cifar10_is_read_from_where_torchvision_keeps_it(cifar):
    root, pixels = cifar
    train, test = (CIFAR10(split, root) for split in ("train", "test"))
    assert torch.equal(train.images(torch.arange(15)), pixels[:15]) and torch.equal(test.all_images, pixels[15:])
    assert train.labels.tolist() == [*range(10), 0, 0, 0, 0, 0] and train.classes[3] == "class 3"
    assert train.checksum != test.checksum == CIFAR10("test", root).checksum
    grey = CIFAR10("test", root, (16, 16), 1).images(torch.tensor([1]))
    assert grey.shape == (1, 1, 16, 16)


def test_cifar10_that_cannot_be_fetched_says_what_to_put_where(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10 as Files

    monkeypatch.setattr(Files, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nobody answers there
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path))
    expected = (
        rf"not in {tmp_path}/data and cannot be fetched .*Put cifar-10-python.tar.gz of https://.* there, MD5 c58f"
    )
    with pytest.raises(FileNotFoundError, match=expected):
        open_dataset("cifar10", "train", (32, 32), 3)


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
    for seed in (2**63 - 1, -(2**63)):  # whatever a seed may be
        assert batch_indices(60, 12, 7, seed=seed).unique().numel() == 12


# Drawing ahead


def test_drawing_ahead_gives_what_drawing_gives_in_any_order_and_no_more():
    drawn = []
    draw = ahead(lambda step: drawn.append(step) or step * step, 6)
    assert [draw(step) for step in (2, 3, 4, 1, 5)] == [4, 9, 16, 1, 25]
    assert sorted(drawn) == [1, 2, 2, 3, 4, 5, 5]  # 5 ahead of 1, where it was no use, and 2 after it


def test_what_goes_wrong_ahead_is_raised_when_it_is_its_turn():
    draw = ahead(lambda step: 1 // (1 - step), 3)
    assert draw(0) == 1
    with pytest.raises(ZeroDivisionError):
        draw(1)


def test_of_data_that_lie_class_after_class_every_class_is_looked_at():
    assert rows_across(torch.tensor([1, 0, 2, 1, 0]), 3).tolist() == [0, 1, 2]
    assert rows_across(torch.arange(4).repeat_interleave(100), 8).tolist() == [0, 57, 114, 171, 228, 285, 342, 399]
    assert rows_across(torch.tensor([1] * 50 + [0] * 50), 3).tolist() == [0, 49, 99]  # in another order than theirs
    assert rows_across(torch.arange(4), 10).tolist() == [0, 1, 2, 3]
