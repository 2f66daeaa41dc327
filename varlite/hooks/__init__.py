"""Training-free additions to sampling, each a function for `on_logits` of `generate`, in one short file each.

generate(model, tokenizer, labels, on_logits=SSG(0.3))
generate(small, tokenizer, labels, on_logits=Drafting(large, labels, steps=3))
"""
