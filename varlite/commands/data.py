"""`varlite data`, `varlite fetch` and `varlite tokenize`: what a training learns from."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from varlite.commands.common import Data, Device, check_counts, pick_device


def data(name: Annotated[str, tyro.conf.Positional]) -> None:
    """What images are understood as: splits, classes, what is left out and why, colours, sizes, warnings.

    Args:
        name: whatever --data takes: a folder, an .npz, a .csv, .tar or .parquet files, hf:NAME, or a name.
    """
    from varlite.datasets.survey import report

    print(report(name))


def fetch(name: Annotated[Literal["emoji"], tyro.conf.Positional], out: Path | None = None) -> None:
    """Fetch a data set that does not ship, as a folder for --data: emoji in three styles, RGB, 27 classes, 152 MB.

    Noto Emoji (Apache-2.0), Twemoji (Copyright Twitter, Inc and other contributors, CC-BY 4.0) and Fluent Emoji
    (Microsoft, MIT), from the npm registry, or the one that npm_config_registry names. Interrupted, the same command
    goes on.

    Args:
        name: the data set.
        out: folder to write; default data/NAME in VARLITE_CACHE (on Linux ~/.cache/varlite).
    """
    from varlite.datasets.emoji import fetch_emoji
    from varlite.io.outputs import check_folder
    from varlite.io.places import cache_folder

    out = out or cache_folder() / "data" / name
    check_folder("out", out)
    for split, classes in fetch_emoji(out)["images"].items():
        print(f"{split}: {sum(classes.values())} images; " + ", ".join(f"{c} {n}" for c, n in classes.items()))
    print(out)


def tokenize(
    tokenizer: str = "fashion-vq",
    data: Data = "fashion",
    split: Literal["train", "test"] = "train",
    flip: bool = False,
    views: int = 1,
    seed: int = 0,
    batch: int | None = None,
    device: Device = "auto",
) -> None:
    """Encode a dataset into token maps, once; `varlite train` finds them. Interrupted, it goes on where it was.

    They lie in VARLITE_CACHE, two bytes a token. Images that cannot be read are named, and the next one stands in for
    each.

    Args:
        tokenizer: a preset, or a folder written by `varlite train-tokenizer`.
        split: train or test.
        flip: encode the mirror image of each as well, for `varlite train --flip`.
        views: random cuts of each image, for `varlite train --views`; 1 is its middle. The test split has its middle.
        seed: of those cuts: the seed of the training.
        batch: images encoded at a time; default by their size.
    """
    from varlite.checkpoints.load import load_tokenizer
    from varlite.datasets.tokens import cache_tokens
    from varlite.io.outputs import check_folder
    from varlite.io.places import cache_folder

    check_counts(batch=batch, views=views)
    check_folder("VARLITE_CACHE", cache_folder())
    vq = load_tokenizer(tokenizer, device=pick_device(device))
    cache = cache_tokens(vq, data, split, batch, flip, views=views, seed=seed)
    for name, reason in cache.skipped.items():
        print(f"not readable: {name} ({reason})", file=sys.stderr)
    rows, L = cache.rows.shape
    of_views = f" in {rows // len(cache)} views" if rows > len(cache) else ""
    print(f"{len(cache)} images{of_views} of {L} tokens in {cache.folder}")
