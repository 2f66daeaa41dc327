"""`varlite export`: a model as ONNX, checked by onnxruntime."""

from pathlib import Path
from typing import Annotated

import tyro

from varlite.commands.common import check_counts, check_weights


def export(
    name: Annotated[str, tyro.conf.Positional] = "fashion-var-d4",
    out: Path = Path("out/export"),
    weights: Path | None = None,
    images: int = 30,
    seed: int = 0,
) -> None:
    """A model and its tokenizer as ONNX, one graph a scale with cache in and out, for a page in the browser.

    Writes OUT/model.json, which says what the graphs take and give, OUT/weights.bin, which they share, and the graphs.
    Then onnxruntime samples from them with the random numbers of the model, and what it draws is compared. Needs onnx,
    onnxscript and onnxruntime: pip install 'varlite[site]'.

    Args:
        name: a preset, or a folder written by a training.
        out: folder to write; an earlier export there is replaced.
        weights: for the published models, a folder or file with the weights.
        images: images of the comparison, over all classes.
        seed: random seed of the comparison.
    """
    from varlite.checkpoints.load import load, weights_file
    from varlite.export.exporting import check_exportable
    from varlite.export.exporting import export as write
    from varlite.export.onnx_player import agreement
    from varlite.io.files import sha256
    from varlite.io.outputs import check_folder
    from varlite.io.provenance import command, versions

    check_counts(images=images)
    check_weights("weights", name, weights)
    check_folder("out", out)
    model, tokenizer = load(name, weights)
    check_exportable(model, tokenizer, name)
    about = {
        "model": name,
        "weights_sha256": sha256(weights_file(name, weights)),
        "command": command(f"export {name}", weights=weights),
    }
    sizes = write(model, tokenizer, out, about | {"versions": versions("onnx", "onnxscript", "onnxruntime")})
    for file, size in sizes.items():
        print(f"{file:20s} {size / 1e6:8.3f} MB")
    print(f"{'':20s} {sum(sizes.values()) / 1e6:8.3f} MB in {out}")
    labels = [i % model.config.classes for i in range(images)]
    found = agreement(out, model, tokenizer, labels, seed)
    print(
        f"{found.equal} of {found.images} images have the same tokens by onnxruntime; their logits differ by "
        f"{found.logits:.0e} of the largest, their pixels by {found.pixels:.0e}"
    )
    if found.logits > 1e-3:
        raise ValueError(f"export: the graphs in {out} give other logits than {name}: they are not to be used")
