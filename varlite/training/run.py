"""The folder of one training, which survives a kill at any moment.

It holds `config.json`, `log.jsonl` (one line per log step), `checkpoint.pt` (all that resuming needs) and, at the end,
`model.safetensors` and `card.json`. The same command again resumes from the last checkpoint, bit for bit.
"""

import json
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock
from safetensors import SafetensorError, safe_open

from varlite.checkpoints.cards import lies_beside_a_transformer
from varlite.datasets import Dataset
from varlite.datasets.encoded import EncodedImages
from varlite.datasets.survey import first_lines
from varlite.io.files import atomic, clear_half_written, save_model, write_json
from varlite.io.locks import hold
from varlite.io.pictures import save_png
from varlite.io.provenance import machine
from varlite.io.records import read_object
from varlite.training.options import Options

STATE = {"step", "seconds", "sums", "count", "parts"}  # what checkpoint.pt holds


class Run:
    """The folder of one training. Only the main process of several writes to it.

    `config` says which training it is, as far as that is known before the data are opened; `begin` completes it.
    `started_from` is the file of the model that is trained further, whose card will be quoted on this one's.

    Nothing is written before `begin`; `with run:` releases the folder in the end. Raises ValueError, naming every
    difference, if the folder belongs to a training with another configuration, and OSError if it cannot be written.
    """

    def __init__(
        self,
        out: Path,
        config: dict[str, Any],
        command: str,
        main: bool = True,
        started_from: Path | None = None,
    ):
        self.out, self.config, self.command, self.main = out, json.loads(json.dumps(config)), command, main
        self.step = 0  # steps done
        self._lock: BaseFileLock | None = None
        check_folder(out)
        own_card = started_from and not lies_beside_a_transformer(started_from)
        self._history = read_json(started_from.parent / "card.json") if started_from and own_card else {}
        self._check_config(partial=True)

    @property
    def model_path(self) -> Path:
        return self.out / "model.safetensors"

    def resumes(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.out / "checkpoint.pt").exists()

    def finished(self) -> bool:
        """Whether this training is done, judged without its data if they are given by the same name as before."""
        return read_json(self.out / "config.json").get("data") == self.config.get("data") and self._has_model()

    def begin(self, of_data: dict[str, Any]) -> bool:
        """Take possession of the folder; False if the training turns out to be done.

        `of_data` are the entries of the configuration that depend on the data. Raises as the constructor does, and
        OSError if another training is writing to the folder.
        """
        self.config |= json.loads(json.dumps(of_data))
        if not self.main:
            return not self._has_model()
        self.out.mkdir(parents=True, exist_ok=True)
        busy = f"{self.out} is being written by another training, {{holder}}: wait for it, or use another --out"
        self._lock = hold(self.out / ".lock", busy)
        self._check_config()
        if self._has_model():
            return False
        for folder in (self.out, self.out / "pictures"):
            clear_half_written(folder)
        path = self.out / "config.json"
        if not path.exists():
            with named(path, "nothing was computed yet"):
                write_json(path, self.config)
        return True

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        """Let other trainings into the folder. The end of the process does so, too."""
        if self._lock is not None:
            self._lock.release()

    def _check_config(self, partial: bool = False) -> None:
        """Compare with config.json; `data`, the place of the data, does not count, their checksum does."""
        old = read_json(self.out / "config.json")
        changed = differences(old | {"data": None}, self.config | {"data": None}, partial=partial) if old else []
        if changed:
            raise ValueError(
                f"{self.out} holds a training of another configuration ({'; '.join(changed)}): use another --out"
            )

    def _has_model(self) -> bool:
        if not self.model_path.exists():
            return False
        try:
            with safe_open(self.model_path, "pt"):  # checks the header, and that as much follows as it says
                pass
        except SafetensorError as error:
            if self.main:
                print(f"{self.model_path} is no whole file ({error}): this training is not finished", file=sys.stderr)
            return False
        if self.main:
            print(f"{self.out} is finished; delete it to train again", file=sys.stderr)
        return True

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None. Lines logged after it are dropped: they will be written again."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            self._keep_log_to(-1)
            return None
        try:
            # Mapped: the processes of one machine share its pages, and each takes its shard from them.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):  # their messages are torch's, many lines long
            state = None
        if not isinstance(state, dict) or state.keys() != STATE:
            raise ValueError(f"{path} is damaged: delete {self.out} to start again")
        self._keep_log_to(state["step"])
        return state

    def _keep_log_to(self, step: int) -> None:
        if not self.main:
            return
        path = self.out / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if step_of(line) <= step]
        with named(path), atomic(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint. Raises OSError if that fails; the last one then stays as it was."""
        path = self.out / "checkpoint.pt"
        then = "the last one is kept, and the same command resumes from it"
        # By way of a file object: torch's own writer would hide why it failed.
        with named(path, then), atomic(path) as temporary, open(temporary, "wb") as file:
            torch.save(state, file)

    def finish(
        self,
        about: dict[str, Any],
        tensors: dict[str, torch.Tensor],
        seconds: float,
        beside: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]],
    ) -> None:
        """Write the model, the models that go `beside` it (by file name), and its card: where the weights come from."""
        if not self.main:
            return
        then = "checkpoint.pt is kept, and the same command finishes from it"
        record = {"minutes": round(seconds / 60, 1), "machine": machine(), "command": self.command}
        history = {}
        if "training" in self._history:
            older = {key: self._history[key] for key in ("started_from",) if key in self._history}
            history = {"started_from": self._history["training"] | older}
        # The model last: a folder with a model counts as finished.
        with named(self.out / "card.json", then):
            write_json(self.out / "card.json", {"training": self.config | record} | history)
        for name, model in (beside | {self.model_path.name: (about, tensors)}).items():
            with named(self.out / name, then):
                save_model(self.out / name, *model)

    def say_data(self, dataset: Dataset) -> None:
        """Print what was understood of one's own images."""
        if isinstance(dataset, EncodedImages) and self.main:
            print(*first_lines(dataset), sep="\n", file=sys.stderr)

    def say_skipped(self, skipped: dict[str, str]) -> None:
        """Print which pictures could not be read, the first of them with the reason."""
        if skipped and self.main:
            listed = "; ".join(f"{name} ({reason})" for name, reason in list(skipped.items())[:3])
            more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
            print(f"skipped {len(skipped)} pictures that could not be read: {listed}{more}", file=sys.stderr)

    def save_picture(self, picture: torch.Tensor) -> None:
        """Keep a picture of what the model does at this step."""
        path = self.out / "pictures" / f"{self.step:07d}.png"
        with named(path):
            save_png(path, picture)

    def log(self, record: dict[str, Any]) -> None:
        if not self.main:
            return
        rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in record.items()}
        with named(self.out / "log.jsonl"), open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps(rounded) + "\n")


def identity(
    head: dict[str, Any], recipe: Any, options: Options, data: str, model: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The configuration of a training, as far as it is known before the data are opened."""
    found = head | ({} if model is None else {"model": model}) | {"recipe": asdict(recipe), "seed": options.seed}
    return found | {"flip": options.flip, "precision": options.precision, "data": data}


@contextmanager
def named(path: Path, then: str = "the same command goes on from the last checkpoint") -> Iterator[None]:
    """Turn an error of writing into one OSError that names the file, the reason and what happens next."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        cause: BaseException = error
        while not isinstance(cause, OSError) and cause.__context__ is not None:
            cause = cause.__context__
        reason = getattr(cause, "strerror", None) or str(error).splitlines()[0].removeprefix(
            f"{path} could not be written: "
        )
        raise OSError(f"{path} could not be written ({reason}); {then}") from None


def check_folder(out: Path) -> None:
    """Raises OSError unless `out` is a folder that can be written, or can be made."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"out: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"out: {there} is not writable")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no file. Raises ValueError if it is damaged."""
    try:
        return read_object(path) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error})") from None


def step_of(line: str) -> float:
    """The step of a line of the log; infinity for a line that is cut off or damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return float("inf")


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "", partial: bool = False) -> list[str]:
    """What two configurations disagree on, entry by entry; with `partial` only entries that `new` has count."""
    found = []
    for name in sorted(set(new) if partial else set(old) | set(new)):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.", partial)
        elif a != b:
            found.append(f"{prefix}{name} is {a} there, {b} here")
    return found
