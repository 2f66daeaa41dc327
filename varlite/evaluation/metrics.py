"""The metrics by name, computed from two sets of features."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from varlite.evaluation.statistics import (
    Features,
    blocks,
    frechet_distance,
    inception_score,
    kid,
    precision_recall,
    statistics,
)

# The kind of features that each metric takes, by extractor. Metrics named after Inception (FID, IS) get other names
# with other features.
METRICS = {
    "inception": {
        "fid": "pool", "sfid": "spatial", "is": "logits", "kid": "pool", "precision": "pool", "recall": "pool",
    },
    "fashion": {
        "accuracy": "logits", "fd": "pool", "precision": "pool", "recall": "pool", "recall_within_class": "pool",
        "fd_ratio": "pool", "kd": "pool",
    },
}  # fmt: skip
OF_STATISTICS = {"fid": "pool", "fd": "pool", "fd_ratio": "pool", "sfid": "spatial"}
OF_LABELS = ("accuracy", "recall_within_class")
NEIGHBOURS = 3
LEAST = {"is": 10, "precision": NEIGHBOURS + 1, "recall": NEIGHBOURS + 1}  # images; the others need 2


@dataclass
class Reference:
    """What images are compared with: features by kind, statistics where they were given, and labels if known."""

    features: Mapping[str, Features]
    given: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    labels: torch.Tensor | None = None

    def statistics(self, layer: str) -> dict[str, np.ndarray]:
        if layer not in self.given:
            self.given[layer] = statistics(self.features[layer])
        return self.given[layer]


def matched_rows(labels_M: torch.Tensor, label_N: torch.Tensor) -> torch.Tensor:
    """Rows of `labels_M` with the labels given: the first, second, ... of each class, as far as there are any."""
    rows = torch.full_like(label_N, -1)
    for c in label_N.unique().tolist():
        of_class, wanted = (labels_M == c).nonzero().flatten(), (label_N == c).nonzero().flatten()
        count = min(len(of_class), len(wanted))
        rows[wanted[:count]] = of_class[:count]
    return rows[rows >= 0]


def score(
    metrics: tuple[str, ...], fake: Mapping[str, Features], real: Reference, label_N: torch.Tensor | None = None
) -> dict[str, float]:
    """The metrics asked for, of features `fake` by kind.

    With labels on both sides precision and recall compare with equally many reference images of each class, otherwise
    with all.
    """
    scores: dict[str, float] = {}
    rows = None
    if label_N is not None and real.labels is not None:
        rows = matched_rows(real.labels, label_N)
    for name in metrics:
        if name in ("fid", "sfid", "fd"):
            layer = OF_STATISTICS[name]
            scores[name] = frechet_distance(statistics(fake[layer]), real.statistics(layer))
        elif name in ("kid", "kd"):
            scores[name], scores[f"{name}_std"] = kid(fake["pool"], real.features["pool"])
        elif name == "is":
            scores["is"], scores["is_std"] = inception_score(fake["logits"])
        elif name in ("precision", "recall") and name not in scores:
            near = real.features["pool"] if rows is None else real.features["pool"][rows]
            found = dict(zip(("precision", "recall"), precision_recall(fake["pool"], near, NEIGHBOURS), strict=True))
            scores |= {key: found[key] for key in ("precision", "recall") if key in metrics}
        elif name == "accuracy":
            assert label_N is not None
            predicted = torch.cat([block.argmax(1) for block in blocks(fake["logits"])])
            scores[name] = (predicted == label_N).float().mean().item()
        elif name == "recall_within_class":
            assert label_N is not None and rows is not None
            scores[name] = recall_within_class(fake["pool"], label_N, real, rows)
    return scores


def recall_within_class(fake_NX: Features, label_N: torch.Tensor, real: Reference, rows: torch.Tensor) -> float:
    """Recall of each class among its own reference images, averaged over classes; `rows` are those compared with."""
    assert real.labels is not None
    label_M = real.labels[rows]
    within = [
        precision_recall(fake_NX[label_N == c], real.features["pool"][rows[label_M == c]], NEIGHBOURS)[1]
        for c in label_N.unique().tolist()
    ]
    return sum(within) / len(within)


def rounded(scores: dict[str, Any]) -> dict[str, Any]:
    """Floats rounded to five decimals, small ones to four digits."""

    def short(value: float) -> float:
        return round(value, 5) if abs(value) >= 0.01 else float(f"{value:.4g}")

    return {name: short(value) if isinstance(value, float) else value for name, value in scores.items()}
