"""What a refusal says of a wrong argument, and looking at the values of a tensor."""

import reprlib
from operator import index
from typing import Any

import numpy as np
import torch


def brief(value: Any) -> str:
    """A wrong value in a few words: itself if it is short, otherwise what it is."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and {value.dtype}"
    builtin = type(value).__module__ == "builtins" and not isinstance(value, type)
    return reprlib.repr(value).replace("\n", " ") if builtin else type(value).__name__


def integer(name: str, value: Any, low: int | None = None) -> int:
    """A whole number of any library. Raises ValueError for anything else and below `low`."""
    try:
        whole = None if isinstance(value, bool) else index(value)
    except TypeError:
        whole = None
    if whole is None or (low is not None and whole < low):
        raise ValueError(f"{name} must be an integer{'' if low is None else f' from {low}'}, got {brief(value)}")
    return whole


def check_switches(**switches: Any) -> None:
    """Raises ValueError that names an argument which is neither True nor False."""
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {brief(value)}")


def value_range(x: torch.Tensor) -> tuple[float, float] | None:
    """The smallest and the largest value, NaN if there is one. None for a tensor that is empty or has only a shape."""
    if not x.numel() or x.is_meta or type(x).__name__ == "FakeTensor":
        return None
    low, high = torch.stack(x.aminmax()).tolist()
    return low, high
