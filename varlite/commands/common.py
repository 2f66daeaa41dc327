"""Options and checks that several commands share. Light to import, since `--help` shows the options."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from varlite.io.devices import pick_device as pick_device

if TYPE_CHECKING:
    import torch

Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], tyro.conf.arg(help="Where it computes; auto is the best there is.")
]
Data = Annotated[
    str,
    tyro.conf.arg(
        help="fashion (Fashion-MNIST, which ships), still-life (rendered here; still-life-large has four times as "
        "many scenes), cifar10, a folder of images with a "
        "sub-folder for each class, an .npz of images and labels, a .csv of paths and labels, .tar files (shards as of "
        "WebDataset, or archives of folders: one, a folder of them or 'shards-{0000..0009}.tar'), .parquet files, a "
        "data set of Hugging Face saved on disk, or hf:NAME."
    ),
]
Precision = Literal["float32", "bfloat16", "float16", "int8"]  # as in inference.py, which imports torch
GRID_COLUMNS = 10


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it computes."""

    model: str = "fashion-var-d4"
    """A preset (see `varlite info`), or a folder written by a training."""
    weights: Path | None = None
    """For the published models, a folder or file with the weights."""
    device: Device = "auto"
    precision: Precision = "float32"
    """Of the matrix products; the half ones are for GPUs, int8 is for CPUs: faster, and other images."""
    dials: tuple[str, ...] = ()
    """What a model samples by that has dials of its own, as steps=4: `varlite info MODEL` shows them in its config."""

    def check(self) -> None:
        """Raises ValueError for weights that would not be used."""
        check_weights("weights", self.model, self.weights)

    def classes(self, count: int) -> list[str] | int:
        """Names of the model's classes; their `count` where they are not known."""
        from varlite.checkpoints.cards import class_names

        names = class_names(self.model, self.weights)
        return names if len(names) == count else count

    def record(self, device: "torch.device") -> dict[str, Any]:
        """What the record beside images says about the model, the machine and the command."""
        from varlite.checkpoints.load import weights_file
        from varlite.io.files import sha256
        from varlite.io.provenance import this_command, versions

        return {
            "model": self.model,
            **({"dials": list(self.dials)} if self.dials else {}),
            "weights_sha256": sha256(weights_file(self.model, self.weights)),
            "device": str(device),
            "versions": versions(),
            "command": this_command(),
        }


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are drawn."""

    cfg: float = 1.5
    """Guidance at the last scale; 0 is none."""
    top_k: int = 0
    """Keep the k likeliest codes; 0 keeps all. The papers use 900 of 4096."""
    top_p: float = 0.96
    """Keep the likeliest codes of summed probability p; 0 keeps all."""


@dataclass(frozen=True)
class SmoothSamplingOptions(SamplingOptions):
    """How codes are drawn."""

    smooth: bool = False
    """Mix codes instead of drawing one: nicer pictures, not for scores."""


def check_weights(argument: str, model: str | None, weights: Path | None) -> None:
    """Raises ValueError for a file of weights where the model is none of the published ones, which alone take it."""
    from varlite.presets import MODELS

    if weights is not None and (model not in MODELS or MODELS[model].hub is None):
        raise ValueError(f"{argument}: only the published models take it; to load a file, name it as the model")


def check_counts(**arguments: int | None) -> None:
    """Raises ValueError for a number below 1; None is one that was not given."""
    for name, value in arguments.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_images(out: Path, **pictures: Path | None) -> None:
    """Raises an error that names the argument if images cannot be written to `out`, or pictures of them to files."""
    from varlite.io.outputs import check_file, check_folder

    check_folder("out", out)
    for name, path in pictures.items():
        if path is not None:
            check_file(name, path, ".png")
