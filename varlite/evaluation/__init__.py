"""How good images are.

image_sources.py, samples.py    sets of images, given or sampled, one batch at a time
features.py                     from images to features, which feature_store.py keeps on disk
statistics.py, metrics.py       from features to scores, by formula and by name
request.py, safeguards.py       what `varlite evaluate` was asked for, and what it refuses or remarks on
scoring.py, model_cards.py      the whole flow, and the scores on a model's card
judges/, judging.py             the panel of judges of small models, and how `varlite evaluate` asks it
rejection.py                    samples kept by a classifier
small_models.py, classifier.py  scores of the Fashion-MNIST models, by a small CNN instead of Inception
validation.py                   loss, error and codebook health on a test split
"""
