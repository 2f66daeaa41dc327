"""The generative models, one file each, and the one registry from which everything else finds them.

A new model is one file that ends in `register("name", Model, ModelConfig)`: see `varlite/models/contract.py` for what a
model brings, and `tests/models/test_contract.py` for what it is held to.
"""

from varlite.models.contract import KINDS, Ability, Kind, Model, kind_of, register, require
from varlite.models.mvar import MVAR, MVARConfig
from varlite.models.raster import Raster, RasterConfig
from varlite.models.var import VAR, VARConfig

__all__ = [
    "KINDS", "MVAR", "VAR", "Ability", "Kind", "MVARConfig", "Model", "Raster", "RasterConfig", "VARConfig", "kind_of",
    "register", "require",
]  # fmt: skip
