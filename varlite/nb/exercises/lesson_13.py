"""The exercises of notebook 13, your own pictures."""

from typing import Any

import torch

from varlite.nb.exercises import Off, function, kind, number
from varlite.training.fit_timing import PASSES


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


def exercise_2(minutes: Any) -> str:
    """When the transformer has seen each picture as often as `fit` allows."""
    a_minute = 60 * 2 * 64
    right = PASSES * 5000 * 0.9 / a_minute
    slips = {
        PASSES * 5000 / a_minute: "No training sees the pictures that are held out.",
        60 * right: "Those are seconds.",
        120 * right: "That is the number of steps.",
        2 * right: "Two steps per second.",
        64 * right: "A step sees more than one picture.",
        right / PASSES: "That is one pass.",
    }
    number(minutes, right, 0.05, slips)
    return "After that more minutes help the tokenizer alone; the transformer needs a larger folder."


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
    return "In both fits of this lesson it is the transformer."


def exercise_5(suspicious: Any) -> str:
    """The share of pictures that lie nearer to a training picture than its own neighbour."""
    call, training = function(suspicious), pictures(40, 4)
    noise = pictures(40, 5) - 0.5
    cases = {
        "copies": training[:10] + 0.02 * noise[:10],
        "new pictures": pictures(30, 6),
        "copies and new pictures": torch.cat((training[:6] + 0.1 * noise[:6], pictures(18, 7))),
        "one picture, copied often": training[3:4] + 0.1 * noise[:12],
    }
    for name, given in cases.items():
        distance_MN, own_NN = (torch.cdist(x.flatten(1), training.flatten(1)) for x in (given, training))
        nearest_M, which_M = distance_MN.min(1)
        own_N = own_NN.fill_diagonal_(torch.inf).min(1).values
        right = (nearest_M < own_N[which_M]).double().mean().item()
        slips = {
            0.0: "A training picture is at distance zero from itself. Is it its own neighbour?",
            (nearest_M < own_N.mean()).double().mean().item(): "Each training picture has a gap of its own.",
            right * len(given): "That is how many. As a share?",
        }
        try:
            number(call(given, training), right, 0.001, {slip: said for slip, said in slips.items() if slip != right})
        except Off as off:
            raise Off(f"For {name}: {off}") from None
    return "Blurred samples lie nearer to everything, so the share rises, though nothing was learned: no judge alone."
