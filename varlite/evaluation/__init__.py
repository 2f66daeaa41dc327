"""How good images are.

image_sources.py, samples.py    sets of images, given or sampled, one batch at a time
sample_folders.py               which images in a folder are samples, and of which run
features.py                     from images to features, which feature_store.py keeps on disk
statistics.py, metrics.py       from features to scores, by formula and by name
request.py, safeguards.py       what `varlite evaluate` was asked for, and what it refuses or remarks on
scoring.py, model_cards.py      the whole flow, and the scores on a model's card
judges/, judging.py             the panel of judges of small models, and how `varlite evaluate` asks it
drawn_sets.py                   samples in memory with the tokens drawn, for the panel to compare
rejection.py                    samples kept by a classifier
small_models.py, classifier.py  scores of the Fashion-MNIST models, by a small CNN instead of Inception
feature_net.py                  networks in whose features losses compare, and which never score
reader.py, truth_scores.py      still life read as scenes, and the scores that follow
classify.py                     a model as a classifier, and what each scale tells about the class
validation.py                   loss, error and codebook health on a test split
"""
