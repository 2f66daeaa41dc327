"""The generative models, one file each, and the registry from which everything else finds them.

A new model is one file in this folder that ends in `register("name", Model, ModelConfig)`: every file here is imported.
`contract.py` says what a model brings; `tests/models/test_contract.py` is what it is held to.
"""

from importlib import import_module
from pkgutil import iter_modules

from varlite.models.contract import KINDS, Ability, Kind, Model, kind_of, register, require, set_dials
from varlite.models.mvar import MVAR, MVARConfig
from varlite.models.raster import Raster, RasterConfig
from varlite.models.var import VAR, VARConfig

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "KINDS", "MVAR", "VAR", "Ability", "Kind", "MVARConfig", "Model", "Raster", "RasterConfig", "VARConfig", "kind_of",
    "register", "require", "set_dials",
]  # fmt: skip
