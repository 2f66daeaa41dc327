"""Trainings: their shared parts, and a file each.

options.py, recipes.py            what the command line may change
run.py, loop.py, engine.py        the folder that survives a kill, the steps, devices and processes
train_tokenizer.py                stage 1, with codebook.py, losses.py, perceptual.py, discriminators.py
tune_decoder.py                   its decoder alone
train_transformer.py, cca.py      stage 2, and guidance distilled into its model
train_classifier.py               fashion-classifier; train_second_classifier.py and train_features.py derive from it
train_reader.py                   the judge from truth
own_pictures.py                   `varlite fit`, with fit_plan.py and fit_timing.py
"""
