"""Token maps of a dataset, made once and kept: training a transformer never runs the encoder."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from varlite.data import Dataset, TokenCache, open_dataset, to_float
from varlite.files import atomic, write_json
from varlite.tokenizer import VQVAE

CACHE = Path(os.environ.get("VARLITE_CACHE", Path.home() / ".cache" / "varlite"))


def fingerprint(tokenizer: VQVAE) -> str:
    """SHA-256 of what tokens depend on: the schedule, encoder, codebook and phi's, but not the decoder."""
    digest = hashlib.sha256(str(tokenizer.scales.sides).encode())
    for name, tensor in sorted(tokenizer.state_dict().items()):
        if name.startswith(("decoder.", "post_quant.")):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def cache_tokens(tokenizer: VQVAE, data: str, split: str, batch: int = 250) -> TokenCache:
    """The token maps of a split, from the cache if they are there, otherwise encoded now; interrupted, it resumes.

    One folder in VARLITE_CACHE (default ~/.cache/varlite) for each tokenizer and dataset, by their checksums.
    """
    dataset = open_dataset(data, split, tokenizer.image_size(), tokenizer.config.channels)
    tokenizer_sha256 = fingerprint(tokenizer)
    folder = CACHE / f"tokens-{tokenizer_sha256[:12]}-{dataset.checksum[:12]}"
    if (folder / "meta.json").exists():
        return TokenCache(folder)
    if tokenizer.config.vocab > 2**16:
        raise ValueError(f"tokens are kept in 16 bits: a codebook of {tokenizer.config.vocab} codes is too large")
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):  # a second training that wants the same tokens waits
        if not (folder / "meta.json").exists():
            about = {"data": data, "split": split, "tokenizer_sha256": tokenizer_sha256}
            _encode(tokenizer, dataset, folder, about, batch)
    return TokenCache(folder)


def _encode(tokenizer: VQVAE, dataset: Dataset, folder: Path, about: dict[str, Any], batch: int) -> None:
    # Rows written so far count as done only once `progress` says so, after they are flushed.
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    n, L, progress = len(dataset.labels), tokenizer.scales.total, partial / "progress"
    done = int(progress.read_text()) if progress.exists() else 0
    tokens = np.lib.format.open_memmap(partial / "tokens.npy", "r+" if done else "w+", np.uint16, (n, L))
    device = next(tokenizer.parameters()).device
    name = f"tokens of {about['data']} {about['split']}"
    for start in tqdm(range(done, n, batch), desc=name, unit="batch", mininterval=1):
        rows = torch.arange(start, min(start + batch, n))
        idx = tokenizer.encode(to_float(dataset.images(rows)).to(device))
        tokens[start : start + len(rows)] = torch.cat(idx, 1).cpu().numpy().astype(np.uint16)
        tokens.flush()
        with atomic(progress) as temporary:
            temporary.write_text(str(start + len(rows)))
    np.save(partial / "labels.npy", dataset.labels.numpy())
    about = about | {"data_sha256": dataset.checksum, "scales": tokenizer.scales.sides, "classes": dataset.classes}
    write_json(partial / "meta.json", about)
    progress.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
