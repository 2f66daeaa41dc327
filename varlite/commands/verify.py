"""`varlite verify`: what to run first on a new machine. It needs torch, NumPy and safetensors, and no other package."""

from pathlib import Path
from typing import Literal, get_args

Device = Literal["auto", "cpu", "cuda", "mps"]  # as in common.py, which imports tyro


def verify(device: Device = "auto", out: Path | None = None) -> None:
    """Check what this machine computes, and measure how fast, in one table.

    The outputs of the published code, the same tokens as on a CPU, images a second of the published sizes on random
    weights, memory, two training steps of both stages, beside published figures. Nothing is downloaded. Under eight
    minutes on a GPU; on a CPU the small part, about a minute. A part that does not fit its time or the memory says so.
    Status 1 if a check does not pass.

    Args:
        device: where it computes; auto is the best there is.
        out: also write all figures to this JSON file.
    """
    from varlite.io.devices import pick_device
    from varlite.io.outputs import check_file
    from varlite.speed.verify_report import verify as run

    if out is not None:
        check_file("out", out)
    run(pick_device(device), out)


def without_tyro(words: list[str]) -> None:
    """The same command line on a machine that lacks tyro, which reads those of all other commands."""
    from argparse import ArgumentParser

    parser = ArgumentParser("varlite verify", description=(verify.__doc__ or "").split("Args:")[0])
    parser.add_argument("--device", choices=get_args(Device), default="auto", help="where it computes")
    parser.add_argument("--out", type=Path, help="also write all figures to this JSON file")
    verify(**vars(parser.parse_args(words)))
