"""What the notebooks share: `plots.py`, figures by subject, `widgets/`, `tour.py`. Only here is matplotlib used."""
