"""Modules without memory behind their weights: for shapes, names and counts of models that fit on no machine here."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NoInitialValues(TorchFunctionMode):
    """Skip in-place functions, which is what initialisers are made of. On the meta device they would do nothing either,
    but the first of them makes torch import 900 modules, two seconds of every start."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__"):
            return args[0] if args else (kwargs or {})["tensor"]  # methods, and the functions of torch.nn.init
        return func(*args, **(kwargs or {}))


def on_meta(cls: Any, config: Any) -> Any:
    """`cls(config)` on the meta device: nothing is paid for initial values that nobody will see."""
    with torch.device("meta"), _NoInitialValues():
        return cls(config)
