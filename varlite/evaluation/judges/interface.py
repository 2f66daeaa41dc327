"""What a judge is given, and what it answers.

    pictures = Pictures(images, labels, views)      images with what can be computed of each, computed once
    rows = judge.rows(pictures)                     (N, ...) what this judge looks at, a row an image
    judge.score(rows, reference_rows)               one number
    judge.against(reference_rows)(rows)             the same, when many rows are held against one reference

Rows come before scores, because intervals and floors score many parts of the same rows (intervals.py).
"""

from collections.abc import Callable

import torch

CHUNK = 500  # images that go through a network at a time: memory for activations does not grow with their number
Views = dict[str, Callable[[torch.Tensor], torch.Tensor]]  # uint8 (B, channels, H, W) -> (B, ...), by name


class Pictures:
    """Images with their labels and views. A view is computed on first use, `CHUNK` images at a time, and kept.

    What is kept of 10,000 images of 28 x 28: 31 MB of pixels, 5 MB for each set of features, 3 MB of tokens.
    """

    def __init__(self, images_NCHW: torch.Tensor, label_N: torch.Tensor | None, views: Views, real: bool = False):
        """images_NCHW: bytes. label_N: the class each should show, or None where that is not known.
        real: whether they are pictures of the data, rather than a model's samples.

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
        self._rows: dict[str, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self.images)

    @torch.inference_mode()
    def view(self, name: str) -> torch.Tensor:
        """(N, ...) of the view `name`. Raises ValueError for a view that was not opened."""
        if not self.has(name):
            raise ValueError(f"view: {name!r} was not opened; there are {', '.join(self.views)}")
        return self.once(name, lambda: torch.cat([self.views[name](img) for img in self.images.split(CHUNK)]))

    def has(self, name: str) -> bool:
        """Whether a view can be had."""
        return name in self.views or name in self._rows

    def once(self, name: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Rows (N, ...) by any name, made the first time they are asked for."""
        if name not in self._rows:
            self._rows[name] = make()
        return self._rows[name]

    def part(self, rows: torch.Tensor) -> "Pictures":
        """The images of the given row numbers, with the views computed so far."""
        part = Pictures(self.images[rows], None if self.labels is None else self.labels[rows], self.views, self.real)
        part._rows = {name: x[rows] for name, x in self._rows.items()}
        return part


class Judge:
    """One judge. Its file says in prose what it sees and what fools it; these attributes say it to the panel."""

    name: str
    sees: str  # in one line
    blind: frozenset[str] = frozenset()  # corruptions (corruptions.py) that it does not claim to see
    lower_is_better: bool = True
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

    def floor(self, real: Pictures, reference: torch.Tensor) -> float:
        """The number that other real pictures get, against the same rows: what no model can be expected to pass."""
        return self.score(self.rows(real), reference)


def pixels(img_BCHW: torch.Tensor) -> torch.Tensor:
    """The view "pixels": bytes -> (B, channels, H, W) in [0, 1]."""
    return img_BCHW.float() / 255


def need_labels(judge: Judge, pictures: Pictures) -> torch.Tensor:
    """(N,) labels. Raises ValueError where they are not known."""
    if pictures.labels is None:
        raise ValueError(f"{judge.name}: the classes of the images are not known")
    return pictures.labels
