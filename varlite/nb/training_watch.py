"""Trainings in notebooks: run one by a command, read its log, watch its curves while it is being written."""

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipywidgets import Image
from matplotlib.figure import Figure

from varlite.checkpoints.cards import read_log
from varlite.nb.plots import figure_png, scale_colours

WAIT = 1.0  # seconds between two looks at a log

Log = Sequence[Mapping[str, Any]]


def column(log: Log, name: str) -> tuple[list[int], list[Any]]:
    """Steps and values of the lines that have `name`."""
    having = [line for line in log if name in line]
    return [line["step"] for line in having], [line[name] for line in having]


def curves_png(log: Log) -> bytes:
    """What is worth watching in a log so far, as a PNG file: the loss and, of a tokenizer, each scale's perplexity."""
    figure = Figure(figsize=(8, 2.8), dpi=70)  # not pyplot's: a thread may draw it
    left, right = figure.subplots(1, 2)
    left.plot(*column(log, "loss"), "o-", color="black", markersize=4)
    left.set(xlabel="step", ylabel="loss")
    name = next((n for n in ("perplexity_per_scale", "grad_norm") if any(n in line for line in log)), None)
    if name is not None:
        steps, values = column(log, name)
        right.set_prop_cycle(color=scale_colours(len(values[0])) if isinstance(values[0], list) else ["black"])
        right.plot(steps, values, "o-", markersize=4)
        right.set(xlabel="step", ylabel=name.replace("_", " "))
    else:
        right.set_axis_off()
    figure.tight_layout()
    return figure_png(figure)


def hushed() -> contextlib.AbstractContextManager:
    """Keeps progress bars, which are for terminals, off the page."""
    return contextlib.redirect_stderr(io.StringIO())


@contextlib.contextmanager
def watch(folder: str | Path, screen: Image) -> Iterator[None]:
    """While the block trains in `folder`, in this process or another, `screen` shows the curves of its log.

    The log is the interface: whatever writes it can be watched. Progress bars are kept off the page.
    """
    done = threading.Event()

    def look() -> None:
        shown, ended = -1, False
        while not ended:
            ended = done.wait(WAIT)
            if len(log := read_log(folder)) != shown:
                screen.value, shown = curves_png(log), len(log)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        with hushed():
            yield
    finally:
        done.set()
        thread.join()


def run_command(*words: str | Path) -> None:
    """`varlite WORDS` as on the command line. Raises RuntimeError with the last line of what it complained of."""
    done = subprocess.run([sys.executable, "-m", "varlite", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise RuntimeError(f"varlite {words[0]}: {said[-1]}")
