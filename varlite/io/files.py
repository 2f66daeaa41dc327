"""Files that are either whole or absent: atomic writes, and models as one self-describing safetensors file."""

import errno
import hashlib
import json
import os
import platform
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from varlite.io.records import check_entries, parse_object

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
DAY = 24 * 3600
# What the header of a model may say. "tokenizer_sha256" is the fingerprint of the tokenizer whose tokens it was trained
# on; in the header of a tokenizer, the fingerprint it had before its weights were rounded.
HEADER = {"kind": str, "config": dict, "tokenizer": str, "classes": list[str], "tokenizer_sha256": str}
TORCH_WRITE_ERRORS = ("PytorchStreamWriter", "inline_container", "iostream error")


@contextmanager
def atomic(path: Path, sync: bool = True) -> Iterator[Path]:
    """Write to the path given inside the block; it takes the place of `path` only when the block succeeds.

    A crash, a full disk or a kill in the middle leaves the old file as it was; a power cut too, unless `sync` is False,
    which is for thousands of small files. Permissions follow the umask. Raises OSError that names `path` where it
    cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file_beside(path)
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:  # some libraries put a private file of their own in its place
            with suppress(OSError):
                os.chmod(temporary, stat.S_IMODE(mode))
        if sync:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        reason = _why_not_written(error, path)
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if reason is None:
            raise
        raise reason from None


def _new_file_beside(path: Path) -> Path:
    """An empty file whose name tells which process writes it. Created by `open`, not mkstemp: the umask and the
    folder's rules decide about its permissions, and no chmod is needed, which shares and buckets refuse."""
    start = path.name.encode()[:150].decode(errors="ignore")
    temporary = path.with_name(f".{start}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.half")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


@contextmanager
def _folder_beside(temporary: Path) -> Iterator[Path]:
    folder = temporary.with_suffix(".d.half")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _why_not_written(error: BaseException, path: Path) -> OSError | None:
    """One line with the path, for what failed inside `atomic`; None for an error that has nothing to do with files."""
    text = str(error)
    from_library = isinstance(error, SafetensorError) or any(part in text for part in TORCH_WRITE_ERRORS)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    full = full or (from_library and (f"os error {errno.ENOSPC})" in text or _free(path.parent) < 2**20))
    if full:
        return OSError(errno.ENOSPC, "No space left on device", str(path))
    if from_library:
        return OSError(f"{path} could not be written: {text.splitlines()[0]}")
    if isinstance(error, OSError) and error.filename is None and error.errno is not None:
        return type(error)(error.errno, error.strerror, str(path))
    return None


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 2**62


def clear_half_written(folder: Path) -> list[str]:
    """Remove what killed processes left of files they wrote with `atomic`, and return the names.

    A file counts as left if its process is gone from this machine, or if nothing was added to it for a day.
    """
    removed = []
    for path in sorted(folder.glob(".*.half")):
        host, _, rest = path.name.removesuffix(".half").removesuffix(".d").rpartition(".")[2].partition("-")
        pid = rest.partition("-")[0]
        try:
            gone = host == HOST and pid.isdigit() and not _alive(int(pid))
            if gone or time.time() - path.stat().st_mtime > DAY:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(path.name)
        except OSError:  # another run clears it, or it belongs to somebody else
            continue
    return removed


def _alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_json(path: Path, value: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def save_model(path: Path, about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a model as safetensors whose header says what it is: `about` holds plain JSON values, "kind" and "config"
    among them. The same contents always make the same file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # In a folder, since safetensors writes to a file with a name of its own, which a kill would leave behind.
    with atomic(path) as temporary, _folder_beside(temporary) as folder:
        # One key: safetensors writes several in random order, and each order has its own SHA-256.
        save_file(tensors, folder / "model", {"varlite": json.dumps(about)})
        os.replace(folder / "model", temporary)


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(about, tensors) of a file written by `save_model`. The tensors are memory-mapped.

    Raises FileNotFoundError, or ValueError for a file that is damaged, not a varlite model, or holds NaN or infinity.
    """
    with _open_model(path) as (about, file):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    check_finite(tensors, path)
    return about, tensors


def read_about(path: Path) -> dict[str, Any]:
    """What the header of such a file says, without reading its weights. Raises as `read_model` does.

    A published file, of another kind than .safetensors, has no header, and says nothing: {}.
    """
    if path.suffix != ".safetensors":
        return {}
    with _open_model(path) as (about, _):
        return about


@contextmanager
def _open_model(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    check_whole(path)
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("varlite")
            if text is None:
                raise ValueError(f"{path} is a safetensors file, but not a varlite model (its header does not say so)")
            yield _header(text, f"{path}: its header"), file
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error})") from None


def _header(text: str, source: str) -> dict[str, Any]:
    """A header, checked. Entries that a later version may add are passed over."""
    about = parse_object(text, source)
    for key in ("kind", "config"):
        if key not in about:
            raise ValueError(f"{source}: {key!r} is missing")
    check_entries(about, HEADER, source)
    return about


def check_whole(path: Path) -> None:
    """Raises FileNotFoundError or ValueError for what is no file of weights at first sight."""
    if not path.exists():
        begun = (path.parent / "checkpoint.pt").exists()
        raise FileNotFoundError(f"no checkpoint at {path}" + ": its training is not finished" * begun)
    if not path.is_file():
        raise ValueError(
            f"no checkpoint at {path}, which is not a file: name the file of weights, or the folder a training wrote"
        )
    with open(path, "rb") as file:
        head = file.read(512).lstrip().lower()
    if not head:
        raise ValueError(f"{path} is not a checkpoint: it is empty")
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(f"{path} is a web page, not a checkpoint: the download went to a page about the file")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path} is a git-lfs pointer, not the checkpoint itself: run `git lfs pull` in its repository"
        )


def check_finite(tensors: dict[str, torch.Tensor], path: str | Path) -> None:
    """Raises ValueError that names the tensor and the file if a weight is NaN or infinite."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        weights = tensor if tensor.element_size() > 1 else tensor.float()  # torch does not sum 8-bit floats
        if torch.isfinite(weights.sum(dtype=torch.promote_types(weights.dtype, torch.float32))):
            continue  # one pass without a copy; a sum that overflows is looked at closely
        values = weights.double()
        if bad := int((~torch.isfinite(values)).sum()):
            kind = "NaN" if torch.isnan(values).any() else "infinite"
            raise ValueError(
                f"{path}: {bad} of the {tensor.numel()} weights in {name} are not finite ({kind}): the training that "
                "wrote it diverged, or the file is damaged"
            )


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
