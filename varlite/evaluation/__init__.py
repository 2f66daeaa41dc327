"""Scores of samples and reconstructions: `classifier.py` gives features, `fidelity.py` the statistics on them."""
