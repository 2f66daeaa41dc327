"""How good images are: features of them (features.py), statistics on features (fidelity.py, scores.py), and the tables.

images.py, samples.py -> features.py -> rows.py (on disk) -> fidelity.py        run.py: `varlite evaluate`
"""
