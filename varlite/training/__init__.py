"""Training of both stages: `loop.py` is what they share, `tokenizer.py` is stage 1, `transformer.py` is stage 2."""
