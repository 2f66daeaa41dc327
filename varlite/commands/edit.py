"""`varlite edit`: an image file and a mask or box in; edited images and a record of how they came about out."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from tqdm import tqdm

from varlite.checkpoints.load import load
from varlite.commands.sample import GRID_COLUMNS, make_folders, provenance, save_png, tile
from varlite.datasets.pixels import read_image, to_bytes, to_float
from varlite.drawing import image_generator
from varlite.editing import box_mask, check_mask, edit
from varlite.inference import Precision, prepare
from varlite.io.files import sha256, write_json
from varlite.sampling import check_settings
from varlite.scales import Scales

Box = tuple[float, float, float, float]
WHITE = (1, 255, 65535)  # of masks saved as labels, as pictures of 8 bits and of 16


def read_mask(path: Path, image: tuple[int, int], size: tuple[int, int], scales: Scales) -> torch.Tensor:
    """Booleans, True = keep, from a picture whose white is to be repainted.

    It has the size of the last scale or `size` (H, W), what the model sees, or else the proportions of the image file,
    (width, height), and is then cropped as that is; a pixel with any white in it is to be repainted.
    Raises ValueError for other proportions, grey values, transparency, or no white.
    """
    with Image.open(path) as file:
        if file.has_transparency_data and np.asarray(file.convert("RGBA"))[..., 3].min() < 255:
            raise ValueError(f"mask: {path} is partly transparent; it must be opaque, white where to repaint")
        values = np.asarray(file if file.mode[0] in "IF" else file.convert("L"))
    strange = np.setdiff1d(values, [0, values.max()])
    if len(strange) or values.max() not in (0, *WHITE):
        other = strange[0] if len(strange) else values.max()
        raise ValueError(
            f"mask: {path} must be black and white only, but has the value {other}, too: "
            "draw it with a hard brush and save it as PNG"
        )
    height, width = values.shape
    if (height, width) not in (scales.last, size):
        if abs(width * image[1] - height * image[0]) > max(*image, width, height):  # a pixel of rounding
            raise ValueError(
                f"mask: {path} is {width} x {height}; it must have the proportions of the image, "
                f"{image[0]} x {image[1]}, or be {size[1]} x {size[0]} or {scales.last[1]} x {scales.last[0]}"
            )
        white = Image.fromarray((values > 0).astype(np.float32))
        values = np.asarray(ImageOps.fit(white, size[::-1], Image.Resampling.BOX))
    if not values.any():
        raise ValueError(f"mask: {path} has no white, which marks what to repaint, in the {size[1]} x {size[0]} used")
    return torch.from_numpy(values == 0)


def read_box(box: Box, task: str, scales: Scales) -> torch.Tensor:
    """(h, w) booleans, True = keep: with the task "outpaint" the box, otherwise what lies around it."""
    keep_hw = box_mask(box, scales, inside=task == "outpaint")
    if keep_hw.all():
        h, w = scales.last
        raise ValueError(f"box: rounded to the {h} x {w} tokens of the last scale, {box} leaves nothing to repaint")
    return keep_hw


def veil(img_3HW: torch.Tensor, keep_hw: torch.Tensor) -> torch.Tensor:
    """The image, bytes, with what is to be repainted under a grey chequered veil."""
    H, W = img_3HW.shape[1:]
    keep_HW = F.interpolate(keep_hw[None, None].float(), size=(H, W))[0, 0].bool()
    cell = max(1, min(H, W) // 14)
    rows_H1, columns_W = torch.arange(H)[:, None] // cell, torch.arange(W) // cell
    chequered_HW = (110 + 50 * ((rows_H1 + columns_W) % 2)).to(torch.uint8)
    return torch.where(keep_HW, img_3HW, chequered_HW)


def write_edits(
    image: Path, mask: Path | None, box: Box | None, task: str, label: int | None, name: str, num: int, seed: int,
    out: Path, options: dict[str, Any], settings: dict[str, Any], grid: Path | None, batch: int,
    weights: Path | None, device: torch.device, precision: Precision,
) -> None:  # fmt: skip
    """What `varlite edit` does, within `autocast`. Wrong arguments are found before the first image."""
    for argument, value in (("num", num), ("batch", batch)):
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    if (mask is None) == (box is None):
        raise ValueError("give either --mask or --box: it says what to repaint")
    if (label is None) == (task == "class"):
        raise ValueError(
            "task class needs a --label" if label is None else f"--label is for --task class; {task} uses no class"
        )
    if grid is not None and grid.suffix.lower() != ".png":
        raise ValueError(f"grid must be a .png file, got {grid}")
    written = {path.resolve() for path in [*(out / f"{i:05d}.png" for i in range(num)), *([grid] if grid else [])]}
    for path in (image, mask):
        if path is not None and path.resolve() in written:
            raise ValueError(f"out: the edits would take the place of {path}; choose another folder")
    model, tokenizer = load(name, weights, device=device)
    scales, size = model.scales, tokenizer.image_size(model.scales)
    picture = read_image(image, size, tokenizer.config.channels)
    if mask is not None:
        keep_hw = read_mask(mask, picture.size, size, scales)
    elif box is not None:
        keep_hw = read_box(box, task, scales)
    check_mask(keep_hw, scales, size, options["thin"])
    if label is not None and not 0 <= label < model.config.classes:
        raise ValueError(f"label must be a class number from 0 to {model.config.classes - 1}, got {label}")
    check_settings(settings["cfg"], settings["top_k"], settings["top_p"], model.config.vocab)
    make_folders(out, grid)
    prepare(model, precision)

    fitted = ImageOps.fit(picture, size[::-1], Image.Resampling.LANCZOS)
    img_3HW = torch.from_numpy(np.array(fitted)).reshape(*size, -1).permute(2, 0, 1)
    img_B3HW = to_float(img_3HW)[None].to(device)
    pictures = [img_3HW, veil(img_3HW, keep_hw)]
    with tqdm(total=-(-num // batch) * scales.K, unit="scale", desc="editing", mininterval=0.5, delay=3) as bar:
        for start in range(0, num, batch):
            some = range(start, min(start + batch, num))
            seeded_by = model.class_embed.null if label is None else label
            images = edit(
                model, tokenizer, img_B3HW.expand(len(some), -1, -1, -1), keep_hw,
                None if label is None else [label] * len(some),
                generator=[image_generator(seed, seeded_by, i, device) for i in some],
                on_scale=lambda step: bar.update(), **options, **settings,
            )  # fmt: skip
            for i, edited_3HW in zip(some, to_bytes(images).cpu(), strict=True):
                save_png(out / f"{i:05d}.png", edited_3HW)
                pictures += [edited_3HW] if grid is not None and len(pictures) < GRID_COLUMNS else []
    record = {
        "image": str(image),
        "image_sha256": sha256(image),
        "mask": mask and str(mask),
        "mask_sha256": mask and sha256(mask),
        "box": box,
        "task": task,
        "label": label,
        "num": num,
        "seed": seed,
        "options": options,
        "settings": settings,
        "batch": batch,
        "precision": precision,
    }
    write_json(out / "edits.json", provenance(name, weights, device) | record)
    if grid is not None:
        save_png(grid, tile([pictures]))
    print(f"{num} {'image' if num == 1 else 'images'} in {out}" + (f", {grid}" if grid else ""))
