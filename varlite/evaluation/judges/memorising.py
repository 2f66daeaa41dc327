"""Memorising: are samples nearer to training pictures than training pictures are to one another?

For each sample: its nearest training picture t, at distance d; and the distance of t to t's own nearest neighbour among
the other training pictures. The sample counts if d is the smaller. The score is the share of samples that count less
that of reference pictures that do: near zero for a model that generalises, up to one for copies. (After the 1-nearest-
neighbour reasoning of arXiv 1806.07755 and the data-copying test of arXiv 2004.05675.)

    memorised_pixels      Euclidean distance of pixels
    memorised_features    Euclidean distance of the second classifier's features

Sees: copies, and copies with small changes, as long as the change is smaller than the gap between neighbours.
Fooled by: shifts, mirrors and noise, for pixels (features forgive some of it); copies of parts; an even mixture of
copies and bad samples. It is no judge of quality: pure noise is far from all training pictures and scores as well as
can be. In pixels smooth pictures lie nearer to everything: a slight blur or class means raise it without
memorising.
"""

import numpy as np
import torch

from varlite.evaluation.judges.interface import Judge, KeptView, Pictures, write_rows

BLOCK = 4000
BLIND = {  # corruptions (experiments/corruptions.py) that they miss: all but copies, and class means for pixels
    "memorised_pixels": frozenset({"blur", "contrast", "dropped", "duplicated", "jpeg", "noise", "sharpen"}),
    "memorised_features": frozenset(
        {"blur", "class_means", "contrast", "dropped", "duplicated", "jpeg", "noise", "sharpen"}
    ),
}


def nearest(x_NX: torch.Tensor, y_MX: torch.Tensor, skip_N: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """Distance (N,) of each row to the nearest of `y_MX`, and that one's number (N,); row i leaves out `skip_N[i]`."""
    best = torch.full((len(x_NX),), torch.inf)
    where = torch.zeros(len(x_NX), dtype=torch.long)
    for start in range(0, len(y_MX), BLOCK):
        others = y_MX[start : start + BLOCK]
        for rows in torch.arange(len(x_NX)).split(1000):
            distance = torch.cdist(x_NX[rows], others)
            if skip_N is not None:
                inside = (skip_N[rows] >= start) & (skip_N[rows] < start + len(others))
                distance[inside.nonzero().flatten(), skip_N[rows][inside] - start] = torch.inf
            value, index = distance.min(1)
            closer = value < best[rows]
            best[rows[closer]], where[rows[closer]] = value[closer], index[closer] + start
    return best, where


class Memorising(Judge):
    """Share of samples nearer to a training picture than its own neighbour is, less that share of the reference."""

    def __init__(self, view: str, training: Pictures):
        """view: "pixels" or "second". training: what the model was trained on."""
        if view not in ("pixels", "second"):
            raise ValueError(f"view must be pixels or second, got {view!r}")
        self.view, self.training = view, training
        self.name = "memorised_pixels" if view == "pixels" else "memorised_features"
        self.blind = BLIND[self.name]
        self.sees = "copies of training pictures"
        self._own: torch.Tensor | None = None  # distances to their own neighbours, NaN where not asked for yet

    def of(self, pictures: Pictures) -> torch.Tensor:
        return pictures.view(self.view).flatten(1)

    @property
    def key(self) -> str:
        """What the distances among training pictures depend on."""
        view = self.training.views.get(self.view)
        return f"{self.name} {view.key if isinstance(view, KeptView) else ''} {self.training.checksum}"

    def own(self, numbers: torch.Tensor) -> torch.Tensor:
        """Distances of the training pictures with these numbers to their nearest others; kept on disk with a checksum.

        They are computed when asked for: all 60,000 would take minutes.
        """
        path = self.training.file(self.key) if self.training.checksum else None
        if self._own is None:
            known = (
                np.load(path) if path is not None and path.exists() else np.full(len(self.training), np.nan, np.float32)
            )
            self._own = torch.from_numpy(known)
        new = numbers.unique()
        new = new[self._own[new].isnan()]
        if len(new):
            training = self.of(self.training)
            self._own[new] = nearest(training[new], training, skip_N=new)[0]
            if path is not None:
                write_rows(path, self._own)
        return self._own[numbers]

    def rows(self, pictures: Pictures) -> torch.Tensor:
        """(N, 1): one where a picture is nearer than neighbours are, otherwise zero."""

        def counts() -> torch.Tensor:
            distance, where = nearest(self.of(pictures), self.of(self.training))
            return (distance < self.own(where)).float()[:, None]

        return pictures.once(self.name, counts, self.key if self.training.checksum else "")

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        return (samples.mean() - reference.mean()).item()

    def floor_rows(self, real: Pictures, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One half of the reference against the other, as many as there are real pictures, as far as it has them: of
        training pictures all would count."""
        return reference[::2][: len(real)], reference[1::2]
