import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from varlite.io.files import read_model
from varlite.training import loop
from varlite.training import train_tokenizer as stage1
from varlite.training import train_transformer as stage2
from varlite.training.engine import Engine
from varlite.training.loop import Run, differences, override, run_loop, step_seed, warmup_cosine
from varlite.training.options import Options

CPU = Options(device="cpu")
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
        often = {"log_every": 4, "save_every": 6, "validate_every": 10}
        engine, validate = Engine(CPU), lambda: {"val": 1.0}
        return run_loop(self.run, engine, parts, self.step, validate, self.steps, {"images": 8}, **often)

    def log(self):
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    def close(self):
        self.run.release()  # what the end of a process does


def same(a, b):
    return all(torch.equal(a.state_dict()[name], t) for name, t in b.state_dict().items())


CLOCK = ("seconds", "images_per_second", "tokens_per_second", "gib")


def without_seconds(log):
    return [{name: value for name, value in record.items() if name not in CLOCK} for record in log]


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
    Run(tmp_path, CONFIG, "toy").release()
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
    first.release()
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
    assert override(recipe, Options()) == recipe
    assert override(recipe, Options(steps=7)).steps == 7
    for wrong in ({"steps": 0}, {"batch": -1}, {"lr": 0.0}, {"lr": math.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be positive, got"):
            override(recipe, Options(**wrong))


def test_every_entry_of_a_recipe_can_be_given_as_text_of_its_kind():
    recipe = stage1.TOKENIZERS["fashion-vq"].recipe
    given = ("gan=0.4", "perceptual=fashion", "reseed=false", "warmup=7", "betas=0.5,0.9")
    changed = override(recipe, Options(recipe=given))
    assert (changed.gan, changed.perceptual, changed.reseed, changed.warmup) == (0.4, "fashion", False, 7)
    assert changed.betas == (0.5, 0.9)
    for text, message in {
        "gam=1": r"there is no entry 'gam'; there are: steps, batch, .*gan",
        "gan=much": "gan must be of type float, got 'much'",
        "perceptual=vgg": "perceptual must be one of none, lpips, fashion, got 'vgg'",
        "reseed=1": "reseed must be one of true, false, got '1'",
        "l1=-1": "l1 must be 0 or more, got -1.0",
    }.items():
        with pytest.raises(ValueError, match=message):
            override(recipe, Options(recipe=(text,)))


def test_the_command_on_a_card_leaves_out_what_was_left_at_its_default():
    assert loop.command("train", Options(), preset="a", start=None, out=Path("runs/a")) == (
        "varlite train --preset a --out runs/a"
    )
    options = Options(steps=5, flip=True, recipe=("gan=0.1", "l1=0"))
    assert loop.command("train", options, out="b") == "varlite train --out b --steps 5 --recipe gan=0.1 l1=0 --flip"


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
    command = [sys.executable, str(Path(__file__).parents[1] / "tiny.py"), str(trained / "images"), str(tmp_path)]
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
        stage1.train_tokenizer("tiny-vq", images, trained / "vq", Options(seed=1, lr=0.001))


def test_a_preset_that_does_not_exist_is_refused_first(tmp_path):
    for train in (stage1.train_tokenizer, stage2.train):
        with pytest.raises(ValueError, match=r"unknown .* preset 'x'; there are: .*fashion"):
            train("x", "fashion", tmp_path / "out")
    assert not (tmp_path / "out").exists()


FULL = """
import resource, signal, sys
from pathlib import Path
import tiny, pytest
from varlite.cli import main
tiny.add_presets(pytest.MonkeyPatch())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails, as on a full disk
sys.argv[1:] = sys.argv[2:]
main()
"""


def test_a_full_disk_ends_a_training_with_one_line_and_the_last_checkpoint_resumes(trained, tmp_path):
    out, environment = tmp_path / "out", os.environ | {"VARLITE_CACHE": str(tmp_path / "cache")}

    def train(limit, steps=40):
        words = ["train-tokenizer", "--preset", "tiny-vq", "--data", str(trained / "images"), "--out", str(out)]
        return subprocess.run(
            [sys.executable, "-c", FULL, str(limit), *words, "--device", "cpu"],
            env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True,
        )  # fmt: skip

    size = (trained / "vq" / "checkpoint.pt").stat().st_size
    failed = train(size // 2)
    last = failed.stderr.strip().splitlines()[-1]
    assert failed.returncode == 1 and "checkpoint.pt could not be written" in last and "Traceback" not in failed.stderr
    assert not (out / "checkpoint.pt").exists() and not list(out.glob(".checkpoint*"))
    assert train(2 * size).returncode == 0
    ours, expected = (read_model(folder / "model.safetensors")[1] for folder in (out, trained / "vq"))
    assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []


def test_images_that_vanish_while_training_are_replaced_and_counted(trained, presets, tmp_path, monkeypatch):
    images, minimise, steps = shutil.copytree(trained / "images", tmp_path / "images"), stage1.Engine.minimise, []
    for path in list((images / "round").iterdir())[:3]:
        path.write_bytes(path.read_bytes()[:50])

    def lose_one(*arguments):
        steps.append(1)
        if len(steps) == 20:
            next((images / "square").glob("*.png")).unlink()
        return minimise(*arguments)

    monkeypatch.setattr(stage1.Engine, "minimise", lose_one)
    stage1.train_tokenizer("tiny-vq", str(images), tmp_path / "out", CPU)
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert 1 <= log[0]["skipped"] <= 3 and log[-1]["skipped"] == 4 and log[-1]["step"] == 40


def test_every_line_of_the_log_has_codebook_health_and_speed(trained):
    for record in map(json.loads, (trained / "vq" / "log.jsonl").read_text().splitlines()):
        assert len(record["perplexity_per_scale"]) == len(record["dead_codes_per_scale"]) == 4
        assert record["images_per_second"] > 0 and record["gib"] > 0
    record = json.loads((trained / "var" / "log.jsonl").read_text().splitlines()[-1])
    assert record["tokens_per_second"] == pytest.approx(39 * record["images_per_second"], rel=0.05)


def test_tensorboard_gets_every_line_of_the_log(trained, presets, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = Options(device="cpu", steps=10, tensorboard=True)
    stage1.train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "out", options)
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [5, 10]
    assert {"val_mse", "perplexity_per_scale/0", "images_per_second"} <= set(events.Tags()["scalars"])


def test_any_seed_will_do():
    seeds = [step_seed(seed, step, process) for seed in (0, 1, 10**9) for step in (0, 1) for process in (0, 1)]
    assert len(set(seeds)) == len(seeds)
    for seed in seeds:
        torch.Generator().manual_seed(seed)


KILLED_WRITING = """
import os, signal, sys, torch
from pathlib import Path
import tiny, pytest
from varlite.training import loop
tiny.add_presets(pytest.MonkeyPatch())
whole = torch.save
def half(state, path):
    whole(state, path)
    if state["step"] == 14:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
loop.torch.save = half
images, out, vq = map(Path, sys.argv[1:])
tiny.train_both(images, out, tiny.Options(device="cpu"), vq)
"""


def test_a_process_killed_while_it_writes_a_checkpoint_loses_no_more_than_that_one(trained, tmp_path):
    environment = os.environ | {"VARLITE_CACHE": str(tmp_path / "cache")}
    arguments = [str(trained / "images"), str(tmp_path), str(trained / "vq")]

    def train(*command):
        return subprocess.run([sys.executable, *command], env=environment, cwd=Path(__file__).parents[1]).returncode

    assert train("-c", KILLED_WRITING, *arguments) == -signal.SIGKILL
    assert torch.load(tmp_path / "var" / "checkpoint.pt", weights_only=True)["step"] == 7
    assert len(list((tmp_path / "var").glob(".checkpoint.pt.*"))) == 1
    assert train("tiny.py", *arguments[:2], json.dumps({"vq": arguments[2]})) == 0
    assert not list((tmp_path / "var").glob(".checkpoint.pt.*"))
    ours, expected = (read_model(folder / "var" / "model.safetensors")[1] for folder in (tmp_path, trained))
    assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []
