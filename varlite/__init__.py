"""Visual autoregressive modelling, small enough to read: VAR and M-VAR, both stages, sampling, editing, evaluation.

>>> model, tokenizer = varlite.load("fashion-var-d4")
>>> images = varlite.generate(model, tokenizer, labels=[0, 8, 9])  # (3, 1, 28, 28) in [0, 1]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from varlite.checkpoints.load import load, load_tokenizer
    from varlite.checkpoints.pretrained import from_pretrained, push_to_hub, save_pretrained
    from varlite.drawing import Step
    from varlite.editing import box_mask, edit
    from varlite.inference import prepare
    from varlite.io.memory import keep_freed_memory
    from varlite.models import VAR, VARConfig
    from varlite.refining import refine
    from varlite.sampling import generate, generate_many
    from varlite.scales import Scales
    from varlite.tokenizer import VQVAE, TokenizerConfig

__version__ = "0.1.0"
__all__ = [
    "VAR", "VQVAE", "Scales", "Step", "TokenizerConfig", "VARConfig", "box_mask", "edit", "from_pretrained", "generate",
    "generate_many", "keep_freed_memory", "load", "load_tokenizer", "prepare", "push_to_hub", "refine",
    "save_pretrained",
]  # fmt: skip

HOMES = {
    "checkpoints.load": ("load", "load_tokenizer"),
    "checkpoints.pretrained": ("from_pretrained", "push_to_hub", "save_pretrained"),
    "editing": ("box_mask", "edit"),
    "io.memory": ("keep_freed_memory",),
    "models": ("VAR", "VARConfig"),
    "inference": ("prepare",),
    "drawing": ("Step",),
    "refining": ("refine",),
    "sampling": ("generate", "generate_many"),
    "scales": ("Scales",),
    "tokenizer": ("VQVAE", "TokenizerConfig"),
}


def __getattr__(name: str) -> Any:
    # Imported once they are asked for: `varlite --help` does not wait for torch.
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(f"varlite.{module}"), name)
    raise AttributeError(f"module 'varlite' has no attribute {name!r}")
