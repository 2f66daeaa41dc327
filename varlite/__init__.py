"""Visual autoregressive modelling, small enough to read: VAR and M-VAR, both stages, sampling, editing, evaluation.

>>> model, tokenizer = varlite.load("fashion-var-d4")
>>> images = varlite.generate(model, tokenizer, labels=[0, 8, 9])  # (3, 1, 28, 28) in [0, 1]
"""

from varlite.editing import box_mask, edit
from varlite.models import VAR, VARConfig
from varlite.pretrained import load, load_tokenizer
from varlite.sampling import Step, generate, generate_many
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig

__version__ = "0.1.0"
__all__ = [
    "VAR", "VQVAE", "Scales", "Step", "TokenizerConfig", "VARConfig", "box_mask", "edit", "generate", "generate_many",
    "load", "load_tokenizer",
]  # fmt: skip
