import numpy as np
import pytest
import torch
from metrics import noise_images, write_pngs
from PIL import Image

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation.image_sources import Folder, Npz, Split, open_images
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate


def test_images_of_two_sizes_and_damaged_ones_are_named(cache, tmp_path):
    folder = write_pngs(tmp_path / "images", FashionMNIST("test").all_images[:5])
    Image.new("L", (20, 28)).save(folder / "other.png")
    with pytest.raises(ValueError, match=r"other.png is 28 x 20, 00000.png is 28 x 28: all images must have one size"):
        evaluate(Request(images=str(folder), features="fashion", metrics=("fd",)))
    (folder / "other.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"other.png cannot be read: not an image"):
        evaluate(Request(images=str(folder), features="fashion", metrics=("fd",)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read_a_batch_at_a_time_in_any_order_of_batches(tmp_path, save):
    images = noise_images(20, side=9)
    save(tmp_path / "a.npz", arr_0=images.permute(0, 2, 3, 1).numpy(), arr_1=np.arange(20))
    npz = Npz(tmp_path / "a.npz")
    assert len(npz) == 20 and npz.size == (9, 9) and npz.channels == 3 and npz.statistics == {}
    for rows in (slice(0, 7), slice(14, 20), slice(7, 14)):
        assert torch.equal(npz.batch(rows), images[rows])


@pytest.mark.parametrize(
    "arrays", [{"arr_0": np.zeros((2, 3))}, {"arr_0": np.zeros((2, 4, 4, 3))}, {"other": np.zeros(1)}]
)
def test_an_npz_of_something_else_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"a.npz is not an npz of ADM's evaluator"):
        Npz(tmp_path / "a.npz")


def test_only_the_exact_name_of_a_data_set_opens_it_and_a_folder_may_begin_like_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pngs(tmp_path / "fashion-photos", noise_images(3))
    assert isinstance(open_images("reference", "fashion-photos", 3), Folder)
    assert isinstance(open_images("reference", "fashion", 1), Split)
    assert Request(reference="fashion-photos").chosen_features() == "inception"
    assert Request(reference="fashion-train").chosen_features() == "fashion"


def test_classes_are_counted_by_sub_folder_by_file_name_or_by_the_labels_of_an_npz(tmp_path):
    for name, count in (("cat", 3), ("dog", 1)):
        write_pngs(tmp_path / "tree" / name, noise_images(count))
    assert Folder(tmp_path / "tree", 3).class_counts == {"cat": 3, "dog": 1}
    flat = write_pngs(tmp_path / "flat", noise_images(3))
    assert Folder(flat, 3).class_counts == {}
    for i, path in enumerate(sorted(flat.iterdir())):
        path.rename(flat / f"{i % 2:04d}_{i:05d}.png")
    assert Folder(flat, 3).class_counts == {"0000": 2, "0001": 1}
    np.savez(tmp_path / "a.npz", arr_0=np.zeros((3, 4, 4, 3), np.uint8), arr_1=np.array([2, 0, 2]))
    assert Npz(tmp_path / "a.npz").class_counts == {"0": 1, "1": 0, "2": 2}
    assert set(Split("fashion").class_counts.values()) == {1000}


@pytest.mark.parametrize(
    ("mu", "sigma", "complaint"),
    [
        (np.full(4, np.nan), np.eye(4), "mu or sigma holds NaN or infinity"),
        (np.zeros(4), np.ones(4), r"mu must be numbers \(X,\) and sigma \(X, X\), got float64 \(4,\) and \(4,\)"),
        (np.zeros(()), np.zeros(()), r"mu must be numbers \(X,\)"),
        (np.zeros(4, int), np.eye(4), r"mu must be numbers \(X,\) and sigma \(X, X\), got int64"),
    ],
)
def test_statistics_that_are_none_are_refused_before_anything_is_scored(tmp_path, mu, sigma, complaint):
    np.savez(tmp_path / "a.npz", mu=mu, sigma=sigma)
    with pytest.raises(ValueError, match=rf"a.npz is not an npz of ADM's evaluator \({complaint}"):
        Npz(tmp_path / "a.npz")
