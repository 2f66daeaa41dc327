"""The exercises of notebook 10, scaling laws."""

import json
from functools import cache
from typing import Any

import numpy as np

from varlite.experiments import scaling_laws as scaling
from varlite.io.places import RESULTS
from varlite.nb.exercises import Off, function, kind, number
from varlite.presets import MODELS
from varlite.scales import Scales

BUDGETS = 12


@cache
def runs() -> dict[int, Any]:
    """The ladder that ships, {depth: run}."""
    return scaling.ladder(json.loads((RESULTS / "sweep.json").read_text())["runs"])


def at_end(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of the ladder and a value at the end of training."""
    sizes = [scaling.size(scaling.config_of(run)) for run in runs().values()]
    return np.array(sizes, float), np.array([run["curve"][-1][name] for run in runs().values()])


def exercise_1(factor: Any) -> str:
    """How the cost grows when the depth doubles."""
    two, four = (MODELS[f"fashion-var-d{d}"].config for d in (2, 4))
    right = scaling.flops(four) / scaling.flops(two)
    slips = {
        scaling.size(four) / scaling.size(two): "That is by how much N grows.",
        1 / right: "The other way round.",
        scaling.flops(four, "sampling")
        / scaling.flops(two, "sampling"): "That is sampling. A forward pass is asked for.",
    }
    number(factor, right, 0.05, slips)
    return (
        "The head grows with w, and the pairs with d w. From d16 to d32 they hardly count, and the factor is nearly 8."
    )


def exercise_2(percent: Any) -> str:
    """By how much the loss falls when N grows tenfold."""
    exponent = scaling.fit(*at_end("val_loss")).exponent
    left = 10**exponent
    slips = {
        100 * left: "That is what is left of the loss.",
        1 - left: "That is a share. In percent?",
        -1000 * exponent: "The exponent is of a power: 10 to it, not 10 times it.",
        -100 * exponent: "That is the exponent, times 100.",
        100 * (1 - 2**exponent): "That is for twice as many weights.",
    }
    number(percent, 100 * (1 - left), 0.2, slips)
    return "Not much for ten times the weights! Only that it goes on and on makes it worth while."


def moving(N: np.ndarray, L: np.ndarray) -> int:
    whole = scaling.fit(N, L).exponent
    rest = [np.arange(len(N)) != i for i in range(len(N))]
    return int(np.argmax([abs(scaling.fit(N[keep], L[keep]).exponent - whole) for keep in rest]))


def exercise_3(most_moving: Any) -> str:
    """Which point has the longest lever."""
    call, (N, loss) = function(most_moving), at_end("val_loss_last")
    X_line = np.geomspace(1, 1e5, 6)
    off = X_line**-0.05 * np.array([1, 1, 1, 1, 1, 1.1])
    cases = {
        "the ladder": (N, loss),
        "a line with one point off": (X_line, off),
        "the token error": at_end("val_error"),
    }
    for name, (X, Y) in cases.items():
        found = call(X, Y)
        if isinstance(found, bool) or not isinstance(found, int | np.integer) or not 0 <= found < len(X):
            raise Off(f"For {name} this should be an index from 0 to {len(X) - 1}, and is {kind(found)}.")
        if found != moving(X, Y):
            raise Off(f"For {name} it is not point {found} that moves the exponent most.")
    return f"In the ladder it is the model of depth {list(runs())[moving(N, loss)]}: an end has the longest lever."


def exercise_4(coarse_loss: Any) -> str:
    """The loss of all scales but the last."""
    call, lengths = function(coarse_loss), Scales.of(MODELS["fashion-var-d4"].config.scales).lengths
    N, loss_all = at_end("val_loss")
    _, loss_last = at_end("val_loss_last")
    right = (sum(lengths) * loss_all - lengths[-1] * loss_last) / sum(lengths[:-1])
    for one, last, expected in zip(loss_all, loss_last, right, strict=True):
        found = call(float(one), float(last), lengths)
        slips = {
            2 * one - last: "The two groups are not equally large.",
            one - last: "A mean is not a sum: weigh each by its number of tokens.",
            (sum(lengths) * one - lengths[-1] * last) / sum(lengths): "You divided by the number of all tokens.",
        }
        number(found, expected, 1e-4, slips)
    steep, of_last = (scaling.fit(N, y).exponent for y in (right, loss_last))
    way = "flatter" if steep > of_last else "steeper"
    return f"Its exponent, {steep:.3f}, is {way} than the last scale's, {of_last:.3f}."


def reached(budget: float, curves: dict[int, Any]) -> int:
    losses = {n: L[budget >= C].min() for n, (C, L) in curves.items() if C[0] <= budget}
    return min(losses, key=losses.__getitem__)


def exercise_5(best_size: Any) -> str:
    """The best size for a budget."""
    call = function(best_size)
    curves = {scaling.size(scaling.config_of(run)): scaling.curve(run) for run in runs().values()}
    ends = [C[-1] for C, _ in curves.values()]
    budgets = np.geomspace(min(ends), max(ends), BUDGETS)
    best = [reached(budget, curves) for budget in budgets]
    for budget, right in zip(budgets, best, strict=True):
        found = call(budget, curves)
        if found not in curves:
            raise Off(f"This should be one of the sizes N, and is {kind(found)}.")
        if found != right:
            way = "large" if found > right else "small"
            raise Off(
                f"With {budget:.1e} operations a model of {found:,} weights is too {way}: another one has a lower loss."
            )
    a = scaling.fit(budgets, best).exponent
    return f"The best size grows as budget^{a:.1f}. More than the budget! What does the ladder leave out?"
