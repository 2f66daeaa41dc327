"""The laws that losses follow in the size and cost of models (VAR, arXiv 2404.02905, "scaling laws").

Letters: N weights in the blocks, C FLOPs of training, X either, L a loss.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from varlite.models import kind_of
from varlite.models.costs import What

# Sizes and costs, which each model brings (varlite/models/costs.py)


def parameters(config: Any) -> dict[str, int]:
    """Every weight of a model by part."""
    return kind_of(config).model.weights_by_part(config)


def size(config: Any) -> int:
    """N of the scaling laws: the entries of the matrices in the blocks."""
    return kind_of(config).model.size(config)


def flops_by_part(config: Any, what: What = "forward") -> dict[str, int]:
    """FLOPs for one image by part: forward, training or sampling."""
    return kind_of(config).model.flops_by_part(config, what)


def flops(config: Any, what: What = "forward") -> int:
    """FLOPs for one image, all parts."""
    return kind_of(config).model.flops(config, what)


# Runs of a sweep


def config_of(run: Mapping[str, Any]) -> Any:
    """The configuration of a run in `data/results/sweep.json`."""
    return kind_of(run["kind"]).config(**run["config"])


def ladder(runs: Mapping[str, Mapping[str, Any]], kind: str = "var") -> dict[int, Mapping[str, Any]]:
    """{depth: run} of one kind of model by rising depth: complete models of the first seed, without ablation arms.

    Raises ValueError if there is none.
    """
    whole = {
        run["depth"]: run
        for run in runs.values()
        if run["kind"] == kind and run["seed"] == 0 and config_of(run).adaln and run["config"]["attn_norm"]
    }
    if not whole:
        raise ValueError(f"kind: no run of kind {kind!r} among {', '.join(runs)}")
    return dict(sorted(whole.items()))


def curve(run: Mapping[str, Any], name: str = "val_loss") -> tuple[np.ndarray, np.ndarray]:
    """(training FLOPs so far, values of `name`) along a run."""
    cost = flops(config_of(run), "training")
    return np.array([point["images"] * cost for point in run["curve"]]), np.array([p[name] for p in run["curve"]])


# Laws


@dataclass(frozen=True)
class PowerLaw:
    """L(X) = floor + at_one X^exponent, the second part also written (factor X)^exponent."""

    exponent: float
    at_one: float
    floor: float = 0.0

    def __call__(self, X: np.ndarray | float) -> np.ndarray:
        return self.floor + self.at_one * np.asarray(X, float) ** self.exponent

    @property
    def factor(self) -> float:
        return float(np.exp(np.log(self.at_one) / self.exponent))


def fit(X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray, floor: bool = False) -> PowerLaw:
    """The power law through points (X, L): a straight line on log-log axes by least squares.

    floor: also fit an irreducible part, 0 or more, by least squares of relative errors; the exponent then lies in
    -3 .. -0.003. Raises ValueError for fewer than three different X (four with a floor), and for numbers that are not
    finite and positive.
    """
    x, y = check_points(X, L, 4 if floor else 3)
    if not floor:
        slope, height = np.polyfit(np.log(x), np.log(y), 1)
        return PowerLaw(float(slope), float(np.exp(height)))
    middle = np.exp(np.log(x).mean())  # so that both columns of the linear problem are near one
    exponent, _ = steepest(lambda exponent_A: weighted_lines((x / middle) ** exponent_A[:, None], y)[2])
    floor_A, height_A, _ = weighted_lines((x / middle)[None] ** exponent, y)
    return PowerLaw(exponent, float(height_A[0] * middle**-exponent), float(floor_A[0]))


STEEPNESS = (np.log(0.003), np.log(3))  # of -exponent, where there is a floor


def steepest(error: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """(exponent, error) of the exponent of least error, searched ever more finely around the best."""
    low, high = STEEPNESS
    for _ in range(4):
        steps_A = np.linspace(low, high, 61)
        errors_A = error(-np.exp(steps_A))
        best, step = int(errors_A.argmin()), steps_A[1] - steps_A[0]
        low, high = max(low, steps_A[best] - step), min(high, steps_A[best] + step)
    return -float(np.exp(steps_A[best])), float(errors_A[best])


def weighted_lines(z_AX: np.ndarray, y_X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row z: (floor, height, error) of the best floor + height z, floor >= 0, by relative squared errors."""
    u_AX, v_X = z_AX / y_X, 1 / y_X
    uu, uv, vv, u, v = (u_AX**2).sum(1), (u_AX * v_X).sum(1), (v_X**2).sum(), u_AX.sum(1), v_X.sum()
    floor_A = (v * uu - u * uv) / np.maximum(uu * vv - uv**2, 1e-300)
    floor_A = np.where(uu * vv - uv**2 > 1e-12 * uu * vv, floor_A, 0).clip(0)
    height_A = (u - floor_A * uv) / uu
    return floor_A, height_A, ((floor_A[:, None] * v_X + height_A[:, None] * u_AX - 1) ** 2).sum(1)


def check_points(X: Any, L: Any, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays (points,). Raises ValueError for what no power law goes through."""
    x, y = np.asarray(X, float), np.asarray(L, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"X and L must be lists of equal length, got shapes {x.shape} and {y.shape}")
    if len(np.unique(x)) < least:
        raise ValueError(f"X must have at least {least} different values, got {len(np.unique(x))}")
    if not (np.isfinite([x, y]).all() and (x > 0).all() and (y > 0).all()):
        raise ValueError(f"X and L must be finite and positive, got X {x.tolist()} and L {y.tolist()}")
    return x, y


def scatter(X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray) -> float:
    """Relative standard deviation of points (X, L) around their power law, a straight line on log-log axes.

    Two things it cannot do. Of five points, two scatters say which line is straighter only where one is three times the
    other. And a correlation, which is the same thing beside the range of L, says less: with five sorted normal numbers
    for losses it exceeds .98 in one draw of six. Raises ValueError as `fit` does.
    """
    x, y = check_points(X, L, 3)
    return float(np.sqrt(((np.log(y) - np.log(fit(x, y)(x))) ** 2).sum() / (len(x) - 2)))


def halves(X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Exponents of the law through the half of the points with smaller X, and through the other half.

    A law has one exponent: where the two differ by more than their intervals, the points follow none. Raises ValueError
    for fewer than six points, or three different X in a half.
    """
    x, y = check_points(X, L, 6)
    order = np.argsort(x)
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    return fit(x[first], y[first]).exponent, fit(x[second], y[second]).exponent


def intervals(
    X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray, floor: bool = False, level: float = 0.9
) -> dict[str, tuple[float, float]]:
    """Confidence intervals {"exponent", "floor"} of `fit`, for independent relative errors of one size.

    Without a floor the t-interval of the slope. With one: all values at which the error of the best fit, squared and
    summed, is at most 1 + t^2 / (n - 3) times the smallest. Both keep their level for a handful of points, where
    resampling does not: of intervals that promise 90 %, bootstrapped from five points, only 79 % hold the truth.
    Raises ValueError as `fit` does, and for a `level` outside 0 .. 1.
    """
    x, y = check_points(X, L, 4 if floor else 3)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    law, n = fit(x, y, floor), len(x)
    if not floor:
        log_x = np.log(x)
        variance = ((np.log(y) - np.log(law(x))) ** 2).sum() / (n - 2)
        margin = student(level, n - 2) * float(np.sqrt(variance / ((log_x - log_x.mean()) ** 2).sum()))
        return {"exponent": (law.exponent - margin, law.exponent + margin), "floor": (0.0, 0.0)}
    most = ((law(x) / y - 1) ** 2).sum() * (1 + student(level, n - 3) ** 2 / (n - 3))
    z_X = x / np.exp(np.log(x).mean())

    def at_exponent(step: float) -> float:
        return float(weighted_lines(z_X[None] ** -np.exp(step), y)[2][0])

    def at_floor(value: float) -> float:
        def error(exponent_A: np.ndarray) -> np.ndarray:
            u_AX, rest_X = z_X ** exponent_A[:, None] / y, 1 - value / y
            height_A = (u_AX @ rest_X) / (u_AX**2).sum(1)
            return ((height_A[:, None] * u_AX - rest_X) ** 2).sum(1)

        return steepest(error)[1]

    steep, flat = (edge(at_exponent, float(np.log(-law.exponent)), end, most) for end in STEEPNESS[::-1])
    floors = (edge(at_floor, law.floor, end, most) for end in (0.0, float(y.min())))
    return {"exponent": (-float(np.exp(steep)), -float(np.exp(flat))), "floor": (next(floors), next(floors))}


def edge(error: Callable[[float], float], inside: float, outside: float, most: float) -> float:
    """Where `error` crosses `most` between a value inside and one outside, or `outside` if it does not."""
    if error(outside) <= most:
        return outside
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if error(middle) <= most else (inside, middle)
    return inside


@cache
def student(level: float, freedom: int) -> float:
    """The t that |T| stays below with probability `level`, T Student's t with so many degrees of freedom."""
    angle = np.linspace(0, np.pi / 2, 20_001)  # T = sqrt(freedom) tan(angle) makes the density a power of the cosine
    density = np.cos(angle) ** (freedom - 1)
    below = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2)))
    return float(np.sqrt(freedom) * np.tan(np.interp(level, below / below[-1], angle)))


def lower_envelope(X: Iterable[float] | np.ndarray, L: Iterable[float] | np.ndarray) -> np.ndarray:
    """Indices of the Pareto front by rising X: the points with the lowest loss at each cost."""
    x, y = np.asarray(X, float), np.asarray(L, float)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(f"X and L must be lists of equal length, at least one, got shapes {x.shape} and {y.shape}")
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(np.concatenate(([np.inf], y[order][:-1])))
    return order[y[order] < best]


def extrapolate(
    X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray, floor: bool = False
) -> dict[str, float]:
    """Fit all points but the one of largest X, and predict that: {"predicted", "measured", "miss"}, the miss relative.

    Raises ValueError as `fit` does, for the points that are left.
    """
    x, y = check_points(X, L, 5 if floor else 4)
    last = x == x.max()
    predicted, measured = float(fit(x[~last], y[~last], floor)(x.max())), float(y[last].mean())
    return {"predicted": predicted, "measured": measured, "miss": predicted / measured - 1}


def rival_laws(
    X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray
) -> dict[str, Callable[[np.ndarray | float], np.ndarray]]:
    """{law: L as a function of X}, fitted to all points but the one of largest X. Raises ValueError as `fit` does."""
    x, y = check_points(X, L, 4)
    order = np.argsort(x)[:-1]
    x, y = x[order], y[order]
    straight, last_two = np.polyfit(np.log(x), y, 1), np.polyfit(np.log(x[-2:]), np.log(y[-2:]), 1)
    return {
        "power law": fit(x, y),
        "a - b log X": lambda size: np.polyval(straight, np.log(size)),
        "last two points": lambda size: np.exp(np.polyval(last_two, np.log(size))),
        "no change": lambda size: np.full_like(np.asarray(size, float), y[-1]),
    }


def rival_misses(X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray) -> dict[str, float]:
    """{law: relative miss} of the point of largest X, predicted by several laws from the other points.

    Points are consistent with a power law when it misses little; they only speak for it when the others miss more.
    """
    x, y = check_points(X, L, 4)
    largest = int(x.argmax())
    return {name: float(law(x[largest]) / y[largest] - 1) for name, law in rival_laws(x, y).items()}
