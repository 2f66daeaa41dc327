"""What every training shares: a folder that survives a kill, a log, a schedule, and the loop.

The folder holds `config.json`, `log.jsonl` (one line per log step), `checkpoint.pt` (all that resuming needs) and, at
the end, `model.safetensors`. The same command again goes on where the last checkpoint was taken, bit for bit.
"""

import json
import math
import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from varlite.files import atomic, write_json


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
    OSError if it cannot be written; both before anything is computed.
    """

    def __init__(self, out: Path, config: dict[str, Any]):
        self.out, self.config = out, json.loads(json.dumps(config))
        out.mkdir(parents=True, exist_ok=True)
        path = out / "config.json"
        if path.exists():
            old = json.loads(path.read_text())
            names = sorted(set(old) | set(self.config))
            changed = [f"{n}: {old.get(n)} there, {self.config.get(n)} here" for n in names if old.get(n) != self.config.get(n)]
            if changed:
                raise ValueError(f"{out} holds a training of another configuration ({'; '.join(changed)}): use another --out")
        else:
            write_json(path, self.config)

    @property
    def finished(self) -> bool:
        return (self.out / "model.safetensors").exists()

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None. Lines logged after it are dropped: they will be written again."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete {self.out} to start again") from None
        lines = (self.out / "log.jsonl").read_text().splitlines() if (self.out / "log.jsonl").exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= state["step"]]
        with atomic(self.out / "log.jsonl") as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))
        return state

    def save(self, state: dict[str, Any]) -> None:
        with atomic(self.out / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def log(self, record: dict[str, Any]) -> None:
        with open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in record.items()}) + "\n")


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
    """Run `train_step(step)` for steps 0 .. steps-1, resuming from the folder's checkpoint; returns seconds of training.

    `parts` are the model, the optimizer and whatever else changes: everything a checkpoint must hold beside the state
    of torch's random generator. SIGTERM and Ctrl-C take a checkpoint before the process ends.
    Raises FloatingPointError when the loss is not finite; the last checkpoint is kept.
    """
    first, spent = 0, 0.0
    if (state := run.load()) is not None:
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        torch.set_rng_state(state["rng"])
        first, spent = state["step"], state["seconds"]

    stop: list[int] = []
    old = {s: signal.signal(s, lambda number, _: stop.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    start, sums, count = time.monotonic() - spent, {}, 0  # type: float, dict[str, float], int
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=run.out.name, unit="step", mininterval=1, smoothing=0.05)
    try:
        for step in bar:
            metrics = train_step(step)
            if not math.isfinite(metrics["loss"]):
                raise FloatingPointError(
                    f"the loss is {metrics['loss']} at step {step}; {run.out / 'checkpoint.pt'} still holds the last good "
                    "state. A lower --lr is the usual remedy."
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
            # Only where a log line has just been written, so that a resumed run averages over the same steps.
            if (done % save_every == 0 and not count) or done == steps or (stop and not count):
                run.save(
                    {
                        "step": done,
                        "seconds": time.monotonic() - start,
                        "rng": torch.get_rng_state(),
                        "parts": {name: part.state_dict() for name, part in parts.items()},
                    }
                )
                if stop:
                    raise SystemExit(f"stopped by signal {stop[0]} at step {done}; the same command goes on from here")
    finally:
        bar.close()
        for number, handler in old.items():
            signal.signal(number, handler)
    return time.monotonic() - start


def machine() -> str:
    """What the minutes of a training were measured on."""
    name = "GPU " + torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"{name}, torch {torch.__version__.split('+')[0]}"
