"""What a refusal says of a wrong argument, and looking at the values of a tensor."""

import reprlib
from typing import Any

import torch


def brief(value: Any) -> str:
    """A wrong value in a few words: itself if it is short, otherwise what it is."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and {value.dtype}"
    builtin = type(value).__module__ == "builtins" and not isinstance(value, type)
    return reprlib.repr(value).replace("\n", " ") if builtin else type(value).__name__


def integer(name: str, value: Any, low: int | None = None) -> int:
    """A whole number of any library. Raises ValueError for anything else and below `low`."""
    whole = hasattr(value, "__index__") and getattr(value, "ndim", 0) == 0 and not isinstance(value, bool)
    if not whole or (low is not None and value < low):
        raise ValueError(f"{name} must be an integer{'' if low is None else f' from {low}'}, got {brief(value)}")
    return value.__index__()


def value_range(x: torch.Tensor) -> tuple[float, float] | None:
    """The smallest and the largest value, NaN if there is one. None for a tensor that is empty or has only a shape."""
    if not x.numel() or x.is_meta or type(x).__name__ == "FakeTensor":
        return None
    low, high = torch.stack(x.aminmax()).tolist()
    return low, high
