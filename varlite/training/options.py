"""Options common to all trainings. Light to import, since the command line needs them to show its help."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Options common to all trainings. Entries of the recipe that are None are the preset's."""

    steps: int | None = None
    """Steps of training; default the recipe's."""
    batch: int | None = None
    """Examples per step, over all processes; default the recipe's."""
    lr: float | None = None
    """Peak learning rate; default the recipe's."""
    recipe: tuple[str, ...] = ()
    """Other entries of the recipe (see varlite/presets.py), each as NAME=VALUE."""
    seed: int = 0
    """Random seed."""
    flip: bool = False
    """Mirror every image left to right with probability one half."""
    unreadable: float = 0.25
    """Share of a folder's images that may be unreadable; more means a wrong folder or a lost disk."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto is the GPU if there is one; CUDA_VISIBLE_DEVICES chooses among several."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the matrix products (autocast); weights stay in float32."""
    accumulate: int = 1
    """Split each step into this many micro-steps: the same in less memory, but for drop-path, and for losses that weigh
    whole batches."""
    shard: bool = False
    """Spread weights and optimizer over the processes (FSDP), for models that do not fit on one GPU. Stage 2 only."""
    tensorboard: bool = False
    """Also write the log for TensorBoard, into OUT/tensorboard."""
    log: Literal["none", "tensorboard", "trackio", "wandb"] = "none"
    """Also send the log to one of these; tensorboard is the same as --tensorboard. The package must be installed."""
