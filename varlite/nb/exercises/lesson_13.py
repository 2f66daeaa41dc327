"""The exercises of notebook 13, your own pictures."""

from typing import Any

import torch

from varlite.nb.exercises import Off, function, kind, number


def pictures(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def exercise_1(variance_lost: Any) -> str:
    """The share of the variance that a tokenizer loses."""
    call, real = function(variance_lost), 0.2 + 0.5 * pictures(6, 0)
    blurred = 0.7 * real + 0.3 * pictures(6, 1)
    for again, name in ((real.mean().expand_as(real), "For a uniform grey"), (blurred, "For blurred pictures")):
        error, variance = (real - again).square().mean().item(), real.var(unbiased=False).item()
        slips = {
            error: "That is the squared error. It depends on how much contrast the pictures have: relative to what?",
            error / variance**0.5: "Divide by the variance, and not by its root.",
            (error / variance) ** 0.5: "That is the root of the share.",
            1 - error / variance: "That is the share that is kept.",
        }
        try:
            number(call(real, again), error / variance, 0.01, slips)
        except Off as off:
            raise Off(f"{name}: {off}") from None
    return "Unlike an error in pixels, this share can be compared between dim pictures and bright ones."


def exercise_2(passes: Any) -> str:
    """How often each picture is seen."""
    seen, train = 20 * 60 * 2 * 64, 5000 * 0.9
    slips = {
        seen: "That is how many pictures pass by, in all.",
        seen / 5000: "No training sees the pictures that are held out.",
        seen / train / 60: "Twenty minutes are more than twenty seconds.",
        seen / train / 2: "Two steps per second.",
    }
    number(passes, seen / train, 0.2, slips)
    return "Enough to learn a small folder by heart: look at the share of copies."


def exercise_3(nearest: Any) -> str:
    """The nearest training picture."""
    training = pictures(40, 2)
    samples = training[[7, 0, 33, 7]] + 0.05 * pictures(4, 3)
    found, right = function(nearest)(samples, training), torch.tensor([7, 0, 33, 7])
    if not isinstance(found, torch.Tensor) or found.shape != right.shape or found.is_floating_point():
        raise Off(f"This should be 4 indices, one for each sample, and is {kind(found)}.")
    if not torch.equal(found, right):
        raise Off(f"{(found == right).sum()} of 4 samples found the picture that they were made from.")
    return "Now show each sample beside its nearest picture: the eye is still the best judge of copies."


def exercise_4(culprit: Any) -> str:
    """Which stage holds a model back."""
    call = function(culprit)
    cases = [
        ((2.0, 0.3, 0.2), "transformer", "Reconstructions are nearly as good as real pictures."),
        ((2.0, 1.8, 0.2), "tokenizer", "Reconstructions are nearly as far away as samples."),
        ((1.05, 1.04, 1.0), "neither", "Samples are as near as other real pictures."),
        ((3.0, 1.6, 1.0), "transformer", "Compare what is beyond real pictures, not the distances themselves."),
        ((0.9, 0.5, 1.0), "neither", "Samples are even nearer than other real pictures."),
    ]
    for (samples, again, real), right, why in cases:
        found = call(samples, again, real)
        if found not in ("tokenizer", "transformer", "neither"):
            raise Off(f'This should be "tokenizer", "transformer" or "neither", and is {found!r}.')
        if found != right:
            raise Off(f"For samples {samples:g}, reconstructions {again:g}, real {real:g} it says {found}. {why}")
    return "Most first fits are held back by the transformer: it learns last, and needs most of the minutes."
