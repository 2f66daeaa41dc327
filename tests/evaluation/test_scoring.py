"""`varlite evaluate`: one flow from images to scores, in constant memory, that a kill does not change."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from metrics import noise_images, write_pngs, write_reference
from PIL import Image

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation import samples
from varlite.evaluation.features import extract, open_extractor
from varlite.evaluation.image_sources import Npz
from varlite.evaluation.scoring import Request, evaluate, evaluate_any
from varlite.evaluation.small_models import Scorer, class_balanced, reconstruct
from varlite.io.files import save_model, sha256

QUICK = ("accuracy", "fd", "precision", "recall")
MEASURE = """
import sys
from pathlib import Path
from varlite.evaluation.scoring import Request, evaluate
model, num, out = sys.argv[1:]
evaluate(Request(model, metrics=("accuracy", "fd", "precision", "recall", "kd"), num=int(num)), Path(out))
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A folder with an untrained model of 28 x 28 in ten classes."""
    folder = tmp_path_factory.mktemp("small")
    net = {"multipliers": (1, 1, 1), "encoder_blocks": (0, 0, 1), "decoder_blocks": (0, 0, 1)}
    tokenizer = tiny.tiny_tokenizer(scales=[1, 2, 7], **net)
    model = tiny.lively_var(scales=[1, 2, 7])
    for name, kind, module in (("tokenizer", "tokenizer", tokenizer), ("model", "var", model)):
        about = {"kind": kind, "config": asdict(module.config), "tokenizer": "none"}
        save_model(folder / f"{name}.safetensors", about, module.state_dict())
    return folder


def request(small, **changes):
    return Request(**{"model": str(small), "num": 120, "metrics": QUICK, "batch": 16} | changes)


def scores(result):
    return {name: value for name, value in result["scores"].items() if name != "seconds_per_image"}


def left(cache):
    """Folders of evaluations that are not finished: those of references stay, without samples."""
    plans = [json.loads(path.read_text()) for path in cache.glob("evaluate-*/plan.json")]
    return [plan for plan in plans if "seed" in plan]


def test_an_evaluation_repeated_gives_identical_numbers_and_leaves_nothing_behind(small, cache, tmp_path):
    first, again = (evaluate(request(small), tmp_path / f"{i}.json") for i in range(2))
    assert scores(first) == scores(again) and left(cache) == []
    assert scores(evaluate(request(small, seed=1))) != scores(first)
    record = json.loads((tmp_path / "0.json").read_text())
    assert record["scores"] == first["scores"] and record["settings"]["seed"] == 0
    assert record["weights_sha256"] == sha256(small / "model.safetensors")
    assert record["reference"] == {"name": "fashion", "sha256": FashionMNIST("test").checksum, "num": 10_000}
    assert {"torch", "torch_fidelity", "varlite", "numpy"} <= record["versions"].keys()
    assert len(record["features"]["sha256"]) == len(record["tokenizer_sha256"]) == 64
    assert record["command"].startswith(f"varlite evaluate --model {small} --num 120 --seed 0 --cfg 1.5")
    assert "--metrics accuracy fd precision recall" in record["command"] and "--batch 16" in record["command"]


@pytest.mark.parametrize("seed", range(3))
def test_broken_off_at_any_point_it_ends_with_the_same_numbers(small, cache, monkeypatch, seed):
    unbroken = evaluate(request(small))
    made, stop = [], sorted(random.Random(seed).sample(range(8), 2))
    generate = samples.generate

    def fragile(*arguments, **settings):
        made.append(arguments[2])
        if len(made) - 1 in stop:
            raise KeyboardInterrupt
        return generate(*arguments, **settings)

    monkeypatch.setattr(samples, "generate", fragile)
    for _ in stop:
        with pytest.raises(KeyboardInterrupt):
            evaluate(request(small))
    assert len(left(cache)) == 1
    assert scores(evaluate(request(small))) == scores(unbroken)
    assert len(made) == 8 + len(stop)  # no finished batch was made again


def finished(small, out, *arguments, launch=(), **environment):
    """The record that a command in a process of its own leaves in `out`."""
    process = in_a_process(small, out, *arguments, launch=launch, **environment)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return json.loads(out.read_text())


def in_a_process(small, out, *arguments, launch=(), **environment):
    command = [sys.executable, *launch, *(() if launch else ("-m",)), "varlite", "evaluate", "--model", str(small)]
    command += [
        "--num",
        "120",
        "--batch",
        "4",
        "--metrics",
        *QUICK,
        "--device",
        "cpu",
        "--out",
        str(out),
        *map(str, arguments),
    ]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_killed_at_a_random_point_and_run_again_it_ends_with_the_same_numbers(small, cache, tmp_path):
    # In a process, too: with another number of threads the last digits are others.
    unbroken, out = finished(small, tmp_path / "unbroken.json", VARLITE_CACHE=str(cache)), tmp_path / "scores.json"
    running = in_a_process(small, out, VARLITE_CACHE=str(cache))
    enough = random.Random().randint(1, 20)
    for _ in range(2000):
        seconds = [np.fromfile(path.with_name("seconds")) for path in cache.glob("evaluate-*/plan.json")
                   if "seed" in json.loads(path.read_text())]  # fmt: skip
        if (seconds and np.count_nonzero(seconds[0]) >= enough) or running.poll() is not None:
            break
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not out.exists() and len(left(cache)) == 1
    assert scores(finished(small, out, VARLITE_CACHE=str(cache))) == scores(unbroken)


@pytest.mark.slow
def test_two_processes_give_the_numbers_and_the_samples_of_one(small, cache, tmp_path):
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "--"]
    one, two = (
        finished(
            small,
            tmp_path / f"{name}.json",
            "--samples",
            tmp_path / f"{name}.npz",
            launch=how,
            VARLITE_CACHE=str(cache),
        )
        for name, how in (("one", ()), ("two", launch))
    )
    assert scores(two) == scores(one) and (one["processes"], two["processes"]) == (1, 2)
    a, b = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert all((a[name] == b[name]).all() for name in ("arr_0", "arr_1"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(small, cache, tmp_path):
    peak = {}
    for num in (200, 3000):
        out = tmp_path / f"{num}.json"
        environment = os.environ | {"VARLITE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", MEASURE, str(small), str(num), str(out)], env=environment, check=True)
        peak[num] = json.loads(out.read_text())["peak_memory"]
    assert peak[3000] < 2e9 and peak[3000] - peak[200] < 100e6


# Samples on the way


def test_samples_are_kept_as_png_files_that_score_the_same(small, cache, tmp_path):
    kept = evaluate(request(small, samples=tmp_path / "png"))
    assert scores(kept) == scores(evaluate(request(small)))
    assert len(list((tmp_path / "png").glob("*.png"))) == 120 and (tmp_path / "png" / "0009_00011.png").exists()
    again = evaluate(Request(images=str(tmp_path / "png"), features="fashion", metrics=("fd",)))
    assert again["scores"]["fd"] == pytest.approx(kept["scores"]["fd"], rel=1e-5)
    assert again["num"] == 120 and again["images"] == str(tmp_path / "png") and again["settings"] == {}


def test_samples_for_adm_are_rgb_and_shuffled_with_their_labels(small, cache, tmp_path):
    evaluate(request(small, samples=tmp_path / "png"))
    evaluate(request(small, samples=tmp_path / "samples.npz"))
    with np.load(tmp_path / "samples.npz") as file:
        images, labels = file["arr_0"], file["arr_1"]
    assert images.shape == (120, 28, 28, 3) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [12] * 10 and (np.diff(labels) != 0).sum() > 60
    assert not (labels == np.arange(120) % 10).all()
    files = {np.asarray(Image.open(path)).tobytes(): int(path.name[:4]) for path in (tmp_path / "png").iterdir()}
    assert [files[img[..., 1].tobytes()] for img in images] == labels.tolist()


# References


@pytest.mark.slow
def test_a_reference_of_adm_gives_the_scores_of_the_images_it_is_made_of(tmp_path, cache, inception):
    fake, real = noise_images(8, seed=1), noise_images(8)
    extractor = open_extractor("inception", ("pool", "spatial"), inception)
    rows = extract(extractor, real)
    npz = write_reference(tmp_path / "reference.npz", real, rows["pool"], rows["spatial"])
    folders = [write_pngs(tmp_path / name, images) for name, images in (("fake", fake), ("real", real))]
    with np.load(npz) as whole:
        np.savez(tmp_path / "statistics.npz", **{name: whole[name] for name in whole.files if name != "arr_0"})
    of = {"images": str(folders[0]), "inception": inception, "metrics": ("fid", "sfid", "kid", "precision", "recall")}
    from_folder = evaluate(Request(reference=str(folders[1]), **of))["scores"]
    from_npz = evaluate(Request(reference=str(npz), **of))["scores"]
    for name, value in from_folder.items():
        assert from_npz[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
    assert from_folder["fid"] > 0.1 and from_folder["sfid"] > 0.1
    with pytest.raises(ValueError, match=r"metrics: no kid: .*statistics.npz holds neither images nor statistics"):
        evaluate(Request(reference=str(tmp_path / "statistics.npz"), **of))


def test_a_folder_is_a_reference_for_small_images_too(cache, tmp_path):
    images = FashionMNIST("test").all_images
    a, b = write_pngs(tmp_path / "a", images[:60]), write_pngs(tmp_path / "b", images[60:160])
    result = evaluate(Request(images=str(a), reference=str(b), features="fashion"))
    assert result["scores"].keys() == {"fd", "precision", "recall"} and "fid" not in json.dumps(result["scores"])
    same = evaluate(Request(images=str(a), reference=str(a), features="fashion", metrics=("fd", "precision", "kd")))
    assert abs(same["scores"]["fd"]) < 1e-3 and same["scores"]["precision"] == 1
    assert len(result["images_sha256"]) == len(result["reference"]["sha256"]) == 64
    assert result["images_sha256"] == same["reference"]["sha256"] != result["reference"]["sha256"]


def test_jpeg_files_are_counted_in_the_record(cache, tmp_path):
    folder = write_pngs(tmp_path / "jpeg", FashionMNIST("test").all_images[:20], "jpg")
    result = evaluate(Request(images=str(folder), features="fashion", metrics=("fd",)))
    assert result["lossy_images"] == 20


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num": 125}, "num must be a multiple of the 10 classes and at least 20, got 125"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"cfg": -1.0}, "cfg must be 0 or more"),
        ({"metrics": ("fid",)}, "the features fashion there are accuracy, .*; fid takes the features inception"),
        ({"num": 30, "metrics": ("recall_within_class",)}, "it takes more than 3 images of each class"),
        ({"reference": "nothing"}, "reference: nothing is neither a folder nor an .npz file nor one of fashion"),
        ({"reference": "empty"}, "reference: empty holds no images"),
        ({"reference": "text"}, "reference: text is not an npz of ADM's evaluator"),
        ({"features": "vgg"}, "features must be inception or fashion, got 'vgg'"),
        ({"images": "empty"}, "images: empty holds no images"),
        ({"images": "images", "metrics": ("precision",)}, "it takes at least 4 images, and there are 3"),
        ({"images": "images", "samples": Path("x")}, "samples are written of a model"),
        ({"images": "images", "metrics": ("accuracy",)}, "no accuracy: the classes of the images are not known"),
        ({"images": "images", "metrics": ("fd_ratio",)}, "no fd_ratio: it is of a model, and of the reference fashion"),
        ({"images": "images", "metrics": ("fd",)}, "takes grey 28 x 28, the images have 1 channels of 10 x 10"),
        ({"reference": "statistics.npz", "features": "fashion"}, "statistics in .* are of 5 features, fash.* 128"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_before_the_first_image(small, cache, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no npz")
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(5), sigma=np.eye(5))
    write_pngs(tmp_path / "images", noise_images(3, side=10)[:, :1])
    monkeypatch.setattr(samples, "generate", lambda *a, **k: pytest.fail("an image was made"))
    if "statistics" in str(changes):
        changes = changes | {"metrics": ("fd",)}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate(request(small, **changes))


def test_the_scores_go_on_the_card_with_the_command_that_made_them(varlite, small, cache, tmp_path):
    shutil.copytree(small, tmp_path / "mine")
    (tmp_path / "mine" / "card.json").write_text('{"training": {"seed": 3}}')
    status, out, err = varlite("evaluate", "--model", "mine", "--num", 100, "--card", "--out", "a/scores.json")
    assert status == 0, err
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    assert card["training"] == {"seed": 3}
    assert card["scores_command"] == "varlite evaluate --model mine --num 100 --seed 0 --cfg 1.5 --top-k 0 --top-p 0.96"
    assert list(card["scores"]) == [
        "accuracy", "fd", "precision", "recall", "recall_within_class", "fd_ratio", "reconstruction_accuracy",
        "reconstruction_fd", "reconstruction_recall_within_class", "num", "seed", "seconds_per_image",
    ]  # fmt: skip
    result = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert result["scores"] == card["scores"] and f"{card['scores']['fd']}" in out
    # The ratio is to reconstructions of as many test images of the same classes.
    scorer, label_N = Scorer(), class_balanced(100, 10)
    real = scorer.test.images(scorer.balanced_rows(label_N))
    again = scorer.score(reconstruct(load(tmp_path / "mine")[1], real), label_N)
    assert card["scores"]["reconstruction_fd"] == pytest.approx(again["fd"], rel=1e-4)
    assert card["scores"]["fd_ratio"] == pytest.approx(card["scores"]["fd"] / again["fd"], rel=1e-3)


def test_the_recorded_command_gives_the_recorded_scores(varlite, small, cache, tmp_path):
    first = evaluate(request(small, seed=4, cfg=2.0, top_k=9, top_p=0.0))
    words = shlex.split(first["command"])
    assert words[0] == "varlite"
    assert varlite(*words[1:], "--out", "again.json")[0] == 0
    assert scores(json.loads((tmp_path / "again.json").read_text())) == scores(first)


def test_only_default_scores_go_on_a_card(small):
    with pytest.raises(ValueError, match="card: it holds the default metrics of a model"):
        evaluate_any(request(small), card=True)


def test_an_evaluation_is_not_run_twice_at_once(small, cache, monkeypatch):
    generate = samples.generate

    def and_again(*arguments, **settings):
        monkeypatch.setattr(samples, "generate", generate)
        with pytest.raises(OSError, match="another process is at the same evaluation"):
            evaluate(request(small))
        return generate(*arguments, **settings)

    monkeypatch.setattr(samples, "generate", and_again)
    evaluate(request(small))


def test_images_of_two_sizes_and_damaged_ones_are_named(cache, tmp_path):
    folder = write_pngs(tmp_path / "images", FashionMNIST("test").all_images[:5])
    Image.new("L", (20, 28)).save(folder / "other.png")
    with pytest.raises(ValueError, match=r"other.png is 28 x 20, 00000.png is 28 x 28: all images must have one size"):
        evaluate(Request(images=str(folder), features="fashion", metrics=("fd",)))
    (folder / "other.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"other.png cannot be read \(UnidentifiedImageError"):
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
