"""Putting weights into models: a file is believed only where its configuration and its tensors agree."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from varlite.io.files import read_model
from varlite.io.meta import on_meta
from varlite.io.records import read_record
from varlite.models import KINDS
from varlite.tokenizer import VQVAE, TokenizerConfig

MOST_SIDE, MOST_ENTRIES = 1024, 512  # of a token map; of a list of scales or levels
LAYERS = ("depth", "encoder_blocks", "decoder_blocks", "phi_shared")  # entries that count layers
BUILD_ERRORS = (RuntimeError, TypeError, ValueError, ArithmeticError, IndexError, MemoryError)


def twin(model, cls=None):
    """Another model of the same weights, not copies of them; of another class, if one is given."""
    other = on_meta(cls or type(model), model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    other.scales = model.scales  # a tokenizer may serve another schedule than its configuration's
    if hasattr(model, "class_names"):
        other.class_names = model.class_names
    return other.train(model.training)


def open_ours(path: Path, wanted: str | None = None) -> tuple[dict[str, Any], Any]:
    """(what its header says, the model) of a file written by `save_model`, in evaluation mode, as precise as the file.

    `wanted` is "transformer", "tokenizer" or None for either. Raises ValueError for a file that is something else or
    contradicts itself.
    """
    about, tensors = read_model(path)
    name = about["kind"]
    if name not in KINDS and (name != "tokenizer" or wanted == "transformer"):
        raise ValueError(f"{path} is a {name}, not a transformer ({', '.join(KINDS)})")
    if name != "tokenizer" and wanted == "tokenizer":
        raise ValueError(f"{path} is a {name}, not a tokenizer")
    cls, config_cls = (VQVAE, TokenizerConfig) if name == "tokenizer" else (KINDS[name].model, KINDS[name].config)
    for entry, value in about["config"].items():
        if isinstance(value, list) and len(value) > MOST_ENTRIES:
            raise ValueError(f"{path}: its config: {entry!r} has {len(value)} entries, more than {MOST_ENTRIES}")
    config: Any = read_record(config_cls, about["config"], f"{path}: its config")
    for entry in LAYERS:
        most = max(np.ravel(getattr(config, entry, 0)), default=0)
        if most > len(tensors):
            raise ValueError(f"{path}: its config: {entry!r} asks for {most} layers of {len(tensors)} tensors")
    classes = about.get("classes")
    if name != "tokenizer" and classes is not None and len(classes) != config.classes:
        raise ValueError(f"{path}: its header names {len(classes)} classes, its config has {config.classes}")
    model = adopt(cls, config, tensors, path)
    if name != "tokenizer":
        model.class_names = classes
    return about, model


def adopt(cls: Any, config: Any, tensors: dict[str, torch.Tensor], path: Path) -> Any:
    """A model that uses the given tensors themselves as its weights. Raises ValueError that names what does not fit."""
    model = build(cls, config, len(tensors), path)
    weights = model.state_dict()
    expected = {name: tuple(t.shape) for name, t in weights.items()}
    wrong = [
        name
        for name in sorted(expected.keys() | tensors.keys())
        if tuple(tensors.get(name, torch.empty(0)).shape) != expected.get(name)
    ]
    if wrong:
        raise ValueError(
            f"{path} does not hold the model of its header: missing, extra or mis-shaped {', '.join(wrong[:6])}"
        )
    for name, tensor in tensors.items():
        if weights[name].is_floating_point() and not tensor.is_floating_point():
            raise ValueError(f"{path}: {name} must hold real numbers, got {str(tensor.dtype).removeprefix('torch.')}")
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def open_network(cls: Any, path: Path, kind: str) -> Any:
    """`cls` in a file of ours, which holds half precision, in evaluation mode and float32: for networks that judge.

    Raises FileNotFoundError for a missing file, ValueError for a file of something else.
    """
    about, tensors = read_model(path)
    if about["kind"] != kind:
        raise ValueError(f"path: {path} is a {about['kind']}, not a {kind}")
    return adopt(lambda config: cls(**config), about["config"], tensors, path).float()


def build(cls: Any, config: Any, tensors: int, path: Path) -> Any:
    """`cls(config)` on the meta device, given up as soon as it has more weights than the file has tensors.

    Raises ValueError for a configuration that makes no model, or one far larger than the file.
    """
    try:
        with _at_most(2 * tensors + 100):
            model = on_meta(cls, config)
    except BUILD_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: its config makes no model ({reason})") from None
    scales = getattr(model, "scales", None)  # a classifier has none
    if scales is not None and max(scales.last) > MOST_SIDE:
        raise ValueError(f"{path}: its config has token maps of {scales.last}: no side may exceed {MOST_SIDE}")
    return model


@contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Raises ValueError when this thread makes more parameters: a depth of a billion would never end."""
    made, mine = 0, threading.get_ident()

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
        nonlocal made
        made += threading.get_ident() == mine
        if made > parameters:
            raise ValueError("it has far more weights than the file")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
