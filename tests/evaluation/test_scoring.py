"""`varlite evaluate`: one flow from images to scores, in constant memory, that a kill does not change."""

import json
import os
import random
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
from children import run, start
from metrics import QUICK, noise_images, request, scores, write_pngs, write_reference

from varlite import cli
from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation import samples, scoring
from varlite.evaluation.features import extract, open_extractor
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.io.files import sha256

MEASURE = """
import sys
from pathlib import Path
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
model, out, *nums = sys.argv[1:]
for num in nums:
    record = Path(out, f"{num}.json")
    evaluate(Request(model, metrics=("accuracy", "fd", "precision", "recall", "kd"), num=int(num)), record)
"""


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


@pytest.mark.parametrize("seed", range(2))
def test_broken_off_at_any_point_it_ends_with_the_same_numbers(small, cache, break_off, seed):
    unbroken = evaluate(request(small))
    stop = random.Random(seed).sample(range(1, 9), 2)
    made = break_off(samples, "generate", *stop)
    for _ in stop:
        with pytest.raises(KeyboardInterrupt):
            evaluate(request(small))
    assert len(left(cache)) == 1
    assert scores(evaluate(request(small))) == scores(unbroken)
    assert len(made) == 8 + len(stop)  # no finished batch was made again


def words(small, out, *arguments):
    given = ["--model", small, "--num", 120, "--batch", 4, "--metrics", *QUICK, "--device", "cpu", "--out", out]
    return ["evaluate", *map(str, [*given, *arguments])]


def alone(cache):
    """The environment of a process whose scores are compared: with other threads the last digits are others."""
    return {"VARLITE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def finished(small, cache, out, *arguments):
    """The record that the command leaves in `out`, in a process of its own."""
    errors = out.with_suffix(".errors")
    assert run(errors, cli.run, words(small, out, *arguments), **alone(cache)) == 0, errors.read_text()
    return json.loads(out.read_text())


@pytest.mark.slow
def test_killed_at_a_random_point_and_run_again_it_ends_with_the_same_numbers(small, cache, tmp_path):
    unbroken, out = finished(small, cache, tmp_path / "unbroken.json"), tmp_path / "scores.json"
    running = start(tmp_path / "errors", cli.run, words(small, out), **alone(cache))
    enough = random.Random().randint(1, 20)
    for _ in range(2000):
        seconds = [np.fromfile(path.with_name("seconds")) for path in cache.glob("evaluate-*/plan.json")
                   if "seed" in json.loads(path.read_text())]  # fmt: skip
        if (seconds and np.count_nonzero(seconds[0]) >= enough) or not running.is_alive():
            break
        time.sleep(0.02)
    running.kill()
    running.join()
    assert not out.exists() and len(left(cache)) == 1
    assert scores(finished(small, cache, out)) == scores(unbroken)


@pytest.mark.slow
def test_two_processes_give_the_numbers_and_the_samples_of_one(small, cache, tmp_path):
    one = finished(small, cache, tmp_path / "one.json", "--samples", tmp_path / "one.npz")
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "--", "varlite"]
    command = [sys.executable, *launch, *words(small, tmp_path / "two.json", "--samples", tmp_path / "two.npz")]
    subprocess.run(command, env=os.environ | alone(cache), check=True, timeout=300)
    two = json.loads((tmp_path / "two.json").read_text())
    assert scores(two) == scores(one) and (one["processes"], two["processes"]) == (1, 2)
    a, b = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert all((a[name] == b[name]).all() for name in ("arr_0", "arr_1"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(small, cache, tmp_path):
    command = [sys.executable, "-c", MEASURE, str(small), str(tmp_path), "200", "3000"]
    subprocess.run(command, env=os.environ | alone(cache), check=True)
    few, many = (json.loads((tmp_path / f"{num}.json").read_text())["peak_memory"] for num in (200, 3000))
    assert many < 2e9 and many - few < 100e6


@pytest.mark.parametrize("module, name", [(samples, "generate"), (scoring, "score")])
def test_an_evaluation_is_not_run_twice_at_once_until_it_is_scored(small, cache, monkeypatch, module, name):
    function = getattr(module, name)

    def and_again(*arguments, **settings):
        monkeypatch.setattr(module, name, function)
        with pytest.raises(OSError, match="is running the same evaluation"):
            evaluate(request(small))
        return function(*arguments, **settings)

    monkeypatch.setattr(module, name, and_again)
    evaluate(request(small))
    evaluate(request(small))


def test_after_an_evaluation_that_failed_the_same_one_can_be_run(small, cache, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(scoring, "score", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError) as failed:
            evaluate(request(small))
    assert evaluate(request(small))["scores"] and failed  # whose frames are still there


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
    assert len(result["images_sha256"]) == len(result["reference"]["sha256"]) == 64
    assert result["images_sha256"] != result["reference"]["sha256"]
    mostly = write_pngs(tmp_path / "c", images[:61])
    same = evaluate(Request(images=str(a), reference=str(mostly), features="fashion", metrics=("fd", "precision")))
    assert 0 <= same["scores"]["fd"] < 1 < result["scores"]["fd"] and same["scores"]["precision"] == 1


def test_jpeg_files_are_counted_in_the_record(cache, tmp_path):
    folder = write_pngs(tmp_path / "jpeg", FashionMNIST("test").all_images[:20], "jpg")
    result = evaluate(Request(images=str(folder), features="fashion", metrics=("fd",)))
    assert result["lossy_images"] == 20


def test_the_recorded_command_gives_the_recorded_scores(varlite, small, cache, tmp_path):
    first = evaluate(request(small, seed=4, cfg=2.0, top_k=9, top_p=0.0))
    words = shlex.split(first["command"])
    assert words[0] == "varlite"
    assert varlite(*words[1:], "--out", "again.json")[0] == 0
    assert scores(json.loads((tmp_path / "again.json").read_text())) == scores(first)
