"""What every training shares: a folder that survives a kill, a log, a schedule, and the loop.

The folder holds `config.json`, `log.jsonl` (one line per log step), `checkpoint.pt` (all that resuming needs) and, at
the end, `model.safetensors` and `card.json`. The same command again goes on from the last checkpoint, bit for bit.
"""

import json
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from varlite.files import atomic, save_model, write_json


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate at `step` of `steps`: linear up over `warmup`, then a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Run:
    """The folder of one training.

    Raises ValueError, naming every difference, if the folder belongs to a training with another configuration, and
    OSError if it cannot be written or another process is training in it; all before anything is computed.
    """

    def __init__(self, out: Path, config: dict[str, Any], command: str):
        self.out, self.config, self.command = out, json.loads(json.dumps(config)), command
        out.mkdir(parents=True, exist_ok=True)
        # Held until the process ends, in whatever way.
        self._lock = FileLock(out / ".lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise OSError(f"{out} is being written by another training: wait for it, or use another --out") from None
        path = out / "config.json"
        if path.exists():
            old = json.loads(path.read_text())
            if changed := differences(old, self.config):
                raise ValueError(
                    f"{out} holds a training of another configuration ({'; '.join(changed)}): use another --out"
                )
        else:
            write_json(path, self.config)

    @property
    def model_path(self) -> Path:
        return self.out / "model.safetensors"

    def finished(self) -> bool:
        """Whether the model is there; says so, since the same command then has nothing to do."""
        if self.model_path.exists():
            print(f"{self.out} is finished; delete it to train again", file=sys.stderr)
        return self.model_path.exists()

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None. Lines logged after it are dropped: they will be written again."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            self._keep_log_to(0)
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):  # their messages are torch's, many lines long
            raise ValueError(f"{path} is damaged: delete {self.out} to start again") from None
        self._keep_log_to(state["step"])
        return state

    def _keep_log_to(self, step: int) -> None:
        path = self.out / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        with atomic(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))

    def save(self, state: dict[str, Any]) -> None:
        with atomic(self.out / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def finish(
        self, about: dict[str, Any], tensors: dict[str, torch.Tensor], seconds: float, started_from: Path | None = None
    ) -> Path:
        """Write the model and its card: where the weights come from, without scores yet.

        `started_from` is the file of the model that was trained further; what its card says goes onto this one.
        """
        save_model(self.model_path, about, tensors)
        record = {"minutes": round(seconds / 60, 1), "machine": machine(), "command": self.command}
        before = started_from.parent / "card.json" if started_from is not None else None
        history = json.loads(before.read_text()) if before is not None and before.exists() else {}
        write_json(
            self.out / "card.json",
            {"training": self.config | record} | ({"started_from": history["training"]} if history else {}),
        )
        return self.model_path

    def log(self, record: dict[str, Any]) -> None:
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
    parts: dict[str, Stateful],
    train_step: Callable[[int], dict[str, float]],
    validate: Callable[[], dict[str, Any]],
    steps: int,
    log_every: int = 50,
    save_every: int = 250,
    validate_every: int = 1000,
) -> float:
    """Run `train_step(step)` for steps 0 .. steps-1, resuming from the folder's checkpoint; returns seconds spent.

    `parts` are the model, the optimizer and whatever else changes: everything a checkpoint must hold beside the state
    of torch's random generator. SIGTERM and Ctrl-C take a checkpoint before the process ends.
    Raises FloatingPointError when the loss is not finite; the last checkpoint is kept.
    """
    first, spent, sums, count = 0, 0.0, {}, 0  # type: int, float, dict[str, float], int
    if (state := run.load()) is not None:
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        torch.set_rng_state(state["rng"])
        first, spent, sums, count = state["step"], state["seconds"], state["sums"], state["count"]

    stop: list[int] = []
    old = {s: signal.signal(s, lambda number, _: stop.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    start = time.monotonic() - spent
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=run.out.name, unit="step", mininterval=1)
    try:
        for step in bar:
            metrics = train_step(step)
            if not math.isfinite(metrics["loss"]):
                raise FloatingPointError(
                    f"the loss is {metrics['loss']} at step {step}; {run.out / 'checkpoint.pt'} still holds the last "
                    "good state. A lower --lr is the usual remedy."
                )
            sums = {name: sums.get(name, 0.0) + value for name, value in metrics.items()}
            count, done = count + 1, step + 1
            validating = done % validate_every == 0 or done == steps
            if done % log_every == 0 or validating:
                record: dict[str, Any] = {"step": done} | {name: value / count for name, value in sums.items()}
                bar.set_postfix({"loss": f"{record['loss']:.4f}"}, refresh=False)
                if validating:
                    record |= validate()
                run.log(record | {"seconds": round(time.monotonic() - start, 1)})
                sums, count = {}, 0
            if done % save_every == 0 or done == steps or stop:
                run.save(
                    {"step": done, "seconds": time.monotonic() - start, "sums": sums, "count": count}
                    | {"rng": torch.get_rng_state(), "parts": {name: part.state_dict() for name, part in parts.items()}}
                )
            if stop:
                raise SystemExit(f"stopped by signal {stop[0]} after step {done}; the same command goes on from here")
    finally:
        bar.close()
        for number, handler in old.items():
            signal.signal(number, handler)
    return time.monotonic() - start


def machine() -> str:
    """What the minutes of a training were measured on."""
    name = "GPU " + torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"{name}, torch {torch.__version__.split('+')[0]}"


def override(recipe: Any, **values: float | None) -> Any:
    """A recipe with the values that are not None in place of its own. Raises ValueError unless they are positive."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    return replace(recipe, **given)


def command(name: str, **options: Any) -> str:
    """The command line that a training answers to, for its card; options left at their default are left out."""
    return " ".join(
        ["varlite", name]
        + [f"--{key.replace('_', '-')} {value}" for key, value in options.items() if value is not None]
    )
