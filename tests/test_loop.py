import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from varlite.files import read_model
from varlite.training import loop
from varlite.training import tokenizer as stage1
from varlite.training import transformer as stage2
from varlite.training.loop import Run, differences, override, run_loop, warmup_cosine

CONFIG = {"model": {"depth": 2, "scales": [1, 2]}, "seed": 0}


class Toy:
    """A regression with all that a training has to carry over a stop: weights, momentum, random numbers."""

    def __init__(self, folder, steps=20, config=CONFIG, at=None):
        torch.manual_seed(0)
        self.folder, self.steps, self.at, self.seen = folder, steps, at or {}, []
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.run = Run(folder, config, "toy")

    def step(self, step):
        if step in self.at:
            self.at.pop(step)()
        self.seen.append(step)
        x = torch.randn(8, 3)
        loss = (self.model(x) - x.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item(), "other": float(step)}

    def go(self):
        parts = {"model": self.model, "optimizer": self.optimizer}
        return run_loop(
            self.run, parts, self.step, lambda: {"val": 1.0}, self.steps, log_every=4, save_every=6, validate_every=10
        )

    def log(self):
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    def close(self):
        self.run._lock.release()  # what the end of a process does


def same(a, b):
    return all(torch.equal(a.state_dict()[name], t) for name, t in b.state_dict().items())


def without_seconds(log):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in log]


def interrupt():
    raise ConnectionError


@pytest.fixture
def whole(tmp_path):
    """An uninterrupted training."""
    toy = Toy(tmp_path / "whole")
    toy.go()
    return toy


def test_the_learning_rate_rises_linearly_and_falls_like_a_cosine():
    rates = [warmup_cosine(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1 and rates[55] == pytest.approx(0.5) and 0 < rates[99] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert all(math.isfinite(warmup_cosine(step, 5, 10)) for step in range(5))


def test_a_line_is_logged_every_few_steps_and_the_means_are_over_the_steps_between(whole):
    log = whole.log()
    assert [record["step"] for record in log] == [4, 8, 10, 12, 16, 20]
    assert [record["other"] for record in log] == [1.5, 5.5, 8.5, 10.5, 13.5, 17.5]
    assert [record["step"] for record in log if "val" in record] == [10, 20]
    assert all(record["seconds"] >= 0 for record in log)


@pytest.mark.parametrize("stops", [[1], [5], [6], [7], [13, 14], [2, 9, 19]])
def test_a_training_that_breaks_off_goes_on_from_its_last_checkpoint_bit_for_bit(tmp_path, whole, stops):
    for stop in stops:
        toy = Toy(tmp_path / "a", at={stop: interrupt})
        with pytest.raises(ConnectionError):
            toy.go()
        toy.close()
    last = Toy(tmp_path / "a")
    last.go()
    assert last.seen == list(range(stops[-1] // 6 * 6, 20))
    assert same(last.model, whole.model)
    assert without_seconds(last.log()) == without_seconds(whole.log())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_before_the_process_ends(tmp_path, whole, number):
    handler = signal.getsignal(number)
    toy = Toy(tmp_path / "a", at={9: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(SystemExit, match=f"stopped by signal {number} after step 10; the same command goes on"):
        toy.go()
    assert signal.getsignal(number) == handler
    toy.close()
    last = Toy(tmp_path / "a")
    last.go()
    assert last.seen == list(range(10, 20))
    assert same(last.model, whole.model) and without_seconds(last.log()) == without_seconds(whole.log())


def test_half_a_line_at_the_end_of_the_log_is_dropped(tmp_path, whole):
    toy = Toy(tmp_path / "a", at={13: interrupt})
    with pytest.raises(ConnectionError):
        toy.go()
    toy.close()
    with open(tmp_path / "a" / "log.jsonl", "a") as file:
        file.write('{"step": 12, "lo')
    last = Toy(tmp_path / "a")
    last.go()
    assert without_seconds(last.log()) == without_seconds(whole.log())


def test_the_time_of_earlier_starts_is_counted(tmp_path):
    toy = Toy(tmp_path, at={5: lambda: time.sleep(0.3), 7: interrupt})
    with pytest.raises(ConnectionError):
        toy.go()
    toy.close()
    assert Toy(tmp_path).go() >= 0.3


def test_another_configuration_is_refused_with_every_difference(tmp_path):
    Run(tmp_path, CONFIG, "toy")._lock.release()
    other = {"model": {"depth": 3, "scales": [1, 2]}, "seed": 0, "lr": 0.1}
    with pytest.raises(
        ValueError, match=r"lr is None there, 0.1 here; model.depth is 2 there, 3 here\): use another --out"
    ):
        Run(tmp_path, other, "toy")
    assert differences(CONFIG, CONFIG) == []
    Run(tmp_path, {"model": {"depth": 2, "scales": (1, 2)}, "seed": 0}, "toy")  # as JSON it is the same


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    first = Run(tmp_path, CONFIG, "toy")
    with pytest.raises(OSError, match="is being written by another training"):
        Run(tmp_path, CONFIG, "toy")
    first._lock.release()
    Run(tmp_path, CONFIG, "toy")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Run(tmp_path / "file" / "out", CONFIG, "toy")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, value):
    toy = Toy(tmp_path)
    step, toy.step = toy.step, lambda n: {"loss": value, "other": 0.0} if n == 8 else step(n)
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step 8; .*checkpoint.pt still holds"):
        toy.go()
    assert toy.run.load()["step"] == 6


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path):
    toy = Toy(tmp_path)
    toy.go()
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint at all"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint.pt is damaged: delete .* to start again$"):
            toy.run.load()


def test_a_finished_training_says_so_and_leaves_a_card(tmp_path, capsys):
    toy = Toy(tmp_path)
    assert not toy.run.finished()
    toy.run.finish({"kind": "var", "config": {}}, toy.model.state_dict(), seconds=90)
    assert toy.run.finished() and "is finished; delete it to train again" in capsys.readouterr().err
    card = json.loads((tmp_path / "card.json").read_text())["training"]
    assert card["command"] == "toy" and card["minutes"] == 1.5 and card["seed"] == 0 and "torch" in card["machine"]


def test_what_is_given_overrides_the_recipe_and_must_be_positive():
    recipe = stage2.MODELS["fashion-var-d4"].recipe
    assert override(recipe, steps=None, lr=None) == recipe
    assert override(recipe, steps=7, lr=None).steps == 7
    for wrong in ({"steps": 0}, {"batch": -1}, {"lr": 0.0}, {"lr": math.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be positive, got"):
            override(recipe, **wrong)


def test_the_command_on_a_card_leaves_out_what_was_left_at_its_default():
    assert loop.command("train", preset="a", steps=None, out=Path("runs/a")) == "varlite train --preset a --out runs/a"


# Both stages


@pytest.mark.parametrize("stage", ["vq", "var"])
def test_a_training_leaves_config_log_checkpoint_model_and_card(trained, stage):
    folder = trained / stage
    about, tensors = read_model(folder / "model.safetensors")
    assert about["kind"] == {"vq": "tokenizer", "var": "var"}[stage]
    assert about["classes"] == ["round", "square"] and all(t.isfinite().all() for t in tensors.values())
    config, card = (json.loads((folder / name).read_text()) for name in ("config.json", "card.json"))
    assert card["training"].items() >= config.items() and card["training"]["command"].startswith("varlite train")
    assert (folder / "checkpoint.pt").exists()
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == list(range(5, 41, 5))
    assert "val_mse" in log[-1] if stage == "vq" else "val_loss" in log[-1]


def test_trainings_killed_at_random_moments_give_the_same_models_as_uninterrupted_ones(trained, tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("tiny.py")), str(trained / "images"), str(tmp_path)]
    environment, errors = os.environ | {"VARLITE_CACHE": str(tmp_path / "cache")}, tmp_path / "stderr"

    def start():
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors.open("w"))

    for stage in ("vq", "var"):
        lines, delay = random.randint(1, 4), random.uniform(0, 0.05)
        print(f"{stage}: killed {delay:.3f} s after line {lines} of its log")  # shown if the test fails
        log = tmp_path / stage / "log.jsonl"
        with start() as process:
            while (len(log.read_text().splitlines()) if log.exists() else 0) < lines:
                assert process.poll() is None, errors.read_text()
                time.sleep(0.002)
            time.sleep(delay)
            process.kill()
        assert process.returncode == -signal.SIGKILL and not (tmp_path / stage / "model.safetensors").exists()
    with start() as process:
        assert process.wait() == 0, errors.read_text()
    for file in ("vq/model.safetensors", "var/model.safetensors", "var/tokenizer.safetensors"):
        (about, ours), (expected_about, expected) = (read_model(folder / file) for folder in (tmp_path, trained))
        assert about == expected_about and ours.keys() == expected.keys()
        assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []
    for stage in ("vq", "var"):
        logs = [(folder / stage / "log.jsonl").read_text().splitlines() for folder in (tmp_path, trained)]
        ours, expected = (without_seconds(map(json.loads, lines)) for lines in logs)
        assert ours == expected


def test_the_same_command_again_has_nothing_to_do_and_another_is_refused(trained, presets, capsys):
    images, files = str(trained / "images"), [trained / "vq" / "model.safetensors", trained / "vq" / "log.jsonl"]
    before = [file.stat().st_mtime_ns for file in files]
    assert stage1.train_tokenizer("tiny-vq", images, trained / "vq") == files[0]
    assert "is finished" in capsys.readouterr().err and [file.stat().st_mtime_ns for file in files] == before
    with pytest.raises(ValueError, match=r"recipe.lr is 0.003 there, 0.001 here; seed is 0 there, 1 here"):
        stage1.train_tokenizer("tiny-vq", images, trained / "vq", seed=1, lr=0.001)


def test_a_preset_that_does_not_exist_or_cannot_be_trained_is_refused_first(tmp_path):
    for train, published in ((stage1.train_tokenizer, "imagenet-vq"), (stage2.train, "var-d16")):
        with pytest.raises(ValueError, match=r"unknown .* preset 'x'; there are: .*fashion"):
            train("x", "fashion", tmp_path / "out")
        with pytest.raises(ValueError, match=f"preset {published} is a published model without a training recipe"):
            train(published, "fashion", tmp_path / "out")
    assert not (tmp_path / "out").exists()
