"""Token maps of a dataset: made once and kept, of one view of each image or several, or made anew at every step.

A view is what `varlite.datasets.pixels.view` cuts out: the middle, or something else for each seed, image and number.
`TokenCache` and `FreshTokens` give the same views in the same order, one with the encoder and one without.
"""

import hashlib
import math
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from tqdm import tqdm

from varlite.datasets import Dataset, open_dataset
from varlite.datasets.batches import ahead
from varlite.datasets.pixels import to_float
from varlite.io.files import write_json
from varlite.io.locks import hold
from varlite.io.places import cache_folder
from varlite.io.records import read_object
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, fingerprint


class TokenCache:
    """Token maps of a whole dataset on disk: `tokens.npy` (N, L) uint16, memory-mapped, `labels.npy`, `meta.json`.

    Its length is the number of examples; each has as many rows as there are views. A subclass keeps something else of
    every image: see latents.py. Raises ValueError if the files are damaged or do not belong together.
    """

    name: ClassVar[str] = "tokens"
    dtype: ClassVar[type] = np.uint16
    given: ClassVar[type] = np.int64  # what `batch` makes of it

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self.meta = read_object(folder / "meta.json")
            self.rows = np.load(folder / f"{self.name}.npy", mmap_mode="r")
            self.labels = torch.from_numpy(np.load(folder / "labels.npy"))
            self._check()
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise ValueError(f"{folder} is damaged ({error}): delete it, and the {self.name} are made again") from None

    def _check(self) -> None:
        older: dict[str, Any] = {"skipped": {}, "views": 1}  # does not say
        self.meta = older | self.meta
        n, classes = len(self.rows), len(self.meta["classes"])
        if n % self.meta["views"]:
            raise ValueError(f"{self.name}.npy has {n} rows, not {self.meta['views']} for each image")
        shape, of_row, dtype = self.rows.shape[1:], self.expected(self.meta), np.dtype(self.dtype)
        if self.rows.dtype != dtype or shape != of_row:
            wanted = f"rows of {', '.join(map(str, of_row))}"
            raise ValueError(f"{self.name}.npy is {self.rows.dtype} {self.rows.shape}, not {dtype} with {wanted}")
        if self.labels.dtype != torch.int64 or self.labels.shape != (n,):
            raise ValueError(f"labels.npy is {self.labels.dtype} {tuple(self.labels.shape)}, not one int64 per row")
        if n == 0 or self.labels.min() < 0 or self.labels.max() >= classes:
            raise ValueError(f"labels.npy does not hold labels of {classes} classes")

    def __len__(self) -> int:
        return len(self.rows) // self.meta["views"]

    @property
    def skipped(self) -> dict[str, str]:
        return self.meta["skipped"]

    def batch(self, indices: torch.Tensor, passes: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """(idx_BL int64, labels (B,)) of the given examples, as they are seen after so many passes over all of them."""
        views = self.meta["views"]
        rows = indices * views + passes % views
        return torch.from_numpy(self.rows[rows.numpy()].astype(self.given)), self.labels[rows]

    def label(self, indices: torch.Tensor) -> torch.Tensor:
        """Labels (B,) of the given examples."""
        return self.labels[indices * self.meta["views"]]

    # What a subclass has of its own

    @staticmethod
    def expected(meta: dict[str, Any]) -> tuple[int, ...]:
        """The shape of a row, from `meta.json`."""
        return (Scales.of(meta["scales"]).total,)

    @staticmethod
    def encode(tokenizer: VQVAE, img_B3HW: torch.Tensor) -> torch.Tensor:
        """Rows of images in [-1, 1], on the tokenizer's device."""
        return torch.cat(tokenizer.encode(img_B3HW), 1)

    @staticmethod
    def example(scales: Scales, rows: torch.Tensor) -> Any:
        """What a model's loss takes, from rows of `batch`."""
        return scales.split(rows)


class FreshTokens:
    """Tokens of a dataset that are made when they are wanted, of another view in every pass, as in VAR's training code.

    After v passes each image shows its view v, the one that `cache_tokens` would keep if asked for enough of them.
    """

    def __init__(self, tokenizer: VQVAE, dataset: Dataset, flip: bool, seed: int, kept: type[TokenCache] = TokenCache):
        """`kept` is the cache of what is made of every image."""
        self.tokenizer, self.dataset, self.flip, self.seed, self.kept = tokenizer, dataset, flip, seed, kept

    def __len__(self) -> int:
        return len(self.dataset.labels)

    @property
    def skipped(self) -> dict[str, str]:
        return self.dataset.skipped

    def batch(self, indices: torch.Tensor, passes: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """(bytes (B, channels, H, W), labels (B,)) of the given images, as they are seen after so many passes."""
        img = self.dataset.images(indices, view_seed(self.seed, passes), self.flip)
        return img, self.dataset.labels[indices]  # after the images: see EncodedImages

    def label(self, indices: torch.Tensor) -> torch.Tensor:
        """Labels (B,) of the given images."""
        return self.dataset.labels[indices]

    @torch.no_grad()
    def example(self, scales: Scales, img: torch.Tensor) -> Any:
        """What a model's loss takes, from bytes of `batch`, on the tokenizer's device."""
        device = next(self.tokenizer.parameters()).device
        parts = [self.kept.encode(self.tokenizer, to_float(part.to(device))) for part in img.split(250)]
        return self.kept.example(scales, torch.cat(parts))


Tokens = TokenCache | FreshTokens


def view_seed(seed: int, view: int) -> int:
    """The `crop_seed` of a view, counted from 0, in a training with `seed`."""
    return seed * 1_000_003 + view


@torch.inference_mode()
def cache_tokens(
    tokenizer: VQVAE,
    data: str,
    split: str,
    batch: int | None = None,
    flip: bool = False,
    dataset: Dataset | None = None,
    views: int = 1,
    seed: int = 0,
    kept: type[TokenCache] = TokenCache,
) -> TokenCache:
    """The token maps of a split, from the cache if they are there, otherwise encoded now; interrupted, it resumes.

    One folder in VARLITE_CACHE (on Linux ~/.cache/varlite) for each tokenizer, dataset, by their checksums and classes,
    and kind of views. With one view images are center-cropped, and `flip` adds an example for each, its mirror image:
    2i is image i, 2i + 1 its mirror. With more, view v of image i is cut, and with `flip` mirrored, at random: a
    function of (`seed`, i, v) alone. The test split has one view whatever `views` says, the middle.
    An unreadable image gets the rows of the next readable one, label included; `meta["skipped"]` names it, and the next
    call tries it again.
    `batch` images are encoded at a time; None is what a few GB of memory hold. `dataset` is the split, if it is open:
    `as_published` unless there is one view. `kept` is the cache of whatever else is to be kept of every image.
    Raises ValueError for no views and for a codebook of more than 16 bits, OSError where the disk is too small.
    """
    h, w = tokenizer.image_size()
    batch = min(250, max(1, 2**20 // (h * w))) if batch is None else batch
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if kept.dtype is np.uint16 and tokenizer.config.vocab > 2**16:
        raise ValueError(f"tokens are kept in 16 bits: a codebook of {tokenizer.config.vocab} codes is too large")
    dataset = dataset or open_dataset(data, split, (h, w), tokenizer.config.channels, as_published=views != 1)
    views = 1 if split == "test" else views
    if views < 1:
        raise ValueError(f"views must be at least 1 to be kept, got {views}")
    tokenizer_sha256 = fingerprint(tokenizer)
    # Labels are numbers of classes, and a class may be added that has no picture in this split.
    content = hashlib.sha256("\n".join((dataset.checksum, *dataset.classes)).encode()).hexdigest()
    name = f"{kept.name}-{tokenizer_sha256[:12]}-{content[:12]}{'-flip' * flip}"
    name += "-published" * dataset.as_published + f"-{views}-views-{seed}" * (views > 1)
    folder = cache_folder() / name
    if (folder / "meta.json").exists() and not kept(folder).skipped:
        return kept(folder)
    cache_folder().mkdir(parents=True, exist_ok=True)
    busy = f"the {kept.name} of {data} are being made by {{holder}}: waiting for them"
    lock = hold(folder.with_name(folder.name + ".lock"), busy, wait=True)
    try:
        if not (folder / "meta.json").exists():
            about = {"data": data, "split": split, "flip": flip, "views": views, "seed": seed}
            about |= {"as_published": dataset.as_published, "tokenizer_sha256": tokenizer_sha256}
            _encode(tokenizer, dataset, folder, about, batch, kept)
        elif len(rows := dataset.retry(kept(folder).skipped)):
            _encode_again(tokenizer, dataset, kept(folder), rows)
    finally:
        lock.release()
    return kept(folder)


def _encode(
    tokenizer: VQVAE, dataset: Dataset, folder: Path, about: dict[str, Any], batch: int, kept: type[TokenCache]
) -> None:
    # Rows written so far count as done only once `progress.json` says so, after they are on disk.
    partial, each = folder.with_name(folder.name + ".partial"), _rows_of_an_image(about)
    partial.mkdir(parents=True, exist_ok=True)
    about = about | {"data_sha256": dataset.checksum, "scales": tokenizer.scales.sides, "z": tokenizer.config.z}
    about |= {"classes": dataset.classes}
    n, row, progress = len(dataset.labels), kept.expected(about), partial / "progress.json"
    state: dict[str, Any] = read_object(progress) if progress.exists() else {"done": 0, "skipped": {}}
    done = state["done"]
    size = math.prod(row) * np.dtype(kept.dtype).itemsize + 8
    need, free = (n - done) * each * size, shutil.disk_usage(partial).free
    if need > free:
        raise OSError(f"{cache_folder()}: the {kept.name} need {need / 1e6:.0f} MB more, {free / 1e6:.0f} MB are free")
    what = f"{kept.name} of {about['data']} {about['split']}"
    bar = tqdm(total=n, initial=done, desc=what, unit="image", mininterval=1)
    with (
        bar,
        open_rows(partial / f"{kept.name}.npy", (n * each, *row), kept.dtype, done * each) as made,
        open_rows(partial / "labels.npy", (n * each,), np.int64, done * each) as labels,
    ):
        batches = torch.arange(done, n).split(batch) if done < n else ()
        viewed = ahead(lambda step: _views(dataset, batches[step], about), len(batches))
        for step, rows in enumerate(batches):
            img, label_N = viewed(step)
            for file, written in ((made, _rows(tokenizer, img, 2 * batch, kept)), (labels, label_N.numpy())):
                file.write(written.tobytes())
                file.flush()
                os.fsync(file.fileno())
            state = {"done": int(rows[-1]) + 1, "skipped": state["skipped"] | dataset.skipped}
            write_json(progress, state)
            bar.update(len(rows))
            if state["skipped"]:
                bar.set_postfix({"skipped": len(state["skipped"])}, refresh=False)
    write_json(partial / "meta.json", about | {"skipped": state["skipped"]})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _rows_of_an_image(about: dict[str, Any]) -> int:
    return about["views"] if about["views"] > 1 else 1 + about["flip"]


def _views(dataset: Dataset, rows: torch.Tensor, about: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """All views of some images, image after image: bytes (B * views, channels, H, W), and their labels."""
    img, label_B = [], []
    for view in range(about["views"]):
        random = (view_seed(about["seed"], view), about["flip"]) if about["views"] > 1 else ()
        img.append(dataset.images(rows, *random))
        label_B.append(dataset.labels[rows])  # after the images: see EncodedImages
    if about["flip"] and about["views"] == 1:
        img, label_B = [img[0], img[0].flip(-1)], 2 * label_B
    return torch.stack(img, 1).flatten(0, 1), torch.stack(label_B, 1).flatten()


def _rows(tokenizer: VQVAE, img: torch.Tensor, batch: int, kept: type[TokenCache]) -> np.ndarray:
    """What is kept of bytes (N, channels, H, W), so many at a time."""
    device = next(tokenizer.parameters()).device
    found = [kept.encode(tokenizer, to_float(part.to(device))).cpu() for part in img.split(batch)]
    return torch.cat(found).numpy().astype(kept.dtype)


def _encode_again(tokenizer: VQVAE, dataset: Dataset, cache: TokenCache, rows: torch.Tensor) -> None:
    """Replace the rows of images that could not be read when the cache was made, and can now, in place.

    `meta.json` names them until all is written: interrupted, it is done once more.
    """
    about, folder, kept = {"seed": 0} | cache.meta, cache.folder, type(cache)
    for row in rows:
        img, label_N = _views(dataset, row[None], about)
        for name, written in ((f"{kept.name}.npy", _rows(tokenizer, img, 2, kept)), ("labels.npy", label_N.numpy())):
            with open_at(folder / name, int(row) * _rows_of_an_image(about)) as file:
                file.write(written.tobytes())
    write_json(folder / "meta.json", about | {"skipped": dataset.skipped})


def open_rows(path: Path, shape: tuple[int, ...], dtype: type, done: int) -> BinaryIO:
    """A .npy file of `shape`, new unless some rows are `done`, opened to write the next one.

    Ordinary writes raise OSError on a full disk, where writing to a memory-mapped file would end the process.
    """
    if not done:
        np.lib.format.open_memmap(path, "w+", dtype, shape=shape)
    return open_at(path, done)


def open_at(path: Path, row: int) -> BinaryIO:
    """A .npy file, opened to write from `row` on."""
    array = np.load(path, mmap_mode="r")
    file = open(path, "r+b")  # noqa: SIM115
    file.seek(array.offset + row * array.strides[0])
    return file
