"""The exercises of notebook 08, FID and its traps."""

import math
from typing import Any

import numpy as np
import torch

from varlite.evaluation.statistics import frechet_distance, statistics
from varlite.nb.exercises import Off, function, kind, number


def apart(a_NX: torch.Tensor, b_MX: torch.Tensor) -> float:
    """The Fréchet distance of two sets of rows."""
    return frechet_distance(statistics(a_NX), statistics(b_MX))


def lopsided(n: int = 1000, width: int = 6, seed: int = 0) -> torch.Tensor:
    """Rows of positive numbers, many small and few large, that are correlated; of one distribution for all seeds."""
    mixing = torch.eye(width) + 0.2 * torch.rand(width, width, generator=torch.Generator().manual_seed(99))
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).exp() @ mixing


def exercise_1(in_one_dimension: Any) -> str:
    """A Fréchet distance in one dimension."""
    (mu, sigma), (other_mu, other_sigma) = (3, 2), (0, 1)
    means, right = (mu - other_mu) ** 2, (mu - other_mu) ** 2 + (sigma - other_sigma) ** 2
    slips = {
        means: "That is the part of the means. The two also differ in extent.",
        means + (sigma**2 - other_sigma**2) ** 2: "That compares variances. The formula comes out at deviations.",
        means + sigma**2 + other_sigma**2: "The product of the two covariances is missing.",
        math.sqrt(right): "That is its root: what is called the distance here is squared.",
    }
    number(in_one_dimension, right, 0.01, slips)
    return "Here, halving the spread costs as much as moving the mean by one."


def exercise_2(impostor: Any) -> str:
    """Another cloud with the same mean and covariance."""
    x_NX = lopsided()
    found = function(impostor)(x_NX.clone())
    if not isinstance(found, torch.Tensor) or found.shape != x_NX.shape:
        raise Off(f"This should return a tensor of shape {tuple(x_NX.shape)}, and returns {kind(found)}.")
    distance = apart(found.float(), x_NX)
    if not distance < 0.01 * x_NX.var(0).sum():
        raise Off(f"Its distance is {distance:.3g}. By mean and covariance the two can still be told apart.")
    usual = torch.cdist(x_NX, x_NX).topk(4, largest=False).values[:, -1].median()
    near = (torch.cdist(found.to(x_NX), x_NX).amin(1) <= usual).double().mean().item()
    if near > 0.4:
        raise Off(f"{near:.0%} of its rows lie near a row of the other set. It should be somewhere else.")
    return f"Precision finds it out: only {near:.0%} of its rows lie near a row of the other set."


def exercise_3(extrapolated: Any) -> str:
    """The distance of infinitely many images."""
    numbers = (100, 200, 400, 1000)
    for limit, slope in ((2.0, 300.0), (0.0, 500.0), (7.5, 120.0)):
        given = {n: limit + slope / n for n in numbers}
        found = function(extrapolated)(dict(given))
        if isinstance(found, np.generic):
            found = found.item()
        in_n = float(np.polyfit(numbers, list(given.values()), 1)[1])
        number(found, limit, 0.01, {
            in_n: "That is a line in n, taken to no images at all. The line is in 1 / n.",
            slope: "That is the slope of the line.",
            given[1000]: "That is the distance of the largest set, which is biased too.",
        })  # fmt: skip
    return "With real measurements the limit scatters more than any of them: bias is traded for noise."


def exercise_4(memorised: Any) -> str:
    """The share of samples that are nearer to the training set."""
    training, held_out, honest = (lopsided(400, seed=seed) for seed in (1, 2, 3))
    noise = torch.Generator().manual_seed(0)
    copies = training[:200] + 0.01 * torch.randn(200, training.shape[1], generator=noise)
    shares = {}
    for name, rows in (
        ("copies", copies),
        ("honest samples", honest),
        ("half copies", torch.cat((copies, honest[:200]))),
    ):
        right = (torch.cdist(rows, training).amin(1) < torch.cdist(rows, held_out).amin(1)).double().mean().item()
        found = function(memorised)(rows, training, held_out)
        try:
            number(found, right, 0.01, {1 - right: "turned"} if abs(1 - 2 * right) > 0.1 else None)
        except Off as off:
            what = "It seems to count those nearer to the held-out rows." if str(off) == "turned" else str(off)
            raise Off(f"On {name}: {what}") from None
        shares[name] = right
    said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return f"{said}. A judge of the panel does this, and sees hardly anything else."


def exercise_5(error: Any) -> str:
    """The jackknife error of a distance."""
    x_NX, reference_MX = lopsided(300, seed=4), lopsided(2000, seed=5)
    parts = x_NX.chunk(10)
    values = np.array([apart(torch.cat([*parts[:i], *parts[i + 1 :]]), reference_MX) for i in range(10)])
    right = float(np.sqrt(0.9 * np.square(values - values.mean()).sum()))
    alone = np.array([apart(part, reference_MX) for part in parts])
    found = function(error)(x_NX, reference_MX)
    found = found.item() if isinstance(found, np.generic) else found
    number(found, right, 0.01 * right, {
        float(values.std()): "That is the deviation of the ten. They share most of their rows, so it is far too small.",
        float(values.std(ddof=1)): "That is the deviation of the ten. They share most of their rows: far too small.",
        float(np.sqrt(0.9 * np.square(alone - alone.mean()).sum())): "Leave one group out, instead of taking it alone.",
        right**2: "That is the variance. The error is its root.",
    })  # fmt: skip
    return (
        "A difference of two distances has two such errors. Look for them the next time that a table is in bold type."
    )
