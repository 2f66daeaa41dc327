"""What the notebooks share: `plots.py` draws, `tour.py` runs the first one headless. Only here is matplotlib used."""
