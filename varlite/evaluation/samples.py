"""Samples to be scored: class-balanced, a batch at a time, and kept as files on the way if that is asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from varlite.checkpoints.load import load, weights_file
from varlite.datasets.pixels import to_bytes
from varlite.datasets.tokens import fingerprint
from varlite.drawing import image_generator
from varlite.evaluation.feature_store import Work
from varlite.evaluation.image_sources import write_npz
from varlite.evaluation.small_models import class_balanced
from varlite.inference import Precision, autocast, prepare
from varlite.io.files import sha256
from varlite.io.pictures import save_png
from varlite.sampling import check_settings, generate


class Samples:
    """As many samples of each class. An image depends on the seed, its class and its number within the class alone."""

    def __init__(
        self, name: str, weights: Path | None, num: int, seed: int, settings: dict[str, Any],
        precision: Precision, device: torch.device,
    ):  # fmt: skip
        self.model, self.tokenizer = load(name, weights, device=device)
        prepare(self.model, precision)
        check_settings(settings["cfg"], settings["top_k"], settings["top_p"], self.model.config.vocab)
        self.seed, self.settings, self.precision, self.device = seed, settings, precision, device
        self.classes = self.model.config.classes
        self.labels = class_balanced(num, self.classes)
        self.size, self.channels = self.tokenizer.image_size(), self.tokenizer.config.channels
        self.record = {
            "weights_sha256": sha256(weights_file(name, weights)),
            "tokenizer_sha256": fingerprint(self.tokenizer),
        }
        self.plan = self.record | {"seed": seed, "settings": settings, "precision": precision}

    def __len__(self) -> int:
        return len(self.labels)

    def number(self, i: int) -> int:
        """Of image i within its class."""
        return i // self.classes

    def batch(self, rows: slice) -> torch.Tensor:
        labels = self.labels[rows].tolist()
        generators = [
            image_generator(self.seed, c, self.number(i), self.device) for i, c in enumerate(labels, start=rows.start)
        ]
        with autocast(self.device, self.precision):
            images = generate(self.model, self.tokenizer, labels, generator=generators, **self.settings)
        return to_bytes(images.float()).cpu()


class PNGs:
    """A folder of samples, named by class and number, as `varlite sample` does."""

    def __init__(self, folder: Path, samples: Samples):
        self.folder, self.samples = folder, samples
        self.arrays: dict[str, Any] = {}

    def write(self, work: Work, img_BCHW: torch.Tensor, rows: slice) -> None:
        for i, img in enumerate(img_BCHW, start=rows.start):
            save_png(self.folder / f"{self.samples.labels[i]:04d}_{self.samples.number(i):05d}.png", img)

    def finish(self, work: Work) -> None: ...


class Shuffled:
    """Samples for ADM's evaluator, which scores runs of 5,000 images: RGB, in random order, so that no run has few
    classes. Each is written where it belongs, and packed at the end."""

    def __init__(self, path: Path, samples: Samples):
        self.path, self.samples = path, samples
        self.place = np.random.RandomState(samples.seed).permutation(len(samples))
        self.arrays = {"arr_0": ((*samples.size, 3), np.uint8)}

    def write(self, work: Work, img_BCHW: torch.Tensor, rows: slice) -> None:
        for place, img in zip(self.place[rows], img_BCHW.expand(-1, 3, -1, -1), strict=True):
            work.arrays["arr_0"].write(place, img.permute(1, 2, 0)[None].numpy())

    def finish(self, work: Work) -> None:
        labels = np.empty(len(self.samples), np.int64)
        labels[self.place] = self.samples.labels
        write_npz(self.path, work.arrays["arr_0"], labels)
