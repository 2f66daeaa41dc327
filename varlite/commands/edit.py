"""`varlite edit`: an image file and a mask or box in; edited images and a record of how they came about out."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from varlite.commands.common import (
    GRID_COLUMNS,
    ModelOptions,
    SmoothSamplingOptions,
    check_counts,
    check_images,
    pick_device,
)
from varlite.io.class_names import class_indices

Box = tuple[float, float, float, float]
Task = Literal["inpaint", "outpaint", "class"]


def edit(
    image: Annotated[Path, tyro.conf.Positional],
    mask: Path | None = None,
    box: Box | None = None,
    task: Task = "inpaint",
    label: str | None = None,
    num: int = 1,
    seed: int = 0,
    out: Path = Path("out/edits"),
    grid: Path | None = None,
    hide: bool = True,
    thin: bool = False,
    paste: bool = True,
    refine: bool = False,
    batch: int = 16,
    model: ModelOptions = ModelOptions(),
    sampling: SmoothSamplingOptions = SmoothSamplingOptions(),
) -> None:
    """Repaint a part of an image: fill a hole, continue beyond a border, or put something of a class there.

    IMAGE is resized to what the model works on, and of one with other proportions the middle is taken. Writes
    OUT/{index:05d}.png and OUT/edits.json with everything needed to repeat it; edits of an earlier run, which its
    edits.json names, are removed first, and a folder with other images is refused. --no-hide --no-paste is the
    published behaviour.

    Args:
        image: the image file, of any size, grey or colour.
        mask: a black and white picture, white where to repaint, in the proportions of the image.
        box: instead of a mask, Y0 X0 Y1 X1 in fractions of the image, rounded to tokens.
        task: inpaint repaints the box, class does so with a label, outpaint what lies around it. A mask is white where
            to repaint for all three.
        label: name or number of a class, for the task class; the others use no class, and guidance then has no effect.
        num: how many different edits.
        seed: random seed.
        out: folder for the images.
        grid: also write a picture with the image, what is to be repainted, and the first edits.
        hide: fill the region from its surroundings before encoding, so that nothing of what was there leaks.
        thin: repaint all tokens that the mask touches, also coarse ones: for lines thinner than a token.
        paste: put the kept pixels back, blended over half a token at the border.
        refine: draw each edit 56 times in six rounds, from coarse scales to finer ones, and take the likeliest: it fits
            what is kept, for 56 times the work. Hides, pastes and repaints thin lines by itself.
        batch: edits made at a time; with --refine one by one, each of up to 16 drawings at a time.
    """
    from varlite.checkpoints.load import load
    from varlite.commands.masks import read_box, read_mask, read_picture, veil
    from varlite.editing import check_mask
    from varlite.evaluation.sample_folders import EDITS, claim, edit_name
    from varlite.inference import autocast, prepare
    from varlite.io.files import sha256, write_json
    from varlite.io.pictures import save_png, tile
    from varlite.models import require
    from varlite.sampling import check_settings

    model.check()
    check_request(image, mask, box, task, label, num, batch, out, grid)
    if refine and not (hide and paste):
        raise ValueError("refine hides and pastes: leave out --no-hide and --no-paste")
    device = pick_device(model.device)
    transformer, tokenizer = load(model.model, model.weights, device=device, dials=model.dials)
    scales, size = transformer.scales, tokenizer.image_size(transformer.scales)
    img_3HW, file_size = read_picture(image, size, tokenizer.config.channels)
    if mask is not None:
        keep_hw = read_mask(mask, file_size, size, scales)
    elif box is not None:
        keep_hw = read_box(box, task, scales)
    check_mask(keep_hw, scales, size, thin or refine)
    require(transformer, "editing", model.model)
    if refine:
        require(transformer, "likelihood", model.model)
    if sampling.smooth:
        require(transformer, "smooth", model.model)
    number, class_name = parse_label(label, model.classes(transformer.config.classes))
    check_settings(sampling.cfg, sampling.top_k, sampling.top_p, transformer.config.vocab)

    prepare(transformer, model.precision)
    passes = {"hide": hide, "thin": thin or refine, "paste": paste}
    options, settings = passes | {"refine": refine}, vars(sampling)
    record = {
        "image": str(image), "image_sha256": sha256(image), "mask": mask and str(mask),
        "mask_sha256": mask and sha256(mask), "box": box, "task": task, "label": number, "class_name": class_name,
        "num": num, "seed": seed, "options": options, "settings": settings, "batch": batch,
        "precision": model.precision,
    }  # fmt: skip
    record = model.record(device) | record
    claim(out, record, EDITS)
    write_json(out / EDITS, record)
    pictures = [img_3HW, veil(img_3HW, keep_hw)]
    with autocast(device, model.precision), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "img has no value below 0")  # in [-1, 1] they are: a bright picture
        edits = make_edits(transformer, tokenizer, img_3HW, keep_hw, number, num, seed, batch, refine,
                           settings if refine else passes | settings)  # fmt: skip
        for i, edited_3HW in enumerate(edits):
            save_png(out / edit_name(i), edited_3HW)
            pictures += [edited_3HW] if grid is not None and len(pictures) < GRID_COLUMNS else []
    if grid is not None:
        save_png(grid, tile([pictures]))
    print(f"{num} {'image' if num == 1 else 'images'} in {out}" + (f", {grid}" if grid else ""))


def check_request(
    image: Path, mask: Path | None, box: Box | None, task: Task, label: str | None, num: int, batch: int, out: Path,
    grid: Path | None,
) -> None:  # fmt: skip
    """Raises ValueError or OSError for what can be wrong with the arguments whatever the model."""
    from varlite.evaluation.sample_folders import EDITS, check_claim

    check_counts(num=num, batch=batch)
    if (mask is None) == (box is None):
        raise ValueError("give either --mask or --box: it says what to repaint")
    if label is None and task == "class":
        raise ValueError("task class needs a --label")
    if label is not None and task != "class":
        raise ValueError(f"--label is for --task class; {task} uses no class")
    check_images(out, grid=grid)
    if grid is not None and is_edit(grid.resolve(), out.resolve(), num):
        raise ValueError(f"grid: {grid} is where an edit will be written; choose another name")
    for path in (image, mask):
        place = None if path is None else path.resolve()
        if place and (place == (grid and grid.resolve()) or is_edit(place, out.resolve(), num)):
            raise ValueError(f"out: the edits would take the place of {path}; choose another folder")
    check_claim("out", out, EDITS, (grid,))


def is_edit(path: Path, out: Path, num: int) -> bool:
    """Whether a file is where one of `num` edits in the folder `out` will be written."""
    from varlite.evaluation.sample_folders import belongs

    return path.parent == out and belongs(path.name, {"num": num})


def parse_label(label: str | None, known: list[str] | int) -> tuple[int | None, str | None]:
    """(number, name) of a class given by either; None where it is not given, or not known."""
    if label is None:
        return None, None
    try:
        (number, *more) = class_indices(label, known)
    except ValueError as error:
        raise ValueError(f"label: {error}") from None
    if more:
        raise ValueError(f"label: one class is needed, got {label!r}")
    return number, None if isinstance(known, int) else known[number]


def make_edits(
    transformer: Any, tokenizer: Any, img_3HW: Any, keep_hw: Any, label: int | None, num: int, seed: int, batch: int,
    refined: bool, settings: dict[str, Any],
) -> Iterator[Any]:  # fmt: skip
    """`num` different edits of an image, one by one, as bytes (channels, H, W) on the CPU, with a progress bar.

    By `refine` if `refined`, otherwise by `edit`.

    Edit i depends on the seed, the label and i alone, but for rounding in batches of another size.
    """
    import torch
    from tqdm import tqdm

    from varlite.datasets.pixels import to_bytes, to_float
    from varlite.drawing import image_seeds
    from varlite.editing import edit as edit_images
    from varlite.refining import begins, refine

    scales, device = transformer.scales, transformer.pos_LC.device
    batch = 1 if refined else batch  # images are refined one by one, and so each is on disk when it is done
    img_B3HW, seeded_by = to_float(img_3HW)[None].to(device), transformer.class_embed.null if label is None else label
    steps = getattr(transformer.config, "steps", scales.K)  # a MaskGIT and a DiT take other steps than scales
    total, unit = (num * len(begins(scales.K)), "round") if refined else (-(-num // batch) * steps, "step")
    with tqdm(total=total, unit=unit, desc="editing", mininterval=0.5, delay=3) as bar:
        edit_by: Callable[..., torch.Tensor] = refine if refined else edit_images
        told = "on_round" if refined else "on_scale"
        for start in range(0, num, batch):
            some = range(start, min(start + batch, num))
            images = edit_by(
                transformer, tokenizer, img_B3HW.expand(len(some), -1, -1, -1), keep_hw,
                None if label is None else [label] * len(some),
                seeds=image_seeds(seed, torch.full((len(some),), seeded_by), torch.tensor(some)),
                **{told: lambda _: bar.update()}, **settings,
            )  # fmt: skip
            yield from to_bytes(images.float()).cpu()
