"""What `varlite evaluate` was asked for, the command that repeats it, and which metrics can be had."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from varlite.evaluation.image_sources import Npz
from varlite.evaluation.judging import PANEL, cannot
from varlite.evaluation.metrics import LEAST, METRICS, NEIGHBOURS, OF_LABELS, OF_STATISTICS
from varlite.inference import Precision
from varlite.io.provenance import command

SMALL_REFERENCES = ("fashion", "fashion-train")  # scored with features of fashion-classifier unless told otherwise


@dataclass(frozen=True)
class Request:
    """What is to be scored, against what, and how: the options of `varlite evaluate`, which explains them."""

    model: str = "fashion-var-d4"
    images: str | None = None
    reference: str = "fashion"
    features: str | None = None
    metrics: tuple[str, ...] = ()
    num: int | None = None
    seed: int = 0
    cfg: float = 1.5
    top_k: int = 0
    top_p: float = 0.96
    samples: Path | None = None
    inception: Path | None = None
    weights: Path | None = None
    batch: int = 64
    precision: Precision = "float32"
    ssg: float = 0.0
    against: tuple[Path, ...] = ()
    dials: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """How samples are drawn."""
        settings = {"cfg": self.cfg, "top_k": self.top_k, "top_p": self.top_p}
        return settings | ({"ssg": self.ssg} if self.ssg else {})

    def given(self) -> dict[str, Any]:
        """Everything that decides the samples, for the record."""
        if self.images is not None:
            return {}
        return {"num": self.num, "seed": self.seed} | self.settings

    def command(self) -> str:
        """The command line that repeats the evaluation."""
        subject = {"images": self.images} if self.images is not None else {"model": self.model}
        shown = subject | self.given()
        others = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shown}
        defaults = {f.name: f.default for f in fields(self)}
        return command("evaluate", **shown, **{k: v for k, v in others.items() if v != defaults[k]})

    def chosen_features(self) -> str:
        """ "fashion" or "inception". Raises ValueError for others."""
        features = self.features or ("fashion" if self.reference in SMALL_REFERENCES else "inception")
        if features not in METRICS:
            raise ValueError(f"features must be {' or '.join(METRICS)}, got {features!r}")
        return features


def choose_metrics(request: Request, features: str, images: Any, reference: Any) -> tuple[str, ...]:
    """The metrics asked for, by default all that are possible but "kd". Raises ValueError if one is not, saying why.

    Small models have "panel" among them, all the judges of `judging.py`.
    """
    names = {kind: (*METRICS[kind], *((PANEL,) if kind == "fashion" else ())) for kind in METRICS}
    there = names[features]
    for name in request.metrics:
        if name not in there:
            other = next((f"; {name} takes the features {kind}" for kind in names if name in names[kind]), "")
            raise ValueError(f"metrics: with the features {features} there are {', '.join(there)}{other}")
    obstacles = {name: obstacle(name, request, images, reference) for name in there}
    for name in request.metrics:
        if obstacles[name]:
            raise ValueError(f"metrics: no {name}: {obstacles[name]}")
    chosen = request.metrics or tuple(name for name in there if name != "kd" and not obstacles[name])
    return chosen + ("fd",) * ("fd_ratio" in chosen and "fd" not in chosen)


def obstacle(name: str, request: Request, images: Any, reference: Any) -> str | None:
    """Why a metric cannot be computed; None if it can."""
    if name in OF_LABELS and images.labels is None:
        return "the classes of the images are not known"
    if name == "recall_within_class":
        if reference.labels is None:
            return f"the classes of {request.reference} are not known"
        if images.labels.bincount().min() <= NEIGHBOURS:
            return f"it takes more than {NEIGHBOURS} images of each class"
    if name == "fd_ratio" and (request.images is not None or request.reference != "fashion"):
        return "it is of a model, and of the reference fashion"
    if name == PANEL:
        return cannot(images, request.reference)
    if len(images) < (least := LEAST.get(name, 2)):
        return f"it takes at least {least} images, and there are {len(images)}"
    given = isinstance(reference, Npz) and OF_STATISTICS.get(name) in reference.statistics
    if name not in ("accuracy", "is") and len(reference) < least and not given:
        few = f"{len(reference)} images" if len(reference) else "neither images nor statistics for it"
        return f"{request.reference} holds {few}"
    return None
