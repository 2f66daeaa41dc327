"""Sets of images, read one batch at a time: folders, ADM's npz files and data sets."""

import hashlib
import re
import zipfile
import zlib
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from varlite.datasets import DATASETS
from varlite.datasets.folders import images_in
from varlite.datasets.npz import open_archive
from varlite.datasets.pixels import MODES, POOL, convert, open_picture
from varlite.evaluation.feature_store import Rows
from varlite.io.files import atomic, sha256


class Images(Protocol):
    """N images of one size.

    labels: None where they are not known. classes: their names, () where not known. class_counts: images of each class,
    also where only the names of files tell them apart; {} where nothing does.
    """

    size: tuple[int, int]
    channels: int
    labels: torch.Tensor | None
    classes: tuple[str, ...]

    @property
    def class_counts(self) -> dict[str, int]: ...

    @property
    def checksum(self) -> str: ...

    def __len__(self) -> int: ...

    def batch(self, rows: slice) -> torch.Tensor:
        """(B, channels, H, W) bytes."""


class Folder:
    """Every image in a folder and below, at its own size, as grey or RGB.

    Raises ValueError for a folder without images, and when an image is read that has another size or is damaged: a
    set is scored whole or not at all.
    """

    labels = None
    classes: tuple[str, ...] = ()

    def __init__(self, folder: Path, channels: int):
        self.folder, self.channels = folder, channels
        self.names = images_in(folder)
        if not self.names:
            raise ValueError(f"{folder} holds no images")
        self.size = (0, 0)
        first = self._image(self.names[0])
        self.size = (first.shape[1], first.shape[2])

    def __len__(self) -> int:
        return len(self.names)

    @property
    def class_counts(self) -> dict[str, int]:
        """By sub-folder, or by class number in the names of `varlite sample`."""
        if all("/" in name for name in self.names):
            return Counter(name.partition("/")[0] for name in self.names)
        numbers = [re.match(r"(\d{4})_\d{5}\.", name) for name in self.names]
        return Counter(found[1] for found in numbers if found) if all(numbers) else {}

    @property
    def lossy(self) -> int:
        """Number of JPEG files: compression changes the scores."""
        return sum(name.lower().endswith((".jpg", ".jpeg")) for name in self.names)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the checksums of all files, in the order of their names."""
        sums = POOL.map(lambda name: sha256(self.folder / name), self.names)
        return hashlib.sha256("\n".join(sums).encode()).hexdigest()

    def batch(self, rows: slice) -> torch.Tensor:
        return torch.stack(list(POOL.map(self._image, self.names[rows])))

    def _image(self, name: str) -> torch.Tensor:
        with open_picture(self.folder / name) as file:
            image = convert(file, self.channels)
        if image.size != self.size[::-1] and self.size != (0, 0):
            raise ValueError(
                f"{self.folder / name} is {image.height} x {image.width}, {self.names[0]} is "
                f"{self.size[0]} x {self.size[1]}: all images must have one size"
            )
        return torch.from_numpy(np.array(image)).reshape(image.height, image.width, self.channels).permute(2, 0, 1)


class Npz:
    """The images in an npz of ADM's evaluator, "arr_0" (N, H, W, 3), compressed or not.

    `statistics`: {"pool": {"mu", "sigma"}, "spatial": ...} where the file has them. Without images N is 0.
    Raises ValueError for a file of something else.
    """

    labels = None
    classes: tuple[str, ...] = ()

    def __init__(self, path: Path):
        self.class_counts: dict[str, int] = {}
        self.path, self.checksum = path, sha256(path)
        self.size, self.channels, self._count = (0, 0), 3, 0
        self.statistics: dict[str, dict[str, np.ndarray]] = {}
        try:
            with open_archive(path) as file:
                for layer, end in (("pool", ""), ("spatial", "_s")):
                    if {f"mu{end}", f"sigma{end}"} <= set(file.files):
                        self.statistics[layer] = {"mu": file[f"mu{end}"], "sigma": file[f"sigma{end}"]}
                        check_moments(**self.statistics[layer])
                if "arr_0" in file.files:
                    self._open()
                if "arr_1" in file.files and file["arr_1"].dtype.kind in "iu" and file["arr_1"].ndim == 1:
                    self.class_counts = {str(c): int(n) for c, n in enumerate(np.bincount(file["arr_1"]))}
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path} is not an npz of ADM's evaluator ({error})") from None
        if not self.statistics and not self._count:
            raise ValueError(f"{path} is not an npz of ADM's evaluator: it has neither mu and sigma nor arr_0")

    def _open(self) -> None:
        """Open the array and go to its first image."""
        self._file = zipfile.ZipFile(self.path).open("arr_0.npy")  # noqa: SIM115
        version = np.lib.format.read_magic(self._file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(self._file)
        if len(shape) != 4 or shape[-1] not in MODES or dtype != np.uint8 or fortran:
            raise ValueError(f"arr_0 must be bytes (N, H, W, 3), got {dtype} {shape}")
        self._count, self.size, self.channels = shape[0], shape[1:3], shape[3]
        self._start = self._file.tell()

    def __len__(self) -> int:
        return self._count

    def batch(self, rows: slice) -> torch.Tensor:
        shape = (len(range(self._count)[rows]), *self.size, self.channels)
        self._file.seek(self._start + rows.start * int(np.prod(shape[1:])))
        data = self._file.read(int(np.prod(shape)))
        return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).view(shape).permute(0, 3, 1, 2)


def check_moments(mu: np.ndarray, sigma: np.ndarray) -> None:
    """Raises ValueError unless these are the mean (X,) and the covariance (X, X) of features, without NaN."""
    if mu.ndim != 1 or sigma.shape != mu.shape * 2 or mu.dtype.kind != "f" or sigma.dtype.kind != "f":
        raise ValueError(f"mu must be numbers (X,) and sigma (X, X), got {mu.dtype} {mu.shape} and {sigma.shape}")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise ValueError("mu or sigma holds NaN or infinity")


class Split:
    """The test images of a data set by its name, or its training images by the name and "-train", at their own size."""

    def __init__(self, name: str):
        base = name.removesuffix("-train")
        self.dataset = DATASETS[base]("train" if base != name else "test")
        self.size, self.channels = self.dataset.size, self.dataset.channels
        self.labels: torch.Tensor | None = self.dataset.labels
        self.classes = tuple(self.dataset.classes)

    @property
    def class_counts(self) -> dict[str, int]:
        counts = self.dataset.labels.bincount(minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    @property
    def checksum(self) -> str:
        return self.dataset.checksum

    def __len__(self) -> int:
        return len(self.dataset.labels)

    def batch(self, rows: slice) -> torch.Tensor:
        return self.dataset.images(torch.arange(len(self))[rows])


def open_images(argument: str, name: str, channels: int) -> Folder | Npz | Split:
    """Images by the exact name of a data set, the path of a folder, read with so many channels, or the path of an npz.

    Raises ValueError or FileNotFoundError that begins with the name of the argument.
    """
    if name.removesuffix("-train") in DATASETS:
        return Split(name)
    path = Path(name)
    if not path.exists():
        names = ", ".join(f"{n}, {n}-train" for n in DATASETS)
        raise FileNotFoundError(f"{argument}: {name} is neither a folder nor an .npz file nor one of {names}")
    try:
        return Folder(path, channels) if path.is_dir() else Npz(path)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from None


def write_npz(path: Path, images_NHWC: Rows, labels_N: np.ndarray) -> None:
    """The npz that ADM's evaluator reads: arr_0 the images, arr_1 the labels; a megabyte at a time."""
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as entry, open(images_NHWC.path, "rb") as file:
            about = {"descr": "|u1", "fortran_order": False, "shape": images_NHWC.shape}
            np.lib.format.write_array_header_1_0(entry, about)
            while piece := file.read(2**20):
                entry.write(piece)
        with archive.open("arr_1.npy", "w") as entry:
            np.lib.format.write_array(entry, labels_N)
