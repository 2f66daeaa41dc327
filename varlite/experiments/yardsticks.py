"""What the scores of small models are to be read beside: scores of pictures that no model drew.

`varlite reproduce yardsticks`, for data/results/yardsticks.json. All in the features of fashion-classifier, against
test pictures that are not among those scored.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from varlite.evaluation.features import FashionFeatures, extract
from varlite.evaluation.metrics import Reference, rounded, score
from varlite.experiments.bands import mean_and_range
from varlite.experiments.corruptions import Corrupted, Material, blur, noise, to_bytes
from varlite.experiments.judge_the_judges import cut
from varlite.io.files import write_json
from varlite.io.provenance import command, machine, versions

SCORES = ("accuracy", "fd", "precision", "recall", "recall_within_class")
NOISE = 2.0  # of the parrot, in byte levels: too little to see


def parrot(m: Material, per_class: int) -> Corrupted:
    """So many training pictures of each class and no others, over and over, each time with other faint noise.

    It has learned nothing: whatever score it wins, a model may win in the same way.
    """
    images, generator = m.images.clone(), m.generator()
    for c in m.labels.unique():
        rows, own = (m.labels == c).nonzero().flatten(), (m.training_labels == c).nonzero().flatten()
        known = own[torch.randperm(len(own), generator=generator)[:per_class]]
        images[rows] = m.training[known[torch.arange(len(rows)) % len(known)]]
    return to_bytes(images + NOISE * torch.randn(images.shape, generator=generator)), m.labels


def training_pictures(m: Material) -> Corrupted:
    """As many of each class, none of them twice."""
    images = m.images.clone()
    for c in m.labels.unique():
        rows, own = (m.labels == c).nonzero().flatten(), (m.training_labels == c).nonzero().flatten()
        images[rows] = m.training[own[torch.randperm(len(own), generator=m.generator())[: len(rows)]]]
    return images, m.labels


ROWS: dict[str, Callable[[Material], Corrupted]] = {
    "test pictures": lambda m: (m.images, m.labels),
    "training pictures": training_pictures,
    "parrot of 20": lambda m: parrot(m, 20),
    "parrot of 50": lambda m: parrot(m, 50),
    "blur of 0.5": lambda m: blur(m, 0.5),
    "noise of 5": lambda m: noise(m, 5.0),
}


def reproduce_yardsticks(
    out: Path, num: int = 2000, reference: int = 6000, seeds: Sequence[int] = (0, 1, 2)
) -> dict[str, Any]:
    """Score every row on `num` pictures for each seed, which cuts the test set anew; written to `out`/yardsticks.json.

    Raises ValueError if the test set does not have `reference` pictures beside twice `num`.
    """
    extractor = FashionFeatures()
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ROWS}
    for seed in seeds:
        material, images, labels = cut(seed, num, reference)
        real = Reference(extract(extractor, images), {}, labels)
        for name, make in ROWS.items():
            drawn, label_N = make(material)
            runs[name][str(seed)] = rounded(score(SCORES, extract(extractor, drawn), real, label_N))
    rows = {name: dict(zip(("mean", "band"), mean_and_range(found), strict=True)) for name, found in runs.items()}
    record = {"num": num, "reference": reference, "rows": rows, "runs": runs, "machine": machine()}
    record |= {"command": command("reproduce yardsticks", num=num, reference=reference, seeds=tuple(seeds))}
    record["versions"] = versions("torch_fidelity")
    write_json(out / "yardsticks.json", record)
    return record


def report(record: dict[str, Any]) -> None:
    """Print a line for each row, with the range over seeds."""
    for name, row in record["rows"].items():
        shown = (f"{key} {row['mean'][key]:.3f} ({low:.3f} to {high:.3f})" for key, (low, high) in row["band"].items())
        print(f"{name:18s} " + "  ".join(shown))
