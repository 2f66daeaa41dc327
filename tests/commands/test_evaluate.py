import json

import numpy as np
import pytest

from varlite.evaluation.small_models import default_num


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x"], "no checkpoint at x"),
        (["--num", "1000000000000000"], "num: the features of 1,000,000,000,000,000 images take 512,000,000 GB"),
        (["--num", "2001"], "num must be a multiple of the 10 classes"),
        (["--num=-10"], "num must be at least 1, got -10"),
        (["--cfg", "nan"], "cfg must be 0 or more"),
        (["--cfg", "1e38"], "at most 1,000,000"),
        (["--top-k", "100000"], "top_k must be an integer"),
        (["--weights", "a-file"], "weights: only the published models take it"),
        (["--images", "a-file"], "images: a-file"),
        (["--out", "/dev/null"], "out: /dev/null is a device or pipe, and an ordinary file is needed there"),
        (["--out", "."], "out: . is a folder, and a file is needed there"),
        (["--out", "a-file/scores.json"], "out: a-file is a file, and a folder is needed there"),
        (["--model", "fashion-vq", "--out", "."], "out: . is a folder"),
        (["--samples", "a-file"], "samples: a-file is a file, and a folder is needed there"),
        (["--samples", "a-folder.npz"], "samples: a-folder.npz is a folder, and a file is needed there"),
        (["--images", "nothing"], "images: nothing"),
        (["--reference", "nothing"], "reference: nothing"),
        (["--images", "fashion", "--samples", "out"], "samples are written of a model"),
        (["--num", "0"], "num must be at least 1, got 0"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--top-p", "2"], "top_p must lie in 0 (off) .. 1, got 2.0"),
        (["--device", "mps"], "device: there is no mps here"),
        (["--metrics", "fid"], "metrics: with the features fashion there are"),
        (["--card", "--reference", "fashion-train"], "card: it holds the default metrics"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_any_work(refused, tmp_path, arguments, message):
    (tmp_path / "a-folder.npz").mkdir()
    refused(["evaluate", *arguments], message)


def test_a_card_that_cannot_be_written_is_refused_before_any_work(refused, tmp_path, trained):
    (tmp_path / "var").mkdir()
    for name in ("model.safetensors", "tokenizer.safetensors"):
        (tmp_path / "var" / name).symlink_to(trained / "var" / name)
    (tmp_path / "var" / "card.json").mkdir()
    refused(["evaluate", "--model", "var", "--card"], "card: var/card.json is a folder, and a file is needed there")


def test_a_cache_that_is_a_file_is_named(refused, monkeypatch):
    monkeypatch.setenv("VARLITE_CACHE", "a-file")
    refused(["evaluate"], "VARLITE_CACHE: a-file is a file")


def test_any_seed_that_samples_can_have_is_taken_for_an_npz(varlite, cache, tmp_path):
    seed = 2**70 + 1
    words = ["evaluate", "--num", 20, "--seed", seed, "--metrics", "accuracy", "--device", "cpu"]
    status, _, err = varlite(*words, "--samples", "x.npz", "--out", "a.json")
    assert status == 0, err
    with np.load(tmp_path / "x.npz") as file:
        assert np.bincount(file["arr_1"]).tolist() == [2] * 10
    assert json.loads((tmp_path / "a.json").read_text())["settings"]["seed"] == seed


def test_the_number_of_samples_is_by_default_one_that_the_classes_divide():
    assert [default_num(classes) for classes in (1, 9, 10, 1000, 3000)] == [2000, 1998, 2000, 2000, 6000]
