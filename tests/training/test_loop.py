import json
import math
import os
import signal
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from examples import without_clock

from varlite.checkpoints.cards import read_log
from varlite.io.files import read_model
from varlite.training.engine import Engine
from varlite.training.loop import SIGNALS, Every, Training, step_seed
from varlite.training.options import Options
from varlite.training.run import Run
from varlite.training.train_tokenizer import train_tokenizer

CPU = Options(device="cpu")
CONFIG = {"model": {"depth": 2, "scales": [1, 2]}, "seed": 0}


class Toy(Training):
    """A regression with all that a training has to carry over a stop: weights, momentum, random numbers."""

    def __init__(self, folder, steps=20, at=None):
        run = Run(folder, CONFIG, "toy")
        super().__init__(run, Engine(CPU), CPU, SimpleNamespace(steps=steps), {"images": 8})
        self.folder, self.at, self.seen, self.every = folder, at or {}, [], Every(log=4, save=6, validate=10)
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.parts |= {"model": self.model, "optimizer": self.optimizer}

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

    def validate(self):
        return {"val": 1.0}

    def about(self):
        return {"kind": "toy", "config": {}}

    def weights(self):
        return self.model.state_dict()

    def train(self):
        with self.run:
            assert self.run.begin({})
            return super().train()

    def log(self):
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]


def broken_off(folder, step, error=ConnectionError):
    """A training that ended before `step` was over."""

    def interrupt():
        raise error

    toy = Toy(folder, at={step: interrupt})
    with pytest.raises(error):
        toy.train()
    return toy


def same(a, b):
    return all(torch.equal(a.state_dict()[name], t) for name, t in b.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training."""
    toy = Toy(tmp_path_factory.mktemp("toy") / "whole")
    toy.train()
    return toy


def test_a_line_is_logged_every_few_steps_and_the_means_are_over_the_steps_between(whole):
    log = whole.log()
    assert [record["step"] for record in log] == [4, 8, 10, 12, 16, 20]
    assert [record["other"] for record in log] == [1.5, 5.5, 8.5, 10.5, 13.5, 17.5]
    assert [record["step"] for record in log if "val" in record] == [10, 20]
    assert all(record["seconds"] >= 0 for record in log)


@pytest.mark.parametrize("stops", [[1], [5], [6], [7], [13, 14], [2, 9, 19]])
def test_a_training_that_breaks_off_goes_on_from_its_last_checkpoint_bit_for_bit(tmp_path, whole, stops):
    for stop in stops:
        broken_off(tmp_path / "a", stop)
    last = Toy(tmp_path / "a")
    last.train()
    assert last.seen == list(range(stops[-1] // 6 * 6, 20))
    assert same(last.model, whole.model)
    assert without_clock(last.log()) == without_clock(whole.log())


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_before_the_process_ends(tmp_path, whole, number):
    toy = Toy(tmp_path / "a", at={9: lambda: os.kill(os.getpid(), number)})

    def handler(*_):
        """Of whoever trains: the tests themselves may run under nohup, where a hangup is ignored."""

    old = signal.signal(number, handler)
    try:
        with pytest.raises(SystemExit, match=f"stopped by signal {number} after step 10; the same command goes on"):
            toy.train()
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, old)
    last = Toy(tmp_path / "a")
    last.train()
    assert last.seen == list(range(10, 20))
    assert same(last.model, whole.model) and without_clock(last.log()) == without_clock(whole.log())


def test_a_hangup_under_nohup_stays_ignored(tmp_path):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        toy = Toy(tmp_path, at={9: lambda: os.kill(os.getpid(), signal.SIGHUP)})
        toy.train()
    finally:
        signal.signal(signal.SIGHUP, old)
    assert toy.seen == list(range(20))


def test_a_training_in_a_thread_gives_the_same_model(tmp_path, whole):
    toy = Toy(tmp_path / "a")
    thread = threading.Thread(target=toy.train)
    thread.start()
    thread.join()
    assert same(toy.model, whole.model) and (tmp_path / "a" / "model.safetensors").exists()


@pytest.mark.parametrize("tail", ['{"step": 12, "lo', "{}", "[1]", "\x00\x00"])
def test_a_damaged_line_at_the_end_of_the_log_is_dropped(tmp_path, whole, tail):
    broken_off(tmp_path / "a", 13)
    with open(tmp_path / "a" / "log.jsonl", "a") as file:
        file.write(tail)
    last = Toy(tmp_path / "a")
    last.train()
    assert without_clock(last.log()) == without_clock(whole.log())


def test_the_time_of_earlier_starts_is_counted(tmp_path):
    toy = Toy(tmp_path, at={5: lambda: time.sleep(0.2)})
    toy.at[7] = lambda: (_ for _ in ()).throw(ConnectionError)
    with pytest.raises(ConnectionError):
        toy.train()
    Toy(tmp_path).train()
    assert Toy(tmp_path).log()[-1]["seconds"] >= 0.2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, value):
    toy = Toy(tmp_path)
    step, toy.step = toy.step, lambda n: {"loss": value, "other": 0.0} if n == 8 else step(n)
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step 8; .*checkpoint.pt still holds"):
        toy.train()
    assert toy.run.load()["step"] == 6


def test_a_folder_is_free_again_once_its_training_has_ended_in_whatever_way(tmp_path):
    broken_off(tmp_path, 3)
    broken_off(tmp_path, 4, KeyboardInterrupt)
    assert Toy(tmp_path).train() == tmp_path / "model.safetensors"
    assert read_model(tmp_path / "model.safetensors")[0]["kind"] == "toy"


def test_any_seed_will_do():
    seeds = [step_seed(seed, step, process) for seed in (0, 1, 10**9) for step in (0, 1) for process in (0, 1)]
    assert len(set(seeds)) == len(seeds)
    for seed in seeds:
        torch.Generator().manual_seed(seed)


def test_every_line_of_the_log_has_codebook_health_and_speed(trained):
    for record in map(json.loads, (trained / "vq" / "log.jsonl").read_text().splitlines()):
        assert len(record["perplexity_per_scale"]) == len(record["dead_codes_per_scale"]) == 4
        assert record["images_per_second"] > 0 and record["gib"] > 0
    record = json.loads((trained / "var" / "log.jsonl").read_text().splitlines()[-1])
    assert record["tokens_per_second"] == pytest.approx(39 * record["images_per_second"], rel=0.05)


def test_a_service_gets_every_line_of_the_log_and_the_run_goes_on_under_its_name(
    trained, presets, tmp_path, monkeypatch
):
    calls: list[tuple] = []
    run = SimpleNamespace(log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append(("end",)))
    service = ModuleType("trackio")
    service.__spec__ = ModuleSpec("trackio", None)
    service.init = lambda **named: calls.append(("init", named)) or run
    service.config = SimpleNamespace(update=lambda values, allow_val_change: calls.append(("config", values)))
    monkeypatch.setitem(sys.modules, "trackio", service)
    options = Options(device="cpu", steps=10, log="trackio")
    train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "out", options)
    assert calls[0] == ("init", {"project": "varlite", "name": "out", "resume": "allow"})
    assert calls[1][1]["preset"] == "tiny-vq" and calls[-1] == ("end",)
    logged = read_log(tmp_path / "out")
    assert [step for step, _ in calls[2:-1]] == [record["step"] for record in logged] == [5, 10]
    last = calls[-2][1]
    assert last["loss"] == pytest.approx(logged[-1]["loss"], rel=1e-5) and "perplexity_per_scale/0" in last


def test_tensorboard_gets_every_line_of_the_log(trained, presets, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = Options(device="cpu", steps=10, tensorboard=True)
    train_tokenizer("tiny-vq", str(trained / "images"), tmp_path / "out", options)
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [5, 10]
    assert {"val_mse", "perplexity_per_scale/0", "images_per_second"} <= set(events.Tags()["scalars"])
