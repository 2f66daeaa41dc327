"""Folders and files as people have them, on which earlier versions gave a wrong answer."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

RAMP = np.tile(np.linspace(0, 1, 40), (32, 1))


def picture(i: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Patches of colour, others for each number."""
    rng = np.random.default_rng(i)
    patches = np.kron(rng.integers(0, 255, (4, 5, 3)), np.ones((8, 8, 1)))
    return Image.fromarray(patches.astype(np.uint8)).resize(size)


def folder(root: Path, classes: dict[str, int], suffix: str = ".png", first: int = 0) -> Path:
    for c, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(first + 100 * c + i).save(root / name / f"{i:03d}{suffix}")
    return root


def split_folders(root: Path, train: str, test: str) -> Path:
    folder(root / train, {"cats": 12, "dogs": 12})
    folder(root / test, {"cats": 3, "dogs": 3}, first=50)
    return root


def hidden(root: Path) -> Path:
    """What systems put beside and among pictures."""
    folder(root, {"cats": 5, "dogs": 5})
    places = (
        "cats/.ipynb_checkpoints", "cats/@eaDir", "cats/thumbnails", "dogs/.Trash-1000/files", "@eaDir",
        "__MACOSX/cats", "$RECYCLE.BIN/S-1",
    )  # fmt: skip
    for place in places:
        (root / place).mkdir(parents=True)
        picture(7).save(root / place / "copy.jpg")
    (root / "lost+found").mkdir()
    (root / "cats" / "Thumbs.db").touch()
    (root / "cats" / "._000.png").touch()
    return root


def formats(root: Path) -> Path:
    folder(root, {"cats": 12, "dogs": 12}, ".jpg")
    for i in range(9):
        (root / "cats" / f"{i:03d}.jpg").rename(root / "cats" / f"{i:03d}.jfif")
    for i in range(4):
        picture(900 + i).save(root / "dogs" / f"a{i}.avif")
        (root / "dogs" / f"h{i}.heic").write_bytes(b"\0\0\0\x18ftypheic")
    return root


def stale(root: Path) -> None:
    """Two states of one data set, of the same names and sizes in bytes."""
    folder(root / "before", {"cats": 11, "dogs": 11}, ".bmp")
    folder(root / "after", {"cats": 11, "dogs": 11}, ".bmp", first=500)


def bomb(path: Path) -> Path:
    """A header that claims 50,000 x 50,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path
