"""What a record says about how its numbers came about: the machine, the versions, the command."""

import os
import shlex
import sys
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

import varlite


def machine() -> str:
    """What times were measured on: the GPU or the number of CPU cores, and torch."""
    name = "GPU " + torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"{name}, torch {torch.__version__.split('+')[0]}"


def versions(*others: str) -> dict[str, str]:
    """Versions of varlite, torch, NumPy, and of other packages by name."""
    known = {"varlite": varlite.__version__, "torch": torch.__version__, "numpy": np.__version__}
    return known | {name: version(name) for name in others}


def command(name: str, options: Any = None, **others: Any) -> str:
    """The command line that repeats a command: `others` first, then what in the dataclass `options` is not its default.

    None and False are left out.
    """
    given = () if options is None else fields(options)
    changed = {f.name: getattr(options, f.name) for f in given if getattr(options, f.name) != f.default}
    words = ["varlite", *name.split()]
    for key, value in (others | changed).items():
        if value is None or value is False:
            continue
        values = () if value is True else value if isinstance(value, tuple) else (value,)
        words += [f"--{key.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


def this_command() -> str:
    """The command line that this process was started with."""
    return shlex.join(["varlite", *sys.argv[1:]])
