"""`varlite convert`: checkpoints from one format to the other."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from varlite.commands.common import check_counts


def convert(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    scales: tuple[int, ...] | None = None,
    heads: int | None = None,
) -> None:
    """Rewrite a checkpoint: a published .pth as .safetensors, or a .safetensors of ours as a published .pth.

    Args:
        source: the file to read.
        out: the file to write; its suffix decides the format.
        dtype: precision to store; default as it is.
        scales: sides of the token maps, for a published tokenizer that was not trained on the 256-pixel schedule.
        heads: attention heads, for a published transformer without attention normalisation.
    """
    import torch

    from varlite.checkpoints import load
    from varlite.io.outputs import check_file

    check_file("OUT", out, ".safetensors", ".pth")
    check_counts(heads=heads)
    for side in scales or ():
        check_counts(scales=side)
    if source.suffix == ".safetensors" and (scales or heads):
        raise ValueError(f"--scales and --heads are for published files; {source} says by itself what it is")
    load.convert(source, out, dtype and getattr(torch, dtype), list(scales) if scales else None, heads)
    print(out)
