"""The loop of every training: steps, log, validation, checkpoints, signals."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from varlite.training.engine import Engine
from varlite.training.options import Options
from varlite.training.run import Run

# A scheduler's warning or end, Ctrl-C, a closed terminal. Windows has only some of them.
SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Every:
    """After how many steps a line is logged, a checkpoint written, the model validated."""

    log: int = 50
    save: int = 250
    validate: int = 1000


EVERY = Every()


class Training:
    """One training, as the loop needs it; each kind is a subclass.

    A subclass fills `parts`: the model, its optimizer and whatever else changes, everything a checkpoint must hold.
    """

    def __init__(self, run: Run, engine: Engine, options: Options, recipe: Any, per_step: dict[str, int]):
        """`per_step` counts what a step processes, {"images": 64}, for the speeds in the log."""
        self.run, self.engine, self.options, self.recipe, self.per_step = run, engine, options, recipe, per_step
        self.parts: dict[str, Stateful] = {}
        self.first_line: dict[str, Any] | None = None  # logged as step 0
        self.every: Every = EVERY

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step; figures to log, "loss" among them. Random numbers are seeded before each call."""
        raise NotImplementedError

    def validate(self) -> dict[str, Any]:
        """Scores for the log."""
        raise NotImplementedError

    def report(self) -> dict[str, Any]:
        """What each line of the log holds besides the means of the steps' figures."""
        return {}

    def about(self) -> dict[str, Any]:
        """The header of the file of weights: kind, configuration."""
        raise NotImplementedError

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights to keep in the end, gathered from all processes."""
        raise NotImplementedError

    def beside(self) -> dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]]:
        """Other models, (header, weights) by file name, without which this one is of no use."""
        return {}

    def set_rate(self, optimizer: torch.optim.Optimizer, factor: float) -> float:
        lr = self.recipe.lr * factor
        for group in optimizer.param_groups:
            group["lr"] = lr
        return lr

    def train(self) -> Path:
        """Run all steps, resuming from the last checkpoint; returns the path of the finished model."""
        seconds = run_loop(self)
        self.run.finish(self.about(), self.weights(), seconds, self.beside())
        self.engine.wait()  # until then the files may not be there
        return self.run.model_path


def run_loop(training: Training) -> float:
    """Take the steps that remain; returns the seconds spent, those of earlier starts included.

    SIGTERM, SIGINT (Ctrl-C), SIGHUP, SIGUSR1 and SIGUSR2 write a checkpoint and end the process; a training outside the
    main thread cannot receive them. Raises FloatingPointError if the loss is not finite, OSError if a file cannot be
    written; the last checkpoint is kept.
    """
    run, steps, every = training.run, training.recipe.steps, training.every
    meter = Meter(training)
    first = meter.resume()
    bar = tqdm(
        range(first, steps), initial=first, total=steps, desc=run.out.name, unit="step", mininterval=1,
        disable=not run.main,
    )  # fmt: skip
    with bar, caught_signals() as caught:
        boards = open_boards(run, training.options, first) if run.main else []
        for step in bar:
            meter.add(checked_step(training, step))
            run.step = done = step + 1
            stopping = training.engine.any(bool(caught))
            validating = done % every.validate == 0 or done == steps
            if done % every.log == 0 or validating:
                record = meter.line(bar, validating)
                run.log(record)
                for board in boards:
                    board.write(record)
            if done % every.save == 0 or done == steps or stopping:
                meter.save()
            if stopping:
                close(boards)
                by = f"by signal {caught[0]}" if caught else "with another process"
                raise SystemExit(f"stopped {by} after step {done}; the same command goes on from here")
        close(boards)
        if caught:  # while the last step was validated and saved
            raise SystemExit(f"stopped by signal {caught[0]} after the last step; the same command finishes from here")
    return meter.seconds()


def checked_step(training: Training, step: int) -> dict[str, float]:
    """One step with random numbers of its own. Raises FloatingPointError if its loss is not finite."""
    torch.manual_seed(step_seed(training.options.seed, step, training.engine.process))
    metrics = training.step(step)
    if not math.isfinite(metrics["loss"]):
        raise FloatingPointError(
            f"the loss is {metrics['loss']} at step {step}; {training.run.out / 'checkpoint.pt'} still holds the last "
            "good state. A lower --lr is the usual remedy."
        )
    return metrics


def step_seed(seed: int, step: int, process: int = 0) -> int:
    """The seed of a step's random numbers; since each step has its own, resuming needs no generator's state."""
    return ((seed * 1_000_003 + step) * 1_000_003 + process) % 2**63


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect the signals that would end the process. Outside the main thread there are none to collect."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    # One that is ignored stays so: nohup means it.
    mine = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    old = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in mine}
    try:
        yield caught
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class Meter:
    """Sums over the steps since the last line of the log, and time: what a checkpoint holds besides the parts."""

    def __init__(self, training: Training):
        self.training = training
        self.spent, self.sums, self.count = 0.0, {}, 0  # type: float, dict[str, float], int
        self.began = time.monotonic()
        self.since, self.counted = self.began, 0  # for speed, without the time of validation

    def seconds(self) -> float:
        return time.monotonic() - self.began + self.spent

    def resume(self) -> int:
        """Put everything back as it was at the last checkpoint; returns the next step."""
        training = self.training
        state = training.run.load()
        if state is None:
            if training.first_line is not None:
                training.run.log({"step": 0} | training.first_line)
            return 0
        for name, part in training.parts.items():
            part.load_state_dict(state["parts"][name])
        self.spent, self.sums, self.count = state["seconds"], state["sums"], state["count"]
        self.began = self.since = time.monotonic()
        return state["step"]

    def save(self) -> None:
        training = self.training
        # Every process takes part in gathering the state; one writes it.
        parts = {name: part.state_dict() for name, part in training.parts.items()}
        if training.run.main:
            about = {"step": training.run.step, "seconds": self.seconds(), "sums": self.sums, "count": self.count}
            training.run.save(about | {"parts": parts})

    def add(self, metrics: dict[str, float]) -> None:
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in metrics.items()}
        self.count, self.counted = self.count + 1, self.counted + 1

    def line(self, bar: tqdm, validating: bool) -> dict[str, Any]:
        """A line of the log: means since the last one, scores if `validating`, speed and memory."""
        training = self.training
        means = {name: value / self.count for name, value in self.sums.items()}
        record: dict[str, Any] = {"step": training.run.step} | means | training.report()
        rate = self.counted / (time.monotonic() - self.since)
        speed = {f"{name}_per_second": round(n * rate, 1) for name, n in training.per_step.items()}
        speed |= {"gib": round(training.engine.memory() / 2**30, 2)}
        bar.set_postfix({"loss": f"{record['loss']:.4f}"} | speed, refresh=False)
        if validating:
            record |= training.validate()
        self.sums, self.count, self.since, self.counted = {}, 0, time.monotonic(), 0
        return record | speed | {"seconds": round(self.seconds(), 1)}


class Board:
    """Copies the log to TensorBoard."""

    def __init__(self, folder: Path, first: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=first + 1)

    def write(self, record: dict[str, Any]) -> None:
        for tag, x in scalars(record).items():
            self.writer.add_scalar(tag, x, record["step"])
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Tracker:
    """Copies the log to a service by its tracker in accelerate, as run OUT of the project varlite.

    A training that goes on continues its run; what was logged after its last checkpoint is sent once more.
    """

    def __init__(self, service: str, run: Run):
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        named = {"name": run.out.name, "resume": "allow"}
        if service == "wandb":  # which knows runs by a number of their own, and keeps files beside them
            named |= {"id": sha256(str(run.out.absolute()).encode()).hexdigest()[:16], "dir": str(run.out)}
        self.tracker = LOGGER_TYPE_TO_CLASS[service]("varlite", **named)
        self.tracker.start()
        self.tracker.store_init_configuration(run.config)

    def write(self, record: dict[str, Any]) -> None:
        self.tracker.log(scalars(record), step=record["step"])

    def close(self) -> None:
        self.tracker.finish()


def open_boards(run: Run, options: Options, first: int) -> list[Board | Tracker]:
    """Where the log goes besides log.jsonl. `first` is the number of steps that were taken before."""
    boards: list[Board | Tracker] = []
    if options.tensorboard or options.log == "tensorboard":
        boards.append(Board(run.out / "tensorboard", first))
    if options.log in ("trackio", "wandb"):
        boards.append(Tracker(options.log, run))
    return boards


def close(boards: list[Board | Tracker]) -> None:
    for board in boards:
        board.close()


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers in a line of the log; those of a list each by itself."""
    found: dict[str, float] = {}
    for name, value in record.items():
        found |= {f"{name}/{i}": x for i, x in enumerate(value)} if isinstance(value, list) else {name: value}
    return {name: x for name, x in found.items() if isinstance(x, int | float)}
