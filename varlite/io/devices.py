"""Where to compute."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> "torch.device":
    """auto is cuda, else mps, else cpu. Raises ValueError for a device that is not here."""
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in here if here[kind])
    if not here.get(name, False):
        raise ValueError(f"device: there is no {name} here, only {', '.join(kind for kind in here if here[kind])}")
    return torch.device(name)
