"""The panel of judges: scores of small models that no single network decides.

One file a judge; jury.py asks them all, verdict.py weighs what they say. Each file says what its judge sees and what
fools it; corruptions of real data in growing strength show that it is so (experiments/judge_the_judges.py,
data/results/judges.json).
"""
