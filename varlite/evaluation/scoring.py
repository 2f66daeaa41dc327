"""`varlite evaluate`: images, sampled here or given, to features, to scores; in one process or many.

    torchrun --nproc-per-node 8 -m -- varlite evaluate ...          each process computes every eighth batch

Only features are kept, on disk, so that memory is the same for any number of images; after a kill the same command goes
on where it was.
"""

import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varlite.evaluation.feature_store import Processes, Work
from varlite.evaluation.features import check_images, extract, open_extractor
from varlite.evaluation.image_sources import Folder, Npz, open_images
from varlite.evaluation.judging import PANEL, ask_panel, judge_against, kept_arrays, read_reports
from varlite.evaluation.judging import keep as keep_for_panel
from varlite.evaluation.metrics import METRICS, OF_STATISTICS, Reference, rounded, score
from varlite.evaluation.request import Request, choose_metrics
from varlite.evaluation.safeguards import refuse_equal, refuse_mistakes, remarks
from varlite.evaluation.samples import PNGs, Samples, Shuffled, open_writer
from varlite.evaluation.small_models import RealImages
from varlite.io.files import write_json
from varlite.io.memory import peak_memory
from varlite.io.outputs import check_file
from varlite.io.provenance import machine, versions

BATCH = 250  # of references: the same for every evaluation, since their features are kept for the next


def evaluate(request: Request, out: Path | None = None, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Score a model's samples or given images; the result, written to `out`, has all that is needed to repeat it.

    Whatever is wrong with the request is found before the first image. With several processes each has its own GPU, and
    the main one scores; the others return {}.
    """
    task = Task(request, out, torch.device(device))
    if task.processes.main:
        for remark in task.remarks:
            print(f"note: {remark}", file=sys.stderr)
    try:
        return carry_out(task, out)
    finally:
        task.release()


def carry_out(task: "Task", out: Path | None) -> dict[str, Any]:
    """Features, then scores."""
    real, fake = task.reference_features(), task.image_features()
    baselines = task.baselines() if "fd_ratio" in task.metrics else {}
    if not task.processes.main:
        task.processes.wait()
        return {}
    scores: dict[str, Any] = score(task.metrics, fake.arrays, real, task.images.labels)
    panel = task.ask_panel(fake) if task.panel else {}
    if baselines:
        scores |= beside(scores, baselines, real)
    if isinstance(task.images, Samples):
        seconds = fake.seconds[:].sum().item() / len(task.images)
        scores |= {"num": task.request.num, "seed": task.request.seed, "seconds_per_image": seconds}
    result = task.record() | {"scores": rounded(scores)} | panel | {"peak_memory": peak_memory()}
    if out is not None:
        write_json(out, result)
    fake.remove()
    task.processes.wait()
    return result


def beside(scores: dict[str, Any], baselines: dict[str, tuple[Work, RealImages]], real: Reference) -> dict[str, float]:
    """The distances that a model's FD has to be read against.

    floor_fd: of real training images, equally many. unpaired_reconstruction_fd: of their reconstructions, the best that
    a model on these tokens can hope for. reconstruction_fd, and fd_ratio to it, are of reconstructions of test images,
    whose originals are in the reference. The ratio compares models of one tokenizer only: it rises when the tokenizer
    gets better.
    """
    found: dict[str, float] = {}
    for name, (work, images) in baselines.items():
        same = ("accuracy", "fd", "recall_within_class") if name == "reconstruction" else ("fd",)
        of = score(tuple(metric for metric in same if metric in scores), work.arrays, real, images.labels)
        found |= {f"{name}_{metric}": value for metric, value in of.items()}
    return {"fd_ratio": scores["fd"] / found["reconstruction_fd"]} | found


class Task:
    """A request that has been checked, and everything opened that it needs."""

    def __init__(self, request: Request, out: Path | None, device: torch.device):
        if request.batch < 1:
            raise ValueError(f"batch must be at least 1, got {request.batch}")
        if request.samples is not None and request.images is not None:
            raise ValueError("samples are written of a model; with images there are none to write")
        self.request, self.processes = request, Processes(device)
        self.own: Work | None = None  # features of the images, which nobody else may touch until they are scored
        self.device = self.processes.device
        if out is not None:
            check_file("out", out)
        features = request.chosen_features()
        channels = 1 if features == "fashion" else 3
        self.reference = open_images("reference", request.reference, channels)
        self.images: Any = self.open_subject(channels)
        if isinstance(self.images, Samples):
            self.request = request = replace(request, num=len(self.images))
        metrics = choose_metrics(request, features, self.images, self.reference)
        self.panel = PANEL in metrics
        if self.panel and isinstance(self.images, Samples):
            self.images.keep_tokens()
        self.metrics = tuple(name for name in metrics if name != PANEL)
        if request.against and not self.panel:
            raise ValueError("against: the verdict takes the metric panel, which is not asked for, or cannot be had")
        self.against = read_reports(request.against, len(self.images))
        self.layers = {name: METRICS[features][name] for name in self.metrics}
        kinds = tuple(dict.fromkeys(self.layers.values()))
        self.extractor = open_extractor(features, kinds, request.inception, self.device)
        for images in (self.images, self.reference):
            if len(images):
                check_images(self.extractor, images.channels, tuple(images.size))
        self.check_statistics()
        refuse_mistakes(self.images, self.reference, request.reference)
        refuse_equal(self.images, self.reference, request.reference)
        self.writer = open_writer(request.samples, self.images)
        self.remarks = remarks(self.layers, self.extractor.widths, self.images, self.reference)
        self.plan = {"features": self.extractor.name, "features_sha256": self.extractor.sha256, "on": self.device.type}

    def open_subject(self, channels: int) -> Any:
        """What is to be scored: the images given, or a model's samples."""
        request = self.request
        if request.images is None:
            return Samples(
                request.model, request.weights, request.num, request.seed, request.settings, request.precision,
                self.device, request.dials,
            )  # fmt: skip
        images = open_images("images", request.images, channels)
        if not len(images):
            raise ValueError(f"images: {request.images} holds statistics alone")
        return images

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

    def reference_features(self) -> Reference:
        """Features of the reference, as far as statistics are not given; they are kept for other evaluations."""
        asked = {self.layers[name] for name in self.metrics if OF_STATISTICS.get(name) not in self.given}
        kept = {name: self.extractor.widths[name] for name in sorted(asked - {"logits"})}
        real = Reference({}, dict(self.given), self.reference.labels)
        if kept:
            plan = self.plan | {"of": self.reference.checksum}
            real.features = dict(self.fill(self.reference, plan, kept, "reference", shared=True).arrays)
        return real

    def image_features(self) -> Work:
        """Features of the images that are scored. Samples are written on the way, if that is asked for."""
        widths, samples = self.extractor.widths, self.request.samples
        if not isinstance(self.images, Samples):
            return self.fill(self.images, self.plan | {"of": self.images.checksum}, widths, "images")
        plan = self.plan | self.images.plan | {"samples": str(samples and samples.absolute())}
        plan |= {PANEL: True} if self.panel else {}
        work = self.fill(self.images, plan, widths, "samples", self.writer)
        if self.writer and self.processes.main:
            self.writer.finish(work)
        return work

    def baselines(self) -> dict[str, tuple[Work, RealImages]]:
        """Features of real images and of reconstructions, equally many of each class as there are samples.

        They are kept for other evaluations, as those of the reference are.
        """
        tokenizer, label_N = self.images.tokenizer, self.images.labels
        sets = {
            "reconstruction": RealImages("test", label_N, tokenizer),
            "unpaired_reconstruction": RealImages("train", label_N, tokenizer),
            "floor": RealImages("train", label_N),
        }
        of_tokenizer = ("tokenizer_sha256", "decoder_sha256")
        plan = self.plan | {name: self.images.record[name] for name in of_tokenizer}
        widths = self.extractor.widths
        return {
            name: (self.fill(images, plan | {"of": name, "rows": len(images)}, widths, name, shared=True), images)
            for name, images in sets.items()
        }

    def fill(
        self, images: Any, plan: dict[str, Any], widths: dict[str, int], what: str,
        writer: "PNGs | Shuffled | None" = None, shared: bool = False,
    ) -> Work:  # fmt: skip
        """Compute what is missing of the features of a set of images."""
        arrays: dict[str, Any] = {name: ((width,), np.float32) for name, width in widths.items()}
        arrays |= writer.arrays if writer else {}
        judged = self.panel and images is self.images and isinstance(images, Samples)
        arrays |= kept_arrays(images.tokenizer.scales.total) if judged else {}
        batch = self.request.batch if images is self.images else BATCH
        work = Work(plan, len(images), batch, arrays, self.processes, shared)
        self.own = self.own if shared else work
        if writer and self.processes.main and not writer.begin():
            work.forget()  # the samples of finished batches are no longer there
        self.processes.wait()

        def keep(img: torch.Tensor, rows: slice) -> dict[str, torch.Tensor]:
            if writer:
                writer.write(work, img, rows)
            found = extract(self.extractor, img)
            return {name: found[name] for name in widths} | (keep_for_panel(images, img) if judged else {})

        work.fill(images.batch, keep, what)
        return work

    def release(self) -> None:
        if self.own is not None:
            self.own.release()

    def ask_panel(self, fake: Work) -> dict[str, Any]:
        """What a result says of the panel, and of the verdict against other sets."""
        report = ask_panel(self.images, fake.arrays if isinstance(self.images, Samples) else {})
        return {PANEL: report.record()} | ({"verdict": judge_against(report, self.against)} if self.against else {})

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
        } | ({"remarks": self.remarks} if self.remarks else {})
