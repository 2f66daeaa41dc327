"""`varlite evaluate`: images, made here or given, to features, to scores; in one process or many.

    torchrun --nproc-per-node 8 -m -- varlite evaluate ...          each process makes every eighth batch

Only features stay, on disk, so that memory is the same for any number of images; killed, the same command goes on.
"""

import json
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varlite.checkpoints.load import load, load_tokenizer, weights_file
from varlite.datasets import open_dataset
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.tokens import cache_tokens
from varlite.evaluation.classifier import accuracy, load_classifier
from varlite.evaluation.feature_store import Processes, Work
from varlite.evaluation.features import check_images, extract, open_extractor
from varlite.evaluation.image_sources import Folder, Npz, open_images
from varlite.evaluation.metrics import LEAST, METRICS, NEIGHBOURS, OF_LABELS, OF_STATISTICS, Reference, rounded, score
from varlite.evaluation.samples import PNGs, Samples, Shuffled
from varlite.evaluation.small_models import Reconstructions, score_tokenizer
from varlite.evaluation.validation import batches_of, validate_tokenizer, validate_transformer
from varlite.inference import Precision
from varlite.io.files import read_model, write_json
from varlite.io.memory import peak_memory
from varlite.io.outputs import check_file, check_folder
from varlite.io.provenance import command, machine, versions
from varlite.presets import MODELS

BATCH = 250  # of references: theirs must not depend on an option, since their features are kept


@dataclass(frozen=True)
class Request:
    """What is to be scored, against what, and how: the options of `varlite evaluate`, which explains them."""

    model: str = "fashion-var-d4"
    images: str | None = None
    reference: str = "fashion"
    features: str | None = None
    metrics: tuple[str, ...] = ()
    num: int = 2000
    seed: int = 0
    cfg: float = 1.5
    top_k: int = 0
    top_p: float = 0.96
    samples: Path | None = None
    inception: Path | None = None
    weights: Path | None = None
    batch: int = 64
    precision: Precision = "float32"

    @property
    def settings(self) -> dict[str, Any]:
        return {"cfg": self.cfg, "top_k": self.top_k, "top_p": self.top_p}

    def given(self) -> dict[str, Any]:
        """What decides the scores, for the record."""
        if self.images is not None:
            return {}
        return {"num": self.num, "seed": self.seed} | self.settings

    def command(self) -> str:
        """A command line that repeats it."""
        subject = {"images": self.images} if self.images is not None else {"model": self.model}
        others = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in subject | self.given() and getattr(self, f.name) != f.default
        }
        return command("evaluate", **subject, **self.given(), **others)


def choose_metrics(request: Request, features: str, images: Any, reference: Any) -> tuple[str, ...]:
    """The metrics asked for, or all that can be had but "kd". Raises ValueError for one that cannot, and says why."""
    there = METRICS[features]
    for name in request.metrics:
        if name not in there:
            other = next((f"; {name} takes the features {f}" for f in METRICS if name in METRICS[f]), "")
            raise ValueError(f"metrics: with the features {features} there are {', '.join(there)}{other}")

    def missing(name: str) -> str | None:
        if name in OF_LABELS and images.labels is None:
            return "the classes of the images are not known"
        if name == "recall_within_class":
            if reference.labels is None:
                return f"the classes of {request.reference} are not known"
            if images.labels.bincount().min() <= NEIGHBOURS:
                return f"it takes more than {NEIGHBOURS} images of each class"
        if name == "fd_ratio" and (request.images is not None or request.reference != "fashion"):
            return "it is of a model, and of the reference fashion"
        if len(images) < (least := LEAST.get(name, 2)):
            return f"it takes at least {least} images, and there are {len(images)}"
        given = isinstance(reference, Npz) and OF_STATISTICS.get(name) in reference.statistics
        if name not in ("accuracy", "is") and len(reference) < least and not given:
            few = f"{len(reference)} images" if len(reference) else "neither images nor statistics for it"
            return f"{request.reference} holds {few}"
        return None

    for name in request.metrics:
        if why := missing(name):
            raise ValueError(f"metrics: no {name}: {why}")
    return request.metrics or tuple(name for name in there if name != "kd" and not missing(name))


def evaluate(request: Request, out: Path | None = None, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Score a model's samples or given images; the result, written to `out`, has all that is needed to repeat it.

    Whatever can be wrong with the request is found before the first image. With several processes each has its own GPU,
    and the main one scores; the others return {}.
    """
    task = Task(request, out, torch.device(device))
    real, fake = task.reference_rows(), task.rows()
    scores: dict[str, Any] = {}
    if task.processes.main:
        scores = score(task.metrics, fake.arrays, real, task.images.labels)
    works = [fake]
    if "fd_ratio" in task.metrics:
        again, images = task.reconstructed_rows()
        works.append(again)
        if task.processes.main:
            same = tuple(name for name in ("accuracy", "fd", "recall_within_class") if name in task.metrics)
            best = score(same, again.arrays, real, images.labels)
            scores |= {"fd_ratio": scores["fd"] / best["fd"]}
            scores |= {f"reconstruction_{name}": value for name, value in best.items()}
    if not task.processes.main:
        task.processes.wait()
        return {}
    if isinstance(task.images, Samples):
        seconds = fake.seconds[:].sum().item() / request.num
        scores |= {"num": request.num, "seed": request.seed, "seconds_per_image": seconds}
    result = task.record() | {"scores": rounded(scores), "peak_memory": peak_memory()}
    if out is not None:
        write_json(out, result)
    for work in works:
        work.remove()
    task.processes.wait()
    return result


class Task:
    """A request that has been checked, with everything opened that it needs."""

    def __init__(self, request: Request, out: Path | None, device: torch.device):
        if request.batch < 1:
            raise ValueError(f"batch must be at least 1, got {request.batch}")
        if request.samples is not None and request.images is not None:
            raise ValueError("samples are written of a model; with images there are none to write")
        self.request = request
        features = request.features or ("fashion" if request.reference.startswith("fashion") else "inception")
        if features not in METRICS:
            raise ValueError(f"features must be {' or '.join(METRICS)}, got {features!r}")
        self.processes = Processes(device)
        self.device = self.processes.device
        channels = 1 if features == "fashion" else 3
        self.reference = open_images("reference", request.reference, channels)
        self.images: Any = (
            Samples(
                request.model, request.weights, request.num, request.seed, request.settings, request.precision,
                self.device,
            )
            if request.images is None
            else open_images("images", request.images, channels)
        )  # fmt: skip
        if not len(self.images):
            raise ValueError(f"images: {request.images} holds statistics alone")
        self.metrics = choose_metrics(request, features, self.images, self.reference)
        if "fd_ratio" in self.metrics and "fd" not in self.metrics:
            self.metrics += ("fd",)
        self.layers = {name: METRICS[features][name] for name in self.metrics}
        self.extractor = open_extractor(
            features, tuple(dict.fromkeys(self.layers.values())), request.inception, self.device
        )
        for images in (self.images, self.reference):
            if len(images):
                check_images(self.extractor, images.channels, tuple(images.size))
        self.check_statistics()
        if out is not None:
            check_file("out", out)
        if request.samples is not None:
            (check_file if request.samples.suffix == ".npz" else check_folder)("samples", request.samples)
        self.plan = {"features": self.extractor.name, "features_sha256": self.extractor.sha256, "on": self.device.type}

    @property
    def given(self) -> dict[str, dict[str, np.ndarray]]:
        """Statistics that come with the reference, by kind of features."""
        return self.reference.statistics if isinstance(self.reference, Npz) else {}

    def check_statistics(self) -> None:
        for layer in set(self.given) & set(self.extractor.widths):
            found, wanted = len(self.given[layer]["mu"]), self.extractor.widths[layer]
            if found != wanted:
                raise ValueError(
                    f"reference: the statistics in {self.request.reference} are of {found} features, "
                    f"{self.extractor.name} has {wanted}"
                )

    def reference_rows(self) -> Reference:
        """Features of the reference, which are kept for other evaluations, as far as statistics are not given."""
        asked = {self.layers[name] for name in self.metrics if OF_STATISTICS.get(name) not in self.given}
        kept = {name: self.extractor.widths[name] for name in sorted(asked - {"logits"})}
        real = Reference({}, dict(self.given), self.reference.labels)
        if kept:
            plan = self.plan | {"of": self.reference.checksum}
            real.rows = dict(self.fill(self.reference, plan, kept, "reference", wait=True).arrays)
        return real

    def rows(self) -> Work:
        """Features of the images that are scored. Samples are written on the way, if that is asked for."""
        widths, samples = self.extractor.widths, self.request.samples
        if not isinstance(self.images, Samples):
            return self.fill(self.images, self.plan | {"of": self.images.checksum}, widths, "images")
        plan = self.plan | self.images.plan | {"samples": str(samples and samples.absolute())}
        if samples is None:
            return self.fill(self.images, plan, widths, "samples")
        writer = PNGs(samples, self.images) if samples.suffix != ".npz" else Shuffled(samples, self.images)
        work = self.fill(self.images, plan, widths, "samples", writer)
        if self.processes.main:
            writer.finish(work)
        return work

    def reconstructed_rows(self) -> tuple[Work, Reconstructions]:
        images = Reconstructions(self.images.tokenizer, self.images.labels)
        plan = self.plan | {"of": "reconstructions", "tokenizer_sha256": self.images.record["tokenizer_sha256"]}
        return self.fill(images, plan | {"rows": len(images)}, self.extractor.widths, "reconstructions"), images

    def fill(
        self, images: Any, plan: dict[str, Any], widths: dict[str, int], what: str,
        writer: "PNGs | Shuffled | None" = None, wait: bool = False,
    ) -> Work:  # fmt: skip
        arrays: dict[str, Any] = {name: ((width,), np.float32) for name, width in widths.items()}
        arrays |= writer.arrays if writer else {}
        batch = self.request.batch if images is self.images else BATCH
        work = Work(plan, len(images), batch, arrays, self.processes, wait)

        def keep(img: torch.Tensor, rows: slice) -> dict[str, torch.Tensor]:
            if writer:
                writer.write(work, img, rows)
            found = extract(self.extractor, img)
            return {name: found[name] for name in widths}

        work.fill(images.batch, keep, what)
        return work

    def record(self) -> dict[str, Any]:
        """What a result says beside the scores."""
        request, reference = self.request, self.reference
        subject = self.images.record if isinstance(self.images, Samples) else {"images_sha256": self.images.checksum}
        if isinstance(self.images, Folder) and self.images.lossy:
            subject |= {"lossy_images": self.images.lossy}
        return {
            "model": request.model if request.images is None else None,
            "images": request.images,
            "num": len(self.images),
            **subject,
            "settings": request.given(),
            "features": {"name": self.extractor.name, "sha256": self.extractor.sha256},
            "reference": {"name": request.reference, "sha256": reference.checksum, "num": len(reference)},
            "evaluator": f"varlite, formulas of torch-fidelity {version('torch-fidelity')}",
            "versions": versions("torch_fidelity"),
            "machine": machine(),
            "processes": self.processes.count,
            "command": request.command(),
        }


# The command


def evaluate_any(
    request: Request, out: Path | None = None, card: bool = False, data: str = "fashion",
    device: str | torch.device = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Scores of images or a transformer, of a tokenizer or the classifier; to `out`, and to the card beside the model.

    On `data` other than fashion, for which there is no classifier: error and codebook health of a tokenizer, loss and
    token error of a transformer, on the test split.
    """
    name, kind = request.model, None if request.images is not None else kind_of(request.model, request.weights)
    if card and (request.images, request.reference, request.metrics) != (None, "fashion", ()):
        raise ValueError("card: it holds the default metrics of a model, on the reference fashion")
    if kind not in ("tokenizer", "classifier") and data == "fashion":
        result = evaluate(request, out, device)
    else:
        given: dict[str, Any] = {}
        if data != "fashion":
            scores, given = on_test_split(name, kind, data), {"data": data}
        elif kind == "tokenizer":
            scores, given = score_tokenizer(load_tokenizer(name), request.num), {"num": request.num}
        else:
            test = FashionMNIST("test")
            scores = {"accuracy": accuracy(load_classifier(weights_file(name)), test.all_images, test.labels)}
        line = command("evaluate", model=name, **given)
        result = {"model": name, "command": line, "settings": given, "scores": scores}
        if out is not None:
            write_json(out, result)
    for key, value in result.get("scores", {}).items():
        print(f"{key:32s} {value}")
    if card and result:
        card_path = weights_file(name).parent / "card.json"
        old = json.loads(card_path.read_text()) if card_path.exists() else {}
        write_json(card_path, old | {"scores": result["scores"], "scores_command": result["command"]})
    return result


def kind_of(name: str, weights: Path | None) -> str | None:
    """Raises FileNotFoundError for a model that is not there."""
    if name in MODELS and MODELS[name].hub is not None:
        return "published"
    return read_model(weights_file(name, weights))[0]["kind"]


def on_test_split(name: str, kind: str | None, data: str) -> dict[str, Any]:
    """What can be said of a model on any data, without a classifier."""
    if kind == "tokenizer":
        tokenizer = load_tokenizer(name)
        test = open_dataset(data, "test", tokenizer.image_size(), tokenizer.config.channels)
        return rounded(validate_tokenizer(tokenizer, batches_of(test)))
    model, tokenizer = load(name)
    cache = cache_tokens(tokenizer, data, "test")
    if len(cache.meta["classes"]) != model.config.classes:
        raise ValueError(f"data: {data} has {len(cache.meta['classes'])} classes, {name} has {model.config.classes}")
    return rounded(validate_transformer(model, tokenizer, cache))
