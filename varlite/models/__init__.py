"""The generative models, one file each."""

from varlite.models.var import VAR, VARConfig

__all__ = ["VAR", "VARConfig"]
