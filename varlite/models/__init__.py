"""The generative models, one file each."""

from varlite.models.mvar import MVAR, MVARConfig
from varlite.models.raster import Raster, RasterConfig
from varlite.models.var import VAR, VARConfig

__all__ = ["MODELS", "MVAR", "VAR", "MVARConfig", "Raster", "RasterConfig", "VARConfig"]

# What a file of weights calls its model: (class, configuration).
MODELS: dict[str, tuple[type[VAR], type[VARConfig]]] = {
    "var": (VAR, VARConfig),
    "mvar": (MVAR, MVARConfig),
    "raster": (Raster, RasterConfig),
}
