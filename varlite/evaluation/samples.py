"""Class-balanced samples of a model, drawn one batch at a time, and written to files on the way if asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from varlite.checkpoints.cards import class_names
from varlite.checkpoints.load import load, weights_file
from varlite.datasets.pixels import to_bytes
from varlite.drawing import image_seeds
from varlite.evaluation.drawn_sets import DrawnTokens
from varlite.evaluation.feature_store import Work, check_room
from varlite.evaluation.image_sources import write_npz
from varlite.evaluation.sample_folders import RECORD, check_claim, claim, sample_name
from varlite.evaluation.small_models import class_balanced, default_num
from varlite.hooks.ssg import ssg_for
from varlite.inference import Precision, autocast, prepare
from varlite.io.files import sha256, write_json
from varlite.io.outputs import check_file, check_folder
from varlite.io.pictures import save_png
from varlite.sampling import check_settings, generate
from varlite.tokenizer import decoder_fingerprint, fingerprint


class Samples:
    """Equally many samples of each class. An image depends only on the seed, its class and its number within it."""

    def __init__(
        self, name: str, weights: Path | None, num: int | None, seed: int, settings: dict[str, Any],
        precision: Precision, device: torch.device, dials: tuple[str, ...] = (),
    ):  # fmt: skip
        check_room(num or 0)
        self.model: Any
        self.model, self.tokenizer = load(name, weights, device=device, dials=dials)
        prepare(self.model, precision)
        check_settings(settings["cfg"], settings["top_k"], settings["top_p"], self.model.config.vocab)
        plain = {name: value for name, value in settings.items() if name != "ssg"}
        self.watch: DrawnTokens | None = None
        hook = {"on_logits": ssg_for(self.model, settings.get("ssg", 0.0))}
        self.seed, self.settings, self.precision, self.device = seed, plain | hook, precision, device
        path, count = weights_file(name, weights), self.model.config.classes
        self.num_classes, self.classes = count, tuple(class_names(name, weights))
        self.labels = class_balanced(default_num(count) if num is None else num, count)
        self.size, self.channels = self.tokenizer.image_size(), self.tokenizer.config.channels
        self.record = {"weights_sha256": sha256(path), "tokenizer_sha256": fingerprint(self.tokenizer)}
        self.record |= {"decoder_sha256": decoder_fingerprint(self.tokenizer)}
        self.plan: dict[str, Any] = self.record | {"seed": seed, "settings": settings, "precision": precision}
        if dials:
            self.plan["dials"] = list(dials)
        self.class_counts: dict[str, int] = {}  # equal

    def __len__(self) -> int:
        return len(self.labels)

    def keep_tokens(self) -> None:
        """From now on `watch` keeps the tokens of a batch. Without it a GPU may draw by a recorded graph."""
        self.watch = DrawnTokens()

    def number(self, i: int) -> int:
        """Number of image i within its class."""
        return i // self.num_classes

    def batch(self, rows: slice) -> torch.Tensor:
        label_B = torch.as_tensor(self.labels[rows])
        seeds = image_seeds(self.seed, label_B, torch.tensor([self.number(i) for i in range(rows.start, rows.stop)]))
        with autocast(self.device, self.precision):
            images = generate(self.model, self.tokenizer, label_B, seeds=seeds, on_scale=self.watch, **self.settings)
        return to_bytes(images.float()).cpu()


class PNGs:
    """Writes samples into a folder, named by class and number, with a samples.json that says which belong there.

    Raises ValueError for a folder that holds images of another origin.
    """

    def __init__(self, folder: Path, samples: Samples):
        self.folder, self.samples = folder, samples
        self.arrays: dict[str, Any] = {}
        check_folder("samples", folder)
        check_claim("samples", folder)
        per_class = len(samples) // samples.num_classes
        self.record = {"classes": list(range(samples.num_classes)), "class_names": list(samples.classes)}
        self.record |= {"num_per_class": per_class} | samples.plan

    def begin(self) -> bool:
        """Clear the folder of another run's images; True if it already holds this run's."""
        resumed = claim(self.folder, self.record)
        write_json(self.folder / RECORD, self.record)
        return resumed

    def write(self, work: Work, img_BCHW: torch.Tensor, rows: slice) -> None:
        for i, img in enumerate(img_BCHW, start=rows.start):
            save_png(self.folder / sample_name(int(self.samples.labels[i]), self.samples.number(i)), img)

    def finish(self, work: Work) -> None: ...


class Shuffled:
    """Writes samples as an npz for ADM's evaluator, which scores runs of 5,000 images: RGB, in random order, so that
    every run has all classes. They are collected beside the features and packed at the end."""

    def __init__(self, path: Path, samples: Samples):
        self.path, self.samples = path, samples
        self.place = np.random.RandomState(samples.seed % 2**32).permutation(len(samples))
        self.arrays = {"arr_0": ((*samples.size, 3), np.uint8)}
        check_file("samples", path)

    def begin(self) -> bool:
        return True  # images of finished batches lie beside their features

    def write(self, work: Work, img_BCHW: torch.Tensor, rows: slice) -> None:
        for place, img in zip(self.place[rows], img_BCHW.expand(-1, 3, -1, -1), strict=True):
            work.arrays["arr_0"].write(place, img.permute(1, 2, 0)[None].numpy())

    def finish(self, work: Work) -> None:
        labels = np.empty(len(self.samples), np.int64)
        labels[self.place] = self.samples.labels
        write_npz(self.path, work.arrays["arr_0"], labels)


def open_writer(path: Path | None, samples: Any) -> PNGs | Shuffled | None:
    """What writes the samples to `path`: an .npz file or a folder; None without a path."""
    if path is None:
        return None
    return Shuffled(path, samples) if path.suffix == ".npz" else PNGs(path, samples)
