"""Training of tokenizers (stage 1), transformers (stage 2) and the classifier: `run.py` and `loop.py` are
what they share; `train_tokenizer.py`, `train_transformer.py` and `train_classifier.py` are what each does."""
