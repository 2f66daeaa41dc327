"""Features on disk, written batch by batch: memory does not grow with their number, and a kill loses one batch.

One folder in VARLITE_CACHE for each set of images. Batches are ranges of row numbers, so it makes no difference which
process computes one, or after how many interruptions.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from varlite.io.files import write_json
from varlite.io.launcher import announced_processes
from varlite.io.locks import hold
from varlite.io.places import cache_folder


class Rows:
    """An array (N, ...) in a file. Indexing reads: `rows[10:20]` or `rows[numbers]` is a tensor."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any = np.float32):
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.row_bytes = self.dtype.itemsize * int(np.prod(shape[1:]))

    def create(self) -> None:
        """Create the file, or empty it: all zero."""
        with open(self.path, "wb") as file:
            file.truncate(self.shape[0] * self.row_bytes)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> torch.Tensor:
        # Mapped for each read: pages that stay mapped count as memory of this process.
        mapped = np.memmap(self.path, self.dtype, "r", shape=self.shape)
        return torch.from_numpy(np.array(mapped[rows.numpy() if isinstance(rows, torch.Tensor) else rows]))

    def write(self, start: int, block: torch.Tensor | np.ndarray) -> None:
        """Write the rows of `block` from row `start` on."""
        with open(self.path, "r+b") as file:
            file.seek(start * self.row_bytes)
            file.write(np.ascontiguousarray(block, self.dtype).tobytes())


def check_room(num: int) -> None:
    """Raises OSError if the disk cannot hold even the smallest features of `num` images, fashion-classifier's."""
    cache = cache_folder()
    free = shutil.disk_usage(next(path for path in (cache, *cache.absolute().parents) if path.exists())).free
    if (need := 512 * num) > free:
        raise OSError(
            f"num: the features of {num:,} images take {need / 1e9:,.0f} GB, {cache} has {free / 1e9:,.0f} GB"
        )


class Processes:
    """Which process this is, and of how many: the only one, or one of those that torchrun started."""

    def __init__(self, device: torch.device):
        self.state, self.device, self.index, self.count = None, device, 0, 1
        if (announces := announced_processes()) > 1:
            from accelerate import PartialState

            self.state = PartialState(cpu=device.type == "cpu")
            if self.state.num_processes != announces:  # each would take itself for the only one, and do all the work
                raise ValueError(
                    f"{announces} processes are announced in the environment in a way that reaches none of them on "
                    f"{device.type}: start them with torchrun --nproc-per-node {announces} -m -- varlite ..."
                )
            self.device, self.index, self.count = self.state.device, self.state.process_index, self.state.num_processes
        self.main = self.index == 0

    def wait(self) -> None:
        if self.state is not None:
            self.state.wait_for_everyone()


class Work:
    """The folder for one set of images: `arrays` by name, and the seconds that each finished batch took.

    plan: everything that decides the numbers; its digest names the folder.
    shared: of images that many evaluations need. The folder is then for everyone once it is filled, and another process
        that wants to fill it waits; otherwise it is this one's until `release`, and another raises OSError.
    """

    def __init__(
        self, plan: dict[str, Any], num: int, batch: int, arrays: dict[str, tuple[tuple[int, ...], Any]],
        processes: Processes, shared: bool = False,
    ):  # fmt: skip
        plan = plan | {"num": num, "batch": batch, "arrays": {name: list(shape) for name, (shape, _) in arrays.items()}}
        digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        self.folder = cache_folder() / f"evaluate-{digest[:16]}"
        self.num, self.batch, self.processes, self.shared = num, batch, processes, shared
        self.arrays = {name: Rows(self.folder / name, (num, *shape), dtype) for name, (shape, dtype) in arrays.items()}
        self.seconds = Rows(self.folder / "seconds", (-(-num // batch),), np.float64)
        if processes.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            busy = "" if shared else f"{{holder}} is running the same evaluation, in {self.folder}: wait for it"
            self._lock = hold(self.folder / ".lock", busy, shared)
            if not (self.folder / "plan.json").exists():
                for rows in [*self.arrays.values(), self.seconds]:
                    rows.create()
                write_json(self.folder / "plan.json", plan)
        processes.wait()

    def forget(self) -> None:
        """Take no batch as finished."""
        self.seconds.create()

    def fill(self, make: Callable[[slice], Any], keep: Callable[[Any, slice], dict[str, Any]], what: str) -> None:
        """Compute this process's share of the missing batches: `keep(make(rows), rows)` gives a block for each array.

        Only `make` is timed.
        """
        mine = range(self.processes.index, len(self.seconds), self.processes.count)
        missing = [i for i in mine if self.seconds[i : i + 1].item() == 0]
        bar = tqdm(missing, desc=what, unit="batch", mininterval=0.5, delay=3, disable=not self.processes.main)
        try:
            for i in bar:
                rows = slice(i * self.batch, min((i + 1) * self.batch, self.num))
                start = time.monotonic()
                made = make(rows)
                seconds = time.monotonic() - start
                for name, block in keep(made, rows).items():
                    self.arrays[name].write(rows.start, block)
                self.seconds.write(i, np.array([max(seconds, 1e-9)]))
            self.processes.wait()
        finally:
            bar.close()
            if self.shared:
                self.release()

    def release(self) -> None:
        """Let other processes have the folder."""
        if self.processes.main:
            self._lock.release()

    def remove(self) -> None:
        if self.processes.main:
            shutil.rmtree(self.folder, ignore_errors=True)
