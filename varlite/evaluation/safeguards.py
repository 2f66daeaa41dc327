"""What `varlite evaluate` refuses to score, because the number would mean something else, and what it remarks on."""

from collections.abc import Mapping
from math import pi, sqrt
from pathlib import Path
from typing import Any

from varlite.evaluation.image_sources import Folder
from varlite.evaluation.metrics import OF_STATISTICS
from varlite.evaluation.sample_folders import check_left_over
from varlite.evaluation.samples import Samples
from varlite.evaluation.statistics import ADM_RUN

UNEVEN = 0.1  # share of the images that would have to change class for all classes to be equally frequent


def refuse_mistakes(images: Any, reference: Any, name: str) -> None:
    """Raises ValueError if images and reference cannot be meant for each other. `name` is the reference's, as given.

    That is: one set of images compared with itself or a part of itself, images of two sizes, a model of other classes
    than the reference has, and a folder of samples with images of an earlier run.
    """
    for source in (images, reference):
        if isinstance(source, Folder):
            check_left_over(source.folder)
    if isinstance(images, Folder) and isinstance(reference, Folder):
        one, other = (Path(source.folder).resolve() for source in (images, reference))
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise ValueError(f"reference: {name} and the images are the same folder, or one contains the other")
    if len(images) and len(reference) and tuple(images.size) != tuple(reference.size):
        (h, w), (H, W) = images.size, reference.size
        raise ValueError(
            f"reference: the images of {name} are {H} x {W}, those to be scored {h} x {w}; resize neither: "
            "a distance would measure the resizing"
        )
    if isinstance(images, Samples) and reference.classes:
        ours, theirs, count = images.classes, reference.classes, images.num_classes
        if count != len(theirs) or (ours and ours != theirs):
            about = f"{count} classes" + (f" ({', '.join(ours[:3])}, ...)" if ours else "")
            raise ValueError(
                f"reference: {name} has {len(theirs)} classes ({', '.join(theirs[:3])}, ...), and the model was "
                f"trained on {about}"
            )


def refuse_equal(images: Any, reference: Any, name: str) -> None:
    """Raises ValueError if both are the same images, by their checksums."""
    if not isinstance(images, Samples) and images.checksum == reference.checksum:
        raise ValueError(f"reference: {name} holds the same images as those to be scored")


def remarks(metrics: Mapping[str, str], widths: Mapping[str, int], images: Any, reference: Any) -> list[str]:
    """What a reader of the scores has to know. metrics: the kind of features that each takes; widths: of the kinds."""
    found = []
    distances = [name for name in metrics if name in OF_STATISTICS and name != "fd_ratio"]
    for source, what in ((images, "images"), (reference, "images of the reference")):
        for name in distances:
            if 0 < len(source) <= widths[metrics[name]]:
                found.append(
                    f"{name}: {len(source)} {what} are too few for {widths[metrics[name]]} features: their covariance "
                    "is singular, and the distance much too large"
                )
    if "is" in metrics and len(images) < ADM_RUN:
        found.append(f"is: mean over ten parts of {len(images)} images; the published score takes parts of {ADM_RUN}")
    for source, what in ((images, "images"), (reference, "reference")):
        counts = source.class_counts
        if len(counts) > 1 and unevenness(list(counts.values())) > UNEVEN:
            low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
            found.append(
                f"{what}: classes are unequally frequent, {counts[low]} images of {low} and {counts[high]} of {high}: "
                "distances count that too"
            )
    return found


def unevenness(counts: list[int]) -> float:
    """Total variation distance of class frequencies from uniform, less what random labels would show."""
    total, C = sum(counts), len(counts)
    return sum(abs(count / total - 1 / C) for count in counts) / 2 - sqrt(C / (2 * pi * total))
