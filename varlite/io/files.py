"""Files that are either whole or absent: atomic writes, and models as one self-describing safetensors file."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


@contextmanager
def atomic(path: Path, sync: bool = True) -> Iterator[Path]:
    """Write to the path given inside the block; it takes the place of `path` only when the block succeeds.

    A crash, a full disk or a kill in the middle leaves the old file as it was; a power cut too, unless `sync` is False,
    which is for thousands of small files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        if sync:
            with open(name, "rb+") as file:
                os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's files are private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def save_model(path: Path, about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a model as safetensors whose header says what it is: `about` holds plain JSON values, "kind" and "config"
    among them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, {"format": "pt", "varlite": json.dumps(about)})


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(about, tensors) of a file written by `save_model`. The tensors are memory-mapped.

    Raises FileNotFoundError, or ValueError for a file that is damaged or not a varlite model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("varlite")
            if header is None:
                raise ValueError(f"{path} is a safetensors file, but not a varlite model (its header does not say so)")
            return json.loads(header), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error})") from None


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
