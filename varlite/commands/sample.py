"""`varlite sample`: images of the classes asked for, and a record of how they came about."""

from pathlib import Path
from typing import Literal

from varlite.commands.common import (
    GRID_COLUMNS,
    ModelOptions,
    SmoothSamplingOptions,
    check_counts,
    check_images,
    pick_device,
)
from varlite.io.class_names import class_indices


def sample(
    classes: str = "all",
    num_per_class: int = 10,
    seed: int = 0,
    out: Path = Path("out/samples"),
    grid: Path | None = None,
    strip: Path | None = None,
    batch: int = 64,
    compile: bool = False,
    keep: float = 1.0,
    judge: Literal["fashion-classifier", "fashion-judge"] = "fashion-classifier",
    ssg: float = 0.0,
    model: ModelOptions = ModelOptions(),
    sampling: SmoothSamplingOptions = SmoothSamplingOptions(),
) -> None:
    """Sample images of the classes asked for, one PNG each.

    Writes OUT/{class:04d}_{index:05d}.png and OUT/samples.json with everything needed to repeat it. An image depends on
    the seed, its class and its index alone. Images go to disk as they are made, whatever their number. Those of an
    earlier run in OUT, which its samples.json names, are removed first; a folder with others is refused.

    torchrun --nproc-per-node 8 -m -- varlite sample ... starts eight processes, each with a GPU of its own, which take
    turns at the batches and make the images that one process would.

    Args:
        classes: all, or names or numbers of classes separated by commas.
        num_per_class: images of each class.
        seed: random seed.
        out: folder for the images.
        grid: also write a picture with a row for each class, its first ten images.
        strip: also write a picture with a row for each class: the first image drawn, after every step.
        batch: images made at a time.
        compile: compile the blocks, one graph for each scale: for many batches on a GPU.
        keep: below 1, rejection sampling: that share of the images drawn is kept, of each class the likeliest ones.
        judge: the classifier that says how likely an image of its class is.
        ssg: strength of scaled spatial guidance, which moves logits away from those of the scale before; 0 is none.
    """
    import torch

    from varlite.checkpoints.load import load
    from varlite.datasets.pixels import to_bytes
    from varlite.evaluation.feature_store import Processes
    from varlite.evaluation.rejection import check_images as check_judge
    from varlite.evaluation.rejection import check_keep, drawn_for, generate_kept, open_chooser
    from varlite.evaluation.sample_folders import RECORD, belongs, check_claim, claim, sample_name
    from varlite.hooks.ssg import ssg_for
    from varlite.inference import autocast, check_compiler, compile_blocks, prepare
    from varlite.io.files import write_json
    from varlite.io.pictures import read_png, save_png, tile
    from varlite.models import require
    from varlite.sampling import check_settings, generate, generate_many

    check_counts(num_per_class=num_per_class, batch=batch)
    check_images(out, grid=grid, strip=strip)
    check_keep(keep)
    model.check()
    if compile and model.precision == "int8":
        raise ValueError("compile: int8 layers cannot be compiled; leave out one of --compile and --precision int8")
    processes = Processes(pick_device(model.device))
    device = processes.device
    if keep < 1 and processes.count > 1:
        raise ValueError(
            f"keep: all images of a class are compared, which one process does; there are {processes.count}"
        )
    if compile:
        check_compiler(device)
    check_claim("out", out, pictures=(grid, strip))
    transformer, tokenizer = load(model.model, model.weights, device=device, dials=model.dials)
    known = model.classes(transformer.config.classes)
    chosen = parse_classes(classes, known)
    check_settings(sampling.cfg, sampling.top_k, sampling.top_p, transformer.config.vocab)
    if sampling.smooth:
        require(transformer, "smooth", model.model)
    settings = vars(sampling) | {"on_logits": ssg_for(transformer, ssg)}
    if keep < 1:
        check_judge(transformer, tokenizer)

    if not compile or device.type == "cuda":  # on a CPU packed layers are no layers to compile
        prepare(transformer, model.precision)
    if compile:
        compile_blocks(transformer)
    record = {"classes": chosen, "class_names": [] if isinstance(known, int) else [known[c] for c in chosen]}
    record |= {"num_per_class": num_per_class, "seed": seed, "settings": vars(sampling), "batch": batch}
    record |= ({"ssg": ssg} if ssg else {}) | ({"keep": keep, "judge": judge} if keep < 1 else {})
    record = model.record(device) | record | {"precision": model.precision}
    for name, path in (("grid", grid), ("strip", strip)):
        if path is not None and path.resolve().parent == out.resolve() and belongs(path.name, record):
            raise ValueError(f"{name}: {path} is where a sample will be written; choose another name")
    processes.wait()  # all have seen the folder as it was
    if processes.main:
        claim(out, record)
        write_json(out / RECORD, record)
    processes.wait()
    total, labels = len(chosen) * num_per_class, (c for c in chosen for _ in range(num_per_class))
    share = processes.index, processes.count
    with autocast(device, model.precision):
        if keep < 1:
            parts = generate_kept(transformer, tokenizer, labels, seed, batch, keep, open_chooser(judge), **settings)
        else:
            parts = generate_many(transformer, tokenizer, labels, seed, batch, total, share, **settings)
        for turn, (images, batch_labels) in enumerate(parts):
            start = (processes.index + turn * processes.count) * batch
            pictures = zip(to_bytes(images.float()).cpu(), batch_labels, strict=True)
            for i, (img_3HW, label) in enumerate(pictures, start):
                save_png(out / sample_name(label, i % num_per_class), img_3HW)
    processes.wait()
    if not processes.main:
        return
    if grid is not None:
        columns = range(min(num_per_class, GRID_COLUMNS))
        save_png(grid, tile([[read_png(out / sample_name(c, i)) for i in columns] for c in chosen]))
    if strip is not None:
        rows: list[list[torch.Tensor]] = []
        for some in (chosen[i : i + batch] for i in range(0, len(chosen), batch)):
            after: list[torch.Tensor] = []
            settings["on_scale"] = lambda step, after=after: after.append(to_bytes(step.image().float()).cpu())
            with autocast(device, model.precision):
                generate(transformer, tokenizer, some, seeds=seed, **settings)
            rows += [list(row) for row in zip(*after, strict=True)]
        save_png(strip, tile(rows))
    cost = f", kept of {len(chosen) * drawn_for(num_per_class, keep)} drawn" if keep < 1 else ""
    print(f"{total} images in {out}{cost}" + "".join(f", {path}" for path in (grid, strip) if path))


def parse_classes(text: str, known: list[str] | int) -> list[int]:
    """Numbers of the classes: `all`, or names or numbers separated by commas. Raises ValueError for others."""
    if text == "all":
        return list(range(known if isinstance(known, int) else len(known)))
    try:
        chosen = class_indices(text, known)
    except ValueError as error:
        raise ValueError(f"classes: {error}") from None
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"classes: must be different ones, got {text!r}")
    return chosen
