import errno
import json
import os
import random
import signal
import subprocess
import time

import pytest
import torch
from children import run, start
from examples import command_with_full_disk, killed_while_saving, train_in_child, without_clock

from varlite.io.files import HOST, read_model
from varlite.training import run as runs
from varlite.training import train_tokenizer as stage1
from varlite.training import train_transformer as stage2
from varlite.training.options import Options
from varlite.training.run import Run, differences

CONFIG = {"model": {"depth": 2, "scales": [1, 2]}, "seed": 0, "data": "photos"}
WEIGHTS = {"w": torch.ones(3)}


def begun(folder, config=CONFIG):
    run = Run(folder, config, "toy")
    assert run.begin({"data_sha256": "1234"})
    return run


def finished(folder):
    with begun(folder) as run:
        run.finish({"kind": "var", "config": {}}, WEIGHTS, 90, {})
    return run


def test_another_configuration_is_refused_with_every_difference(tmp_path):
    with begun(tmp_path):
        pass
    other = CONFIG | {"model": {"depth": 3, "scales": [1, 2]}, "lr": 0.1}
    with pytest.raises(ValueError, match=r"lr is None there, 0.1 here; model.depth is 2 there, 3 here\): use another"):
        Run(tmp_path, other, "toy")
    assert differences(CONFIG, CONFIG) == []
    begun(tmp_path, CONFIG | {"model": {"depth": 2, "scales": (1, 2)}})  # as JSON it is the same


def test_other_data_are_refused_but_the_same_data_at_another_place_are_not(tmp_path):
    with begun(tmp_path, CONFIG):
        pass
    with pytest.raises(ValueError, match="data_sha256 is 1234 there, 5678 here"), Run(tmp_path, CONFIG, "toy") as run:
        run.begin({"data_sha256": "5678"})
    with begun(tmp_path, CONFIG | {"data": "/absolute/photos/"}):
        pass


def test_two_trainings_in_one_folder_are_refused_and_it_is_said_who_has_it(tmp_path):
    held = f"is being written by another training, process {os.getpid()} on this host"
    with begun(tmp_path), pytest.raises(OSError, match=held):
        begun(tmp_path)
    begun(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_opened(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OSError, match=r"out: .*file is a file, not a folder"):
            Run(out, CONFIG, "toy")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OSError, match="is not writable"):
        Run(tmp_path / "out", CONFIG, "toy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        Run(tmp_path, CONFIG, "toy")


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path):
    run, path = begun(tmp_path), tmp_path / "checkpoint.pt"
    run.save({"step": 1, "seconds": 0.0, "sums": {}, "count": 0, "parts": {}})
    whole = path.read_bytes()
    torch.save({"another": "file"}, tmp_path / "other.pt")
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint at all", (tmp_path / "other.pt").read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint.pt is damaged: delete .* to start again$"):
            run.load()


def test_a_finished_training_says_so_and_leaves_a_card(tmp_path, capsys):
    finished(tmp_path)
    assert Run(tmp_path, CONFIG, "toy").finished()
    assert "is finished; delete it to train again" in capsys.readouterr().err
    card = json.loads((tmp_path / "card.json").read_text())["training"]
    assert card["command"] == "toy" and card["minutes"] == 1.5 and card["seed"] == 0 and "torch" in card["machine"]


def test_a_finished_training_with_its_data_at_another_place_is_finished_once_they_are_compared(tmp_path):
    finished(tmp_path)
    run = Run(tmp_path, CONFIG | {"data": "./photos"}, "toy")
    assert not run.finished() and not run.begin({"data_sha256": "1234"})


@pytest.mark.parametrize("size", [0, 5, 60])
def test_a_model_file_that_is_empty_or_cut_off_does_not_count_as_finished(tmp_path, capsys, size):
    finished(tmp_path)
    os.truncate(tmp_path / "model.safetensors", size)
    assert not Run(tmp_path, CONFIG, "toy").finished()
    assert "is no whole file" in capsys.readouterr().err
    assert begun(tmp_path).model_path.exists()


def test_what_killed_writers_left_is_cleared_and_nothing_else(tmp_path):
    killed = subprocess.Popen(["true"])
    killed.wait()
    written = ["checkpoint.pt", "model.safetensors", "config.json", "card.json", "pictures/0000020.png"]
    halves = [f"{folder}.{name}.{HOST}-{killed.pid}-abcd1234.half" for folder, name in map(split, written)]
    others = [*written[:2], ".gitignore", "pictures/0000020.png", f".notes.{HOST}-{os.getpid()}-abcd1234.half"]
    (tmp_path / "pictures").mkdir()
    for name in halves + others:
        (tmp_path / name).write_text("")
    begun(tmp_path)
    assert [name for name in halves if (tmp_path / name).exists()] == []
    assert all((tmp_path / name).exists() for name in others)


def split(path):
    folder, _, name = path.rpartition("/")
    return f"{folder}/" if folder else "", name


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "broken, file, write",
    [
        ("save_model", "model.safetensors", lambda run: run.finish({}, WEIGHTS, 1, {})),
        ("save_model", "vq.safetensors", lambda run: run.finish({}, WEIGHTS, 1, {"vq.safetensors": ({}, {})})),
        ("write_json", "card.json", lambda run: run.finish({}, WEIGHTS, 1, {})),
        ("save_png", "0000000.png", lambda run: run.save_picture(torch.zeros(1, 2, 2))),
        ("atomic", "checkpoint.pt", lambda run: run.save({})),
    ],
)  # fmt: skip
def test_a_full_disk_is_told_in_one_line_with_the_file(tmp_path, monkeypatch, broken, file, write):
    with begun(tmp_path) as run:
        monkeypatch.setattr(runs, broken, full)
        with pytest.raises(
            OSError, match=rf"^{tmp_path}/.*{file} could not be written \(No space left on device\); .*same"
        ):
            write(run)
    assert not Run(tmp_path, CONFIG, "toy").finished()


@pytest.mark.parametrize("card", [None, {"scores": {}, "scores_command": "varlite evaluate --card"}])
def test_a_start_without_a_training_on_its_card_leaves_nothing_to_quote(tmp_path, card):
    if card is not None:
        (tmp_path / "card.json").write_text(json.dumps(card))
    with Run(tmp_path / "out", CONFIG, "toy", started_from=tmp_path / "model.safetensors") as run:
        run.begin({})
        run.finish({"kind": "var", "config": {}}, WEIGHTS, 1, {})
    assert "started_from" not in json.loads((tmp_path / "out" / "card.json").read_text())


def test_a_card_quotes_the_whole_line_of_trainings(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({"training": {"seed": 2}, "started_from": {"seed": 1}}))
    with Run(tmp_path / "out", CONFIG, "toy", started_from=tmp_path / "model.safetensors") as run:
        run.begin({})
        run.finish({"kind": "var", "config": {}}, WEIGHTS, 1, {})
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["started_from"] == {"seed": 2, "started_from": {"seed": 1}}


@pytest.mark.parametrize("beside", [True, False])
def test_a_tokenizer_that_lies_beside_a_transformer_does_not_quote_the_transformer_s_card(tmp_path, beside):
    (tmp_path / "card.json").write_text(json.dumps({"training": {"seed": 2}}))
    (tmp_path / "config.json").write_text(json.dumps({"kind": "var" if beside else "tokenizer"}))
    with Run(tmp_path / "out", CONFIG, "toy", started_from=tmp_path / "tokenizer.safetensors") as run:
        run.begin({})
        run.finish({"kind": "tokenizer", "config": {}}, WEIGHTS, 1, {})
    assert ("started_from" in json.loads((tmp_path / "out" / "card.json").read_text())) != beside


def test_a_damaged_card_of_the_start_is_told_before_anything_is_computed(tmp_path):
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(ValueError, match=r"card\.json is damaged"):
        Run(tmp_path / "out", CONFIG, "toy", started_from=tmp_path / "model.safetensors")
    assert not (tmp_path / "out").exists()


# Both stages


@pytest.mark.parametrize("stage", ["vq", "var"])
def test_a_training_leaves_config_log_checkpoint_model_and_card(trained, stage):
    folder = trained / stage
    about, tensors = read_model(folder / "model.safetensors")
    assert about["kind"] == {"vq": "tokenizer", "var": "var"}[stage]
    assert about["classes"] == ["round", "square"] and all(t.isfinite().all() for t in tensors.values())
    config, card = (json.loads((folder / name).read_text()) for name in ("config.json", "card.json"))
    sealed = about.get("tokenizer_sha256")
    assert sealed == config.get("tokenizer_sha256") and (sealed is not None) == (stage == "var")
    assert card["training"].items() >= config.items() and card["training"]["command"].startswith("varlite train")
    assert (folder / "checkpoint.pt").exists()
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == list(range(5, 41, 5))
    assert "val_mse" in log[-1] if stage == "vq" else "val_loss" in log[-1]


def test_trainings_killed_at_random_moments_give_the_same_models_as_uninterrupted_ones(trained, tmp_path):
    errors = tmp_path / "errors"
    job = (errors, train_in_child, trained / "images", tmp_path, {})
    cache = {"VARLITE_CACHE": str(tmp_path / "cache")}
    for stage in ("vq", "var"):
        lines, delay = random.randint(1, 4), random.uniform(0, 0.05)
        print(f"{stage}: killed {delay:.3f} s after line {lines} of its log")  # shown if the test fails
        log, process = tmp_path / stage / "log.jsonl", start(*job, **cache)
        while (len(log.read_text().splitlines()) if log.exists() else 0) < lines:
            assert process.exitcode is None, errors.read_text()
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL and not (tmp_path / stage / "model.safetensors").exists()
    assert run(*job, **cache) == 0, errors.read_text()
    for file in ("vq/model.safetensors", "var/model.safetensors", "var/tokenizer.safetensors"):
        (about, ours), (expected_about, expected) = (read_model(folder / file) for folder in (tmp_path, trained))
        assert about == expected_about and ours.keys() == expected.keys()
        assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []
    for stage in ("vq", "var"):
        logs = [(folder / stage / "log.jsonl").read_text().splitlines() for folder in (tmp_path, trained)]
        ours, expected = (without_clock(map(json.loads, lines)) for lines in logs)
        assert ours == expected


def test_the_same_command_again_has_nothing_to_do_and_another_is_refused(trained, presets, capsys):
    images, files = str(trained / "images"), [trained / "vq" / "model.safetensors", trained / "vq" / "log.jsonl"]
    before = [file.stat().st_mtime_ns for file in files]
    assert stage1.train_tokenizer("tiny-vq", images, trained / "vq") == files[0]
    assert "is finished" in capsys.readouterr().err and [file.stat().st_mtime_ns for file in files] == before
    with pytest.raises(ValueError, match=r"recipe.lr is 0.003 there, 0.001 here; seed is 0 there, 1 here"):
        stage1.train_tokenizer("tiny-vq", images, trained / "vq", Options(seed=1, lr=0.001))


def test_a_preset_that_does_not_exist_is_refused_first(tmp_path):
    for train in (stage1.train_tokenizer, stage2.train):
        with pytest.raises(ValueError, match=r"unknown .* preset 'x'; there are: .*fashion"):
            train("x", "fashion", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["checkpoint.pt", "model.safetensors"])
def test_a_full_disk_ends_a_training_with_one_line_and_the_same_command_goes_on(trained, tmp_path, varlite_child, file):
    out, errors = tmp_path / "out", tmp_path / "errors"
    words = ["train-tokenizer", "--preset", "tiny-vq", "--data", str(trained / "images"), "--out", str(out)]
    sizes = {name: (trained / "vq" / name).stat().st_size for name in ("checkpoint.pt", "model.safetensors")}
    assert varlite_child(words, sizes[file] // 2, errors, file) == 1
    last = errors.read_text().strip().splitlines()[-1]
    assert f"varlite: error: {out / file} could not be written (" in last and "File too large" in last
    assert "; " in last and "Traceback" not in errors.read_text()
    assert not (out / file).exists() and not list(out.glob(".*.half"))
    assert varlite_child(words, 2 * sizes["checkpoint.pt"], errors) == 0
    ours, expected = (read_model(folder / "model.safetensors")[1] for folder in (out, trained / "vq"))
    assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []


@pytest.fixture
def varlite_child(tmp_path):
    def run_command(words, limit, errors, file=""):
        return run(errors, command_with_full_disk, [*words, "--device", "cpu"], limit, file,
                   VARLITE_CACHE=str(tmp_path / "cache"))  # fmt: skip

    return run_command


def test_a_process_killed_while_it_writes_a_checkpoint_loses_no_more_than_that_one(trained, tmp_path):
    errors, cache = tmp_path / "errors", {"VARLITE_CACHE": str(tmp_path / "cache")}
    job = (trained / "images", tmp_path, {"vq": trained / "vq"})
    assert run(errors, killed_while_saving, *job, **cache) == -signal.SIGKILL
    assert torch.load(tmp_path / "var" / "checkpoint.pt", weights_only=True)["step"] == 7
    assert len(list((tmp_path / "var").glob(".checkpoint.pt.*"))) == 1
    assert run(errors, train_in_child, *job, **cache) == 0
    assert not list((tmp_path / "var").glob(".checkpoint.pt.*"))
    ours, expected = (read_model(folder / "var" / "model.safetensors")[1] for folder in (tmp_path, trained))
    assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []
