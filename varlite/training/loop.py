"""What every training shares: a folder that survives a kill, a log, a schedule, and the loop.

The folder holds `config.json`, `log.jsonl` (one line per log step), `checkpoint.pt` (all that resuming needs) and, at
the end, `model.safetensors` and `card.json`. The same command again goes on from the last checkpoint, bit for bit.
"""

import json
import math
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from varlite.io.files import atomic, save_model, write_json
from varlite.io.provenance import machine
from varlite.training.engine import Engine
from varlite.training.options import Options


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate at `step` of `steps`: linear up over `warmup`, then a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def warmup_linear(step: int, steps: int, warmup: int, final: float) -> float:
    """The same of the papers: up from 0.005 over `warmup`, flat for a twentieth of the rest, then linear to `final`."""
    if step < warmup:
        return 0.005 + 0.995 * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 1.0 if progress < 0.05 else 1 - (1 - final) * (progress - 0.05) / 0.95


def step_seed(seed: int, step: int, process: int = 0) -> int:
    """Every step draws its own random numbers, so that resuming needs no memory of those drawn before."""
    return ((seed * 1_000_003 + step) * 1_000_003 + process) % 2**63


class Run:
    """The folder of one training; of its processes, only the `main` one writes.

    Raises ValueError, naming every difference, if the folder belongs to a training with another configuration, and
    OSError if it cannot be written or another training is in it; all before anything is computed.
    """

    def __init__(self, out: Path, config: dict[str, Any], command: str, main: bool = True):
        self.out, self.config, self.command, self.main = out, json.loads(json.dumps(config)), command, main
        self.step = 0  # steps done
        if not main:
            return
        out.mkdir(parents=True, exist_ok=True)
        # Held until the process ends, in whatever way.
        self._lock = FileLock(out / ".lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise OSError(f"{out} is being written by another training: wait for it, or use another --out") from None
        for half in out.glob(".checkpoint.pt.*"):  # of a process that was killed while it wrote
            half.unlink()
        path = out / "config.json"
        if path.exists():
            old = json.loads(path.read_text())
            if changed := differences(old, self.config):
                raise ValueError(
                    f"{out} holds a training of another configuration ({'; '.join(changed)}): use another --out"
                )
        else:
            write_json(path, self.config)

    def release(self) -> None:
        """Let other trainings into the folder. The end of the process does so, too."""
        if self.main:
            self._lock.release()

    @property
    def model_path(self) -> Path:
        return self.out / "model.safetensors"

    def finished(self) -> bool:
        """Whether the model is there; says so, since the same command then has nothing to do."""
        if self.model_path.exists() and self.main:
            print(f"{self.out} is finished; delete it to train again", file=sys.stderr)
        return self.model_path.exists()

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None. Lines logged after it are dropped: they will be written again."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            self._keep_log_to(-1)
            return None
        try:
            # Mapped: of the many processes of one machine, each takes its shard from the same pages.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):  # their messages are torch's, many lines long
            raise ValueError(f"{path} is damaged: delete {self.out} to start again") from None
        self._keep_log_to(state["step"])
        return state

    def _keep_log_to(self, step: int) -> None:
        if not self.main:
            return
        path = self.out / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        with atomic(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))

    def save(self, state: dict[str, Any]) -> None:
        """Raises OSError, the last checkpoint as it was, where there is no room for another."""
        path = self.out / "checkpoint.pt"
        try:
            with atomic(path) as temporary:
                torch.save(state, temporary)
        except (OSError, RuntimeError) as error:  # of a full disk torch's writer tells with a RuntimeError
            reason = str(error).splitlines()[0]
            raise OSError(
                f"{path} could not be written ({reason}); the last one is kept, and the same command goes on from it"
            ) from None

    def finish(
        self, about: dict[str, Any], tensors: dict[str, torch.Tensor], seconds: float, started_from: Path | None = None
    ) -> Path:
        """Write the model and its card: where the weights come from, without scores yet.

        `started_from` is the file of the model that was trained further; what its card says goes onto this one.
        """
        if not self.main:
            return self.model_path
        # The card first: a folder with a model counts as finished.
        record = {"minutes": round(seconds / 60, 1), "machine": machine(), "command": self.command}
        before = started_from.parent / "card.json" if started_from is not None else None
        history = json.loads(before.read_text()) if before is not None and before.exists() else {}
        write_json(
            self.out / "card.json",
            {"training": self.config | record} | ({"started_from": history["training"]} if history else {}),
        )
        save_model(self.model_path, about, tensors)
        self.release()
        return self.model_path

    def log(self, record: dict[str, Any]) -> None:
        if not self.main:
            return
        with open(self.out / "log.jsonl", "a") as file:
            file.write(
                json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in record.items()}) + "\n"
            )


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What two configurations disagree on, entry by entry."""
    found = []
    for name in sorted(set(old) | set(new)):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name} is {a} there, {b} here")
    return found


def run_loop(
    run: Run,
    engine: Engine,
    parts: dict[str, Stateful],
    train_step: Callable[[int], dict[str, float]],
    validate: Callable[[], dict[str, Any]],
    steps: int,
    per_step: dict[str, int],
    seed: int = 0,
    start: dict[str, Any] | None = None,
    tensorboard: bool = False,
    report: Callable[[], dict[str, Any]] = dict,
    log_every: int = 50,
    save_every: int = 250,
    validate_every: int = 1000,
) -> float:
    """Run `train_step(step)` for steps 0 .. steps-1, resuming from the folder's checkpoint; returns seconds spent.

    `parts` are the model, the optimizer and whatever else changes: everything a checkpoint must hold. All random
    numbers of a step come from `seed` and its number. `per_step` counts what a step goes through, {"images": 64}, for
    the speeds in the log; `start` is logged as step 0; `report()` adds to each line of the log.
    SIGTERM and Ctrl-C take a checkpoint before the process ends.
    Raises FloatingPointError when the loss is not finite, OSError when a checkpoint cannot be written; the last one is
    kept.
    """
    first, spent, sums, count = 0, 0.0, {}, 0  # type: int, float, dict[str, float], int
    if (state := run.load()) is not None:
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        first, spent, sums, count = state["step"], state["seconds"], state["sums"], state["count"]
    elif start is not None:
        run.log({"step": 0} | start)

    stop: list[int] = []
    old = {s: signal.signal(s, lambda number, _: stop.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    began = time.monotonic()
    bar = tqdm(
        range(first, steps), initial=first, total=steps, desc=run.out.name, unit="step", mininterval=1,
        disable=not run.main,
    )  # fmt: skip
    try:
        writer = Board(run.out / "tensorboard", first) if tensorboard and run.main else None
        since, counted = time.monotonic(), 0  # for speed, without the time of validation
        for step in bar:
            torch.manual_seed(step_seed(seed, step, engine.process))
            metrics = train_step(step)
            if not math.isfinite(metrics["loss"]):
                raise FloatingPointError(
                    f"the loss is {metrics['loss']} at step {step}; {run.out / 'checkpoint.pt'} still holds the last "
                    "good state. A lower --lr is the usual remedy."
                )
            sums = {name: sums.get(name, 0.0) + value for name, value in metrics.items()}
            count, counted, done, stopping = count + 1, counted + 1, step + 1, engine.any(bool(stop))
            run.step = done
            validating = done % validate_every == 0 or done == steps
            if done % log_every == 0 or validating:
                record: dict[str, Any] = (
                    {"step": done} | {name: value / count for name, value in sums.items()} | report()
                )
                rate = counted / (time.monotonic() - since)
                speed = {f"{name}_per_second": round(n * rate, 1) for name, n in per_step.items()}
                speed |= {"gib": round(engine.memory() / 2**30, 2)}
                bar.set_postfix({"loss": f"{record['loss']:.4f}"} | speed, refresh=False)
                if validating:
                    record |= validate()
                record |= speed | {"seconds": round(time.monotonic() - began + spent, 1)}
                run.log(record)
                if writer is not None:
                    writer.write(record)
                sums, count, since, counted = {}, 0, time.monotonic(), 0
            if done % save_every == 0 or done == steps or stopping:
                # Every process takes part in gathering the state; one writes it.
                held = {name: part.state_dict() for name, part in parts.items()}
                if run.main:
                    seconds = time.monotonic() - began + spent
                    run.save({"step": done, "seconds": seconds, "sums": sums, "count": count, "parts": held})
            if stopping:
                by = f"by signal {stop[0]}" if stop else "with another process"
                raise SystemExit(f"stopped {by} after step {done}; the same command goes on from here")
        if stop:  # while the last step was validated and saved
            raise SystemExit(f"stopped by signal {stop[0]} after the last step; the same command finishes from here")
    except BaseException:
        run.release()  # in a notebook this process lives on
        raise
    finally:
        bar.close()
        for number, handler in old.items():
            signal.signal(number, handler)
    return time.monotonic() - began + spent


class Board:
    """The log once more, for TensorBoard. Raises ValueError where that is not installed."""

    def __init__(self, folder: Path, first: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError("tensorboard: the package is not installed: pip install tensorboard") from None
        self.writer = SummaryWriter(str(folder), purge_step=first + 1)

    def write(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            values = {f"{name}/{i}": x for i, x in enumerate(value)} if isinstance(value, list) else {name: value}
            for tag, x in values.items():
                self.writer.add_scalar(tag, x, record["step"])
        self.writer.flush()


def override(recipe: Any, options: Options) -> Any:
    """A recipe with the entries that `options` gives in place of its own.

    Raises ValueError for an entry that does not exist, or a value of another kind or below what makes sense.
    """
    kinds = get_type_hints(type(recipe))
    given: dict[str, Any] = {
        n: getattr(options, n) for n in ("steps", "batch", "lr") if getattr(options, n) is not None
    }
    for text in options.recipe:
        name, _, value = text.partition("=")
        if name not in kinds:
            raise ValueError(f"recipe: there is no entry {name!r}; there are: {', '.join(kinds)}")
        given[name] = parse(name, value, kinds[name])
    for name, value in given.items():
        if isinstance(value, float | int) and not (value > 0 if name in ("steps", "batch", "lr") else value >= 0):
            raise ValueError(
                f"{name} must be {'positive' if name in ('steps', 'batch', 'lr') else '0 or more'}, got {value}"
            )
    return replace(recipe, **given)


def parse(name: str, text: str, kind: Any) -> Any:
    """The value of a recipe's entry: a number, true or false, or one of several words."""
    words: Any = get_args(kind) if get_origin(kind) is Literal else ("true", "false") if kind is bool else None
    if words is not None:
        if text not in words:
            raise ValueError(f"recipe: {name} must be one of {', '.join(words)}, got {text!r}")
        return text == "true" if kind is bool else text
    try:
        return tuple(float(x) for x in text.split(",")) if get_origin(kind) is tuple else kind(text)
    except ValueError:
        raise ValueError(f"recipe: {name} must be of type {kind.__name__}, got {text!r}") from None
