"""`varlite sample`: images of the classes asked for, and a record of how they came about."""

from pathlib import Path

from varlite.commands.common import (
    GRID_COLUMNS,
    ModelOptions,
    SmoothSamplingOptions,
    check_counts,
    check_images,
    pick_device,
)


def sample(
    classes: str = "all",
    num_per_class: int = 10,
    seed: int = 0,
    out: Path = Path("out/samples"),
    grid: Path | None = None,
    batch: int = 64,
    compile: bool = False,
    model: ModelOptions = ModelOptions(),
    sampling: SmoothSamplingOptions = SmoothSamplingOptions(),
) -> None:
    """Sample images of the classes asked for, one PNG each.

    Writes OUT/{class:04d}_{index:05d}.png and OUT/samples.json with everything needed to repeat it. An image depends on
    the seed, its class and its index alone. Images go to disk as they are made, whatever their number.

    Args:
        classes: all, or class numbers separated by commas.
        num_per_class: images of each class.
        seed: random seed.
        out: folder for the images.
        grid: also write a picture with a row for each class, its first ten images.
        batch: images made at a time.
        compile: compile the blocks, one graph for each scale: for many batches on a GPU.
    """
    from varlite.checkpoints.load import load
    from varlite.datasets.pixels import to_bytes
    from varlite.inference import autocast, compile_blocks, prepare
    from varlite.io.files import write_json
    from varlite.io.pictures import save_png, tile
    from varlite.sampling import check_settings, generate_many

    check_counts(num_per_class=num_per_class, batch=batch)
    check_images(out, grid)
    if compile and model.precision == "int8":
        raise ValueError("compile: int8 layers cannot be compiled; leave out one of --compile and --precision int8")
    device = pick_device(model.device)
    transformer, tokenizer = load(model.model, model.weights, device=device)
    chosen = parse_classes(classes, transformer.config.classes)
    check_settings(sampling.cfg, sampling.top_k, sampling.top_p, transformer.config.vocab)

    if compile:
        compile_blocks(transformer)
    else:
        prepare(transformer, model.precision)
    labels = [c for c in chosen for _ in range(num_per_class)]
    written: dict[int, int] = dict.fromkeys(chosen, 0)
    rows: dict[int, list] = {c: [] for c in chosen}
    with autocast(device, model.precision):
        for images, batch_labels in generate_many(transformer, tokenizer, labels, seed, batch, **vars(sampling)):
            for img_3HW, label in zip(to_bytes(images).cpu(), batch_labels, strict=True):
                save_png(out / f"{label:04d}_{written[label]:05d}.png", img_3HW)
                written[label] += 1
                if grid is not None and len(rows[label]) < GRID_COLUMNS:
                    rows[label].append(img_3HW)
    record = {"classes": chosen, "num_per_class": num_per_class, "seed": seed, "settings": vars(sampling)}
    record |= {"batch": batch, "precision": model.precision}
    write_json(out / "samples.json", model.record(device) | record)
    if grid is not None:
        save_png(grid, tile(list(rows.values())))
    print(f"{len(labels)} images in {out}" + (f", {grid}" if grid else ""))


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
