"""`varlite fit`: a model of one's own pictures, in one command and a number of minutes."""

from pathlib import Path
from typing import Annotated

import tyro

from varlite.commands.common import Device, pick_device


def fit(
    source: Annotated[str, tyro.conf.Positional],
    out: Path | None = None,
    size: int | None = None,
    minutes: float = 20.0,
    flip: bool = False,
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Make a model of your own pictures: say what will be done and how long it takes here, and do it.

    Looks at the pictures, times some steps, trains the nearest tokenizer that ships further (or a small new one), then
    a transformer on its tokens, and ends with a grid of pictures, scores against a part that no training saw, and a
    model folder with its card. Stopped at any time, the same command goes on.

    Args:
        source: a folder of pictures, with or without a sub-folder for each class, or whatever --data takes elsewhere.
        out: folder for everything; default runs/fit-NAME.
        size: height and width that pictures are learned in; default that of the nearest tokenizer.
        minutes: how long it may take, about; more is better.
        flip: mirror pictures left to right at random: more to learn from, if left and right mean nothing in them.
        seed: random seed.
    """
    from varlite.training.options import Options
    from varlite.training.own_pictures import fit as fit_pictures

    pick_device(device)
    fit_pictures(source, out, size, minutes, Options(seed=seed, flip=flip, device=device))
