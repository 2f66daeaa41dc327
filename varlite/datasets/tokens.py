"""Token maps of a dataset, made once and kept: training a transformer never runs the encoder."""

import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

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

    Raises ValueError if the files are damaged or do not belong together.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self.meta = read_object(folder / "meta.json")
            self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")
            self.labels = torch.from_numpy(np.load(folder / "labels.npy"))
            self._check()
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise ValueError(f"{folder} is damaged ({error}): delete it, and the tokens are made again") from None

    def _check(self) -> None:
        self.meta.setdefault("skipped", {})  # older caches do not say
        n, L, classes = len(self.tokens), Scales.of(self.meta["scales"]).total, len(self.meta["classes"])
        if self.tokens.dtype != np.uint16 or self.tokens.shape != (n, L):
            raise ValueError(f"tokens.npy is {self.tokens.dtype} {self.tokens.shape}, not uint16 with rows of {L}")
        if self.labels.dtype != torch.int64 or self.labels.shape != (n,):
            raise ValueError(f"labels.npy is {self.labels.dtype} {tuple(self.labels.shape)}, not one int64 per row")
        if n == 0 or self.labels.min() < 0 or self.labels.max() >= classes:
            raise ValueError(f"labels.npy does not hold labels of {classes} classes")

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(idx_BL int64, labels (B,)) of the given rows."""
        return torch.from_numpy(self.tokens[indices.numpy()].astype(np.int64)), self.labels[indices]


@torch.inference_mode()
def cache_tokens(
    tokenizer: VQVAE,
    data: str,
    split: str,
    batch: int | None = None,
    flip: bool = False,
    dataset: Dataset | None = None,
) -> TokenCache:
    """The token maps of a split, from the cache if they are there, otherwise encoded now; interrupted, it resumes.

    One folder in VARLITE_CACHE (default ~/.cache/varlite) for each tokenizer and dataset, by their checksums. Images
    are center-cropped. With `flip` each has a second row, of its mirror image: 2i is image i, 2i + 1 its mirror. An
    unreadable image gets the row of the next readable one, label included; `meta["skipped"]` names it, and the next
    call tries it again.
    `batch` images are encoded at a time; None is what a few GB of memory hold. `dataset` is the split, if it is open.
    Raises ValueError for a codebook of more than 16 bits, OSError where the disk is too small.
    """
    h, w = tokenizer.image_size()
    batch = min(250, max(1, 2**20 // (h * w))) if batch is None else batch
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if tokenizer.config.vocab > 2**16:
        raise ValueError(f"tokens are kept in 16 bits: a codebook of {tokenizer.config.vocab} codes is too large")
    dataset = dataset or open_dataset(data, split, (h, w), tokenizer.config.channels)
    tokenizer_sha256 = fingerprint(tokenizer)
    folder = cache_folder() / f"tokens-{tokenizer_sha256[:12]}-{dataset.checksum[:12]}{'-flip' * flip}"
    if (folder / "meta.json").exists() and not TokenCache(folder).meta["skipped"]:
        return TokenCache(folder)
    cache_folder().mkdir(parents=True, exist_ok=True)
    busy = f"the tokens of {data} are being made by {{holder}}: waiting for them"
    lock = hold(folder.with_name(folder.name + ".lock"), busy, wait=True)
    try:
        if not (folder / "meta.json").exists():
            about = {"data": data, "split": split, "flip": flip, "tokenizer_sha256": tokenizer_sha256}
            _encode(tokenizer, dataset, folder, about, batch)
        elif len(rows := dataset.retry(TokenCache(folder).meta["skipped"])):
            _encode_again(tokenizer, dataset, folder, rows)
    finally:
        lock.release()
    return TokenCache(folder)


def _encode(tokenizer: VQVAE, dataset: Dataset, folder: Path, about: dict[str, Any], batch: int) -> None:
    # Rows written so far count as done only once `progress.json` says so, after they are on disk.
    partial, views = folder.with_name(folder.name + ".partial"), 1 + about["flip"]
    partial.mkdir(parents=True, exist_ok=True)
    n, L, progress = len(dataset.labels), tokenizer.scales.total, partial / "progress.json"
    state: dict[str, Any] = read_object(progress) if progress.exists() else {"done": 0, "skipped": {}}
    done = state["done"]
    need, free = (n - done) * views * (2 * L + 8), shutil.disk_usage(partial).free
    if need > free:
        raise OSError(f"{cache_folder()}: the tokens need {need / 1e6:.0f} MB more, {free / 1e6:.0f} MB are free")
    bar = tqdm(total=n, initial=done, desc=f"tokens of {about['data']} {about['split']}", unit="image", mininterval=1)
    with (
        bar,
        open_rows(partial / "tokens.npy", (n * views, L), np.uint16, done * views) as tokens,
        open_rows(partial / "labels.npy", (n * views,), np.int64, done * views) as labels,
    ):
        batches = torch.arange(done, n).split(batch) if done < n else ()
        images = ahead(lambda step: dataset.images(batches[step]), len(batches))
        for step, rows in enumerate(batches):
            idx_NL = _tokens(tokenizer, images(step), views)
            label_N = dataset.labels[rows].repeat_interleave(views)  # after the images: see ImageFolder
            for file, written in ((tokens, idx_NL), (labels, label_N.numpy())):
                file.write(written.tobytes())
                file.flush()
                os.fsync(file.fileno())
            state = {"done": int(rows[-1]) + 1, "skipped": state["skipped"] | dataset.skipped}
            write_json(progress, state)
            bar.update(len(rows))
            if state["skipped"]:
                bar.set_postfix({"skipped": len(state["skipped"])}, refresh=False)
    about = about | {"data_sha256": dataset.checksum, "scales": tokenizer.scales.sides, "classes": dataset.classes}
    write_json(partial / "meta.json", about | {"skipped": state["skipped"]})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _tokens(tokenizer: VQVAE, img: torch.Tensor, views: int) -> np.ndarray:
    """(B * views, L) of bytes (B, channels, H, W), each followed by the tokens of its mirror image if `views` is 2."""
    if views == 2:
        img = torch.stack([img, img.flip(-1)], 1).flatten(0, 1)
    device = next(tokenizer.parameters()).device
    return torch.cat(tokenizer.encode(to_float(img.to(device))), 1).cpu().numpy().astype(np.uint16)


def _encode_again(tokenizer: VQVAE, dataset: Dataset, folder: Path, rows: torch.Tensor) -> None:
    """Replace the rows of images that could not be read when the cache was made, and can now, in place.

    `meta.json` names them until all is written: interrupted, it is done once more.
    """
    cache = TokenCache(folder)
    views = 1 + cache.meta["flip"]
    for row in rows:
        idx_NL = _tokens(tokenizer, dataset.images(row[None]), views)
        label_N = dataset.labels[row].repeat(views).numpy()
        for name, written in (("tokens.npy", idx_NL), ("labels.npy", label_N)):
            with open_at(folder / name, int(row) * views) as file:
                file.write(written.tobytes())
    write_json(folder / "meta.json", cache.meta | {"skipped": dataset.skipped})


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
