"""What a judge is given, and what it answers.

    pictures = Pictures(images, labels, views)      images with what can be computed of each, computed once
    rows = judge.rows(pictures)                     (N, ...) what this judge looks at, a row an image
    judge.score(rows, reference_rows)               one number
    judge.against(reference_rows)(rows)             the same, when many rows are held against one reference

Rows come before scores, because intervals and floors score many parts of the same rows (intervals.py).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from varlite.io.files import atomic
from varlite.io.places import cache_folder

CHUNK = 500  # images that go through a network at a time: memory for activations does not grow with their number
Views = dict[str, Callable[[torch.Tensor], torch.Tensor]]  # uint8 (B, channels, H, W) -> (B, ...), by name


class KeptView:
    """A view worth keeping on disk. key: everything beside the images that its numbers depend on."""

    def __init__(self, compute: Callable[[torch.Tensor], torch.Tensor], key: str):
        self.compute, self.key = compute, key

    def __call__(self, img_BCHW: torch.Tensor) -> torch.Tensor:
        return self.compute(img_BCHW)


class Pictures:
    """Images with their labels and views. A view is computed on first use, `CHUNK` images at a time, and kept.

    What is kept of 10,000 images of 28 x 28: 31 MB of pixels, 51 MB of ImageNet's features, 48 MB of patches, 5 MB for
    each other set of features, 3 MB of tokens. Of pictures that many evaluations share, a `KeptView` is also kept in
    VARLITE_CACHE.
    """

    def __init__(
        self, images_NCHW: torch.Tensor, label_N: torch.Tensor | None, views: Views, real: bool = False,
        checksum: str = "",
    ):  # fmt: skip
        """images_NCHW: bytes. label_N: the class each should show, or None where that is not known.
        real: whether they are pictures of the data, rather than a model's samples. checksum: of the images, if what is
        computed of them is to be kept on disk.

        Raises ValueError for images that are not bytes of rank four, or for another number of labels.
        """
        if images_NCHW.dtype != torch.uint8 or images_NCHW.ndim != 4:
            raise ValueError(
                f"images must be uint8 (N, channels, H, W), got {images_NCHW.dtype} {tuple(images_NCHW.shape)}"
            )
        if label_N is not None and tuple(label_N.shape) != (len(images_NCHW),):
            raise ValueError(
                f"labels must be one for each of the {len(images_NCHW)} images, got {tuple(label_N.shape)}"
            )
        self.images, self.labels, self.views, self.real = images_NCHW, label_N, views, real
        self.checksum = checksum
        self._rows: dict[str, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self.images)

    @torch.inference_mode()
    def view(self, name: str) -> torch.Tensor:
        """(N, ...) of the view `name`. Raises ValueError for a view that was not opened."""
        if not self.has(name):
            raise ValueError(f"view: {name!r} was not opened; there are {', '.join(self.views)}")
        view = self.views.get(name)
        key = view.key if isinstance(view, KeptView) else ""
        return self.once(name, lambda: torch.cat([self.views[name](img) for img in self.images.split(CHUNK)]), key)

    def has(self, name: str) -> bool:
        """Whether a view can be had."""
        return name in self.views or name in self._rows

    def once(self, name: str, make: Callable[[], torch.Tensor], key: str = "") -> torch.Tensor:
        """Rows (N, ...) by any name, made the first time they are asked for.

        key: everything beside the images that they depend on; with it, and a checksum, they are kept on disk.
        """
        if name not in self._rows:
            path = self.file(key) if key and self.checksum else None
            if path is not None and path.exists():
                self._rows[name] = torch.from_numpy(np.load(path))
            else:
                self._rows[name] = make()
                if path is not None:
                    write_rows(path, self._rows[name])
        return self._rows[name]

    def file(self, key: str) -> Path:
        """Where rows by this key are kept."""
        about = f"{key} of {len(self)} images {self.checksum}"
        return cache_folder() / "views" / f"{hashlib.sha256(about.encode()).hexdigest()[:24]}.npy"

    def part(self, rows: torch.Tensor) -> "Pictures":
        """The images of the given row numbers, with the views computed so far."""
        checksum = self.checksum and hashlib.sha256(rows.numpy().tobytes() + self.checksum.encode()).hexdigest()
        labels = None if self.labels is None else self.labels[rows]
        part = Pictures(self.images[rows], labels, self.views, self.real, checksum)
        part._rows = {name: x[rows] for name, x in self._rows.items()}
        return part


class Judge:
    """One judge. Its file says in prose what it sees and what fools it; these attributes say it to the panel."""

    name: str
    sees: str  # in one line
    blind: frozenset[str] = frozenset()  # corruptions (corruptions.py) that it does not claim to see
    lower_is_better: bool = True
    squared: bool = False  # whether the score is the square of a distance
    needs_labels: bool = False

    def rows(self, pictures: Pictures) -> torch.Tensor:
        """(N, ...), a row for each image."""
        raise NotImplementedError

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        """The judge's number, of rows of samples against rows of the reference."""
        raise NotImplementedError

    def against(self, reference: torch.Tensor) -> Callable[[torch.Tensor], float]:
        """`score` with the reference fixed, for judges that can work on it beforehand."""
        return lambda samples: self.score(samples, reference)

    def floor_rows(self, real: Pictures, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, reference rows) whose score is the floor: other real pictures, against the same reference."""
        return self.rows(real), reference


def write_rows(path: Path, rows: torch.Tensor) -> None:
    """Write rows to an .npy file, whole or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, rows.numpy())


def pixels(img_BCHW: torch.Tensor) -> torch.Tensor:
    """The view "pixels": bytes -> (B, channels, H, W) in [0, 1]."""
    return img_BCHW.float() / 255


def need_labels(judge: Judge, pictures: Pictures) -> torch.Tensor:
    """(N,) labels. Raises ValueError where they are not known."""
    if pictures.labels is None:
        raise ValueError(f"{judge.name}: the classes of the images are not known")
    return pictures.labels
