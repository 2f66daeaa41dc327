"""Processes for tests, forked from one that has already imported all that takes long: they start in a moment."""

import multiprocessing
import multiprocessing.forkserver
import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch

FORKS = multiprocessing.get_context("forkserver")
AHEAD = [
    "tyro", "torch_fidelity", "torch._dynamo",  # the last is what the first optimizer of a process imports
    "varlite.cli", "varlite.evaluation.scoring", "varlite.speed.side_by_side",
    "varlite.training.train_tokenizer", "varlite.training.train_transformer",
]  # fmt: skip


def get_ready() -> None:
    """Start the process that others are forked from. Each test process has one; who starts it says what it imports."""
    FORKS.set_forkserver_preload(AHEAD)
    multiprocessing.forkserver.ensure_running()


def start(errors: Path, function: Any, *arguments: Any, **environment: str) -> Any:
    """Call a function of a module in tests/ in a process of its own, whose output goes to the file `errors`."""
    get_ready()
    process = FORKS.Process(target=_child, args=(errors, function, arguments, environment))
    process.start()
    return process


def run(errors: Path, function: Any, *arguments: Any, **environment: str) -> int:
    """The same, to its end: the exit status."""
    process = start(errors, function, *arguments, **environment)
    process.join()
    return process.exitcode


def run_several(n: int, errors: Path, function: Any, *arguments: Any, **environment: str) -> int:
    """The same in n processes that find each other, as torchrun would start them: the first exit status but 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n)}
    shared["OMP_NUM_THREADS"] = "1"  # as torchrun does
    ranks = ({"RANK": str(i), "LOCAL_RANK": str(i), "LOCAL_WORLD_SIZE": str(n)} for i in range(n))
    processes = [start(errors, function, *arguments, **shared, **rank) for rank in ranks]
    processes[0].join(150)
    for process in processes[1:]:
        process.join(20 if processes[0].exitcode == 0 else 0)
        if process.exitcode is None:
            process.kill()
    return next((process.exitcode for process in processes if process.exitcode), 0)


def _child(errors: Path, function: Any, arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    if "OMP_NUM_THREADS" in environment:  # torch, being imported, reads it no more
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    with errors.open("a") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    function(*arguments)
