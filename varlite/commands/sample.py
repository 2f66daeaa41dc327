"""Samples to disk, as they are made."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import varlite
from varlite.checkpoints.load import load, weights_file
from varlite.datasets.pixels import to_bytes
from varlite.inference import Precision, compile_blocks, prepare
from varlite.io.files import atomic, sha256, write_json
from varlite.sampling import check_settings, generate_many

GRID_COLUMNS = 10


def parse_classes(text: str, classes: int) -> list[int]:
    """`all`, or numbers separated by commas, each in 0 .. classes - 1. Raises ValueError otherwise."""
    if text == "all":
        return list(range(classes))
    try:
        chosen = [int(word) for word in text.split(",")]
    except ValueError:
        chosen = []
    if not chosen or any(not 0 <= c < classes for c in chosen) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"classes must be 'all' or different numbers from 0 to {classes - 1} such as 0,3, got {text!r}"
        )
    return chosen


def save_png(path: Path, img_3HW: torch.Tensor) -> None:
    """One image of bytes, grey or RGB; the folder is made if need be."""
    array_HW3 = img_3HW.permute(1, 2, 0).numpy()
    with atomic(path, sync=False) as temporary, open(temporary, "wb") as file:
        Image.fromarray(array_HW3[..., 0] if array_HW3.shape[-1] == 1 else array_HW3).save(file, "PNG")


def tile(rows: list[list[torch.Tensor]], gap: int = 2) -> torch.Tensor:
    """Rows of images of bytes as one picture on white."""
    channels, H, W = rows[0][0].shape
    columns = max(len(row) for row in rows)
    picture = torch.full((channels, len(rows) * (H + gap) + gap, columns * (W + gap) + gap), 255, dtype=torch.uint8)
    for i, row in enumerate(rows):
        for j, img in enumerate(row):
            top, left = gap + i * (H + gap), gap + j * (W + gap)
            picture[:, top : top + H, left : left + W] = img
    return picture


def provenance(name: str, weights: Path | None, device: torch.device) -> dict[str, Any]:
    """What a record says of the model, the machine and the command."""
    return {
        "model": name,
        "weights_sha256": sha256(weights_file(name, weights)),
        "device": str(device),
        "versions": {"varlite": varlite.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "command": shlex.join(["varlite", *sys.argv[1:]]),
    }


def make_folders(out: Path, grid: Path | None) -> None:
    """Where images and their grid will go. Raises PermissionError, before the first image, if they could not."""
    for argument, folder in (("out", out), ("grid", grid.parent if grid is not None else out)):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{argument}: {folder} is not writable")


def write_samples(
    name: str, classes: str, num_per_class: int, seed: int, out: Path, settings: dict[str, Any], grid: Path | None,
    batch: int, weights: Path | None, device: torch.device, precision: Precision, compiled: bool,
) -> None:  # fmt: skip
    """What `varlite sample` does, within `autocast`. Wrong arguments are found before the first image."""
    for argument, value in (("num_per_class", num_per_class), ("batch", batch)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    if grid is not None and grid.suffix.lower() != ".png":
        raise ValueError(f"grid must be a .png file, got {grid}")
    if compiled and precision == "int8":
        raise ValueError("compile: int8 layers cannot be compiled; leave out one of --compile and --precision int8")
    model, tokenizer = load(name, weights, device=device)
    chosen = parse_classes(classes, model.config.classes)
    check_settings(settings["cfg"], settings["top_k"], settings["top_p"], model.config.vocab)
    make_folders(out, grid)

    if compiled:
        compile_blocks(model)
    else:
        prepare(model, precision)
    labels = [c for c in chosen for _ in range(num_per_class)]
    rows: dict[int, list[torch.Tensor]] = {c: [] for c in chosen}
    written = dict.fromkeys(chosen, 0)
    for images, batch_labels in generate_many(model, tokenizer, labels, seed, batch, **settings):
        for img_3HW, label in zip(to_bytes(images).cpu(), batch_labels, strict=True):
            save_png(out / f"{label:04d}_{written[label]:05d}.png", img_3HW)
            written[label] += 1
            if grid is not None and len(rows[label]) < GRID_COLUMNS:
                rows[label].append(img_3HW)
    record = {
        "classes": chosen,
        "num_per_class": num_per_class,
        "seed": seed,
        "settings": settings,
        "batch": batch,
        "precision": precision,
    }
    write_json(out / "samples.json", provenance(name, weights, device) | record)
    if grid is not None:
        save_png(grid, tile(list(rows.values())))
    print(f"{len(labels)} images in {out}" + (f", {grid}" if grid else ""))
