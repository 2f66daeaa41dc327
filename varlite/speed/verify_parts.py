"""`varlite verify`: what a machine computes, and how fast, part by part, each within a budget of seconds.

The parts run one after another in a process of their own. One that takes longer than it may, or dies, is stopped, and
the next one gets a new process. So a defect of a driver or a compiler costs one part, and the table is always printed.
"""

import gc
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from varlite.io.files import write_json
from varlite.io.memory import keep_freed_memory
from varlite.io.provenance import command, machine, versions

GRACE = 10.0  # seconds beyond its budget after which a part that does not look at the clock is stopped


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    value: float | str = ""
    unit: str = ""
    beside: str = ""  # what is expected, or published with source and card
    passed: bool | None = None  # None: a figure, or something that was not run
    note: str = ""


@dataclass
class Job:
    """What a part is told. `small`: only what takes a CPU seconds."""

    device: torch.device
    deadline: float
    small: bool

    def left(self) -> float:
        """Seconds until the part's budget is used up."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True)
class Part:
    name: str
    run: Callable[[Job], Iterable[Row]]
    seconds: float


def does_not_fit(error: Exception) -> bool:
    """Whether there was too little memory, of the device or of the machine."""
    refused = "can't allocate memory" in str(error) or "not enough memory" in str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (isinstance(error, RuntimeError) and refused)


def free(device: torch.device) -> None:
    """Give back what nobody holds any more, so that the next model finds all of the memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def rows_of(part: Part, job: Job) -> Iterable[Row]:
    """The rows of a part; an error ends it with a row that says so."""
    try:
        yield from part.run(job)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if does_not_fit(error):
            yield Row("the rest of this part", note=f"too little memory: {text}")
        else:
            yield Row("the rest of this part", "failed", passed=False, note=text)
    finally:
        free(job.device)


def serve(pipe: Any, parts: list[Part], device: torch.device, small: bool) -> None:
    """What the process that computes does: parts by number, their rows as they come, and None after the last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process
    keep_freed_memory()
    try:
        pipe.send(None)  # torch is imported
        while (task := pipe.recv()) is not None:
            number, seconds = task
            for row in rows_of(parts[number], Job(device, time.monotonic() + seconds, small)):
                pipe.send(row)
            pipe.send(None)
    except (EOFError, BrokenPipeError):
        return


class Worker:
    """The process that computes."""

    def __init__(self, parts: list[Part], device: torch.device, small: bool):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, parts, device, small))
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def run(self, number: int, seconds: float) -> Iterable[Row]:
        """The rows of a part. Raises TimeoutError or EOFError if the process has to be given up."""
        self.pipe.send((number, seconds))
        end = time.monotonic() + seconds + GRACE
        while True:
            if not self.pipe.poll(max(0.0, end - time.monotonic())):
                raise TimeoutError
            if (row := self.pipe.recv()) is None:
                return
            yield row

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def run_parts(
    parts: list[Part], device: torch.device, small: bool, out: Path | None = None,
    show: Callable[[str, Row], None] = lambda part, row: None,
) -> dict[str, Any]:  # fmt: skip
    """Run all parts; the record, which is also written to `out` after each. What a part leaves of its budget, the
    following ones may use."""
    record: dict[str, Any] = {
        "command": command("verify", device=str(device), out=out), "machine": machine(), "versions": versions(),
        "device": str(device), "small": small, "seconds": {}, "parts": {},
    }  # fmt: skip
    worker, spare = None, 0.0
    try:
        for number, part in enumerate(parts):
            worker = worker or Worker(parts, device, small)
            began, seconds, rows = time.monotonic(), part.seconds + spare, []
            try:
                for row in worker.run(number, seconds):
                    rows.append(row)
                    show(part.name, row)
            except (TimeoutError, EOFError, OSError) as error:
                late = isinstance(error, TimeoutError)
                what = f"stopped after its {seconds:.0f} s" if late else "the process that computed it died"
                rows.append(
                    Row("the rest of this part", "" if late else "failed", "", "", None if late else False, what)
                )
                show(part.name, rows[-1])
                worker.close()
                worker = None
            took = time.monotonic() - began
            spare = max(0.0, seconds - took)
            record["seconds"][part.name] = round(took, 1)
            record["parts"][part.name] = [asdict(row) for row in rows]
            if out is not None:
                write_json(out, record)
    finally:
        if worker is not None:
            worker.close()
    return record


def failures(record: dict[str, Any]) -> list[str]:
    """The rows that did not pass, as "part: what"."""
    rows = [(part, row) for part, of_part in record["parts"].items() for row in of_part]
    return [f"{part}: {row['what']}" for part, row in rows if row["passed"] is False]
