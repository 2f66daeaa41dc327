"""Widgets of the notebooks: the sampling panel, the mask painter, the attention explorer, the player of films."""
