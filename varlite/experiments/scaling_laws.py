"""Sizes and costs by formula, and the laws that losses follow in them (VAR, arXiv 2404.02905, "scaling laws").

Formulas take a configuration and build no model: so they also say what a model costs that fits on no machine here. A
FLOP is an addition or a multiplication within a matrix product or convolution: all else is left out, as it is in
`torch.utils.flop_counter`. Letters: C width, V codebook, Z latent channels, l tokens, X a size or a cost, L a loss.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """{depth: run} of one kind of model by rising depth: complete models of the first seed, no arms of the ablation.

    Raises ValueError where there is none.
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
    """The power law through points (X, L): a straight line on log-log by least squares.

    floor: also fit an irreducible part, 0 or more, by least squares of relative errors; the exponent then lies in
    -3 .. -0.003. Raises ValueError for fewer than three different X (four with a floor), and for numbers that are not
    finite and positive.
    """
    x, y = check(X, L, 4 if floor else 3)
    if not floor:
        slope, height = np.polyfit(np.log(x), np.log(y), 1)
        return PowerLaw(float(slope), float(np.exp(height)))
    middle = np.exp(np.log(x).mean())  # so that both columns of the linear problem are near one
    low, high = np.log(0.003), np.log(3)
    for _ in range(4):  # each round looks closer at where the last one was best
        steps_A = np.linspace(low, high, 61)
        floors_A, heights_A, errors_A = weighted_lines((x / middle)[None] ** -np.exp(steps_A)[:, None], y)
        best, step = int(errors_A.argmin()), steps_A[1] - steps_A[0]
        low, high = max(low, steps_A[best] - step), min(high, steps_A[best] + step)
    exponent = -float(np.exp(steps_A[best]))
    return PowerLaw(exponent, float(heights_A[best] * middle**-exponent), float(floors_A[best]))


def weighted_lines(z_AX: np.ndarray, y_X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row z: (floor, height, error) of the best floor + height z, floor >= 0, by relative squared errors."""
    u_AX, v_X = z_AX / y_X, 1 / y_X
    uu, uv, vv, u, v = (u_AX**2).sum(1), (u_AX * v_X).sum(1), (v_X**2).sum(), u_AX.sum(1), v_X.sum()
    floor_A = (v * uu - u * uv) / np.maximum(uu * vv - uv**2, 1e-300)
    floor_A = np.where(uu * vv - uv**2 > 1e-12 * uu * vv, floor_A, 0).clip(0)
    height_A = (u - floor_A * uv) / uu
    return floor_A, height_A, ((floor_A[:, None] * v_X + height_A[:, None] * u_AX - 1) ** 2).sum(1)


def check(X: Any, L: Any, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays (points,). Raises ValueError for what no power law goes through."""
    x, y = np.asarray(X, float), np.asarray(L, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"X and L must be lists of equal length, got shapes {x.shape} and {y.shape}")
    if len(np.unique(x)) < least:
        raise ValueError(f"X must have at least {least} different values, got {len(np.unique(x))}")
    if not (np.isfinite([x, y]).all() and (x > 0).all() and (y > 0).all()):
        raise ValueError(f"X and L must be finite and positive, got X {x.tolist()} and L {y.tolist()}")
    return x, y


def correlation(X: Sequence[float] | np.ndarray, L: Sequence[float] | np.ndarray) -> float:
    """Pearson's, of log X and log L: -1 where a falling power law is exact."""
    x, y = check(X, L, 3)
    return float(np.corrcoef(np.log(x), np.log(y))[0, 1])


def bootstrap(
    X: Sequence[float] | np.ndarray,
    L: Sequence[float] | np.ndarray,
    floor: bool = False,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Intervals that hold a share `level` of the exponents, and of the floors, fitted again to resampled data.

    Resampled are the relative residuals of the fit, not the points: with a handful of them, draws of points would often
    have too few. Residuals are widened by sqrt(n / (n - p)), since a fit of p numbers to n points has shrunk them.
    Raises ValueError as `fit` does, for fewer points than one more than is fitted, and for `level` outside 0 .. 1.
    """
    x, y = check(X, L, 4 if floor else 3)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    law, rng, n = fit(x, y, floor), np.random.default_rng(seed), len(x)
    rest = np.log(y / law(x))
    rest = (rest - rest.mean()) * np.sqrt(n / (n - (3 if floor else 2)))
    laws = [fit(x, law(x) * np.exp(rng.choice(rest, n)), floor) for _ in range(draws)]
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {}
    for name in ("exponent", "floor"):
        low, high = np.quantile([getattr(each, name) for each in laws], ends)
        found[name] = (float(low), float(high))
    return found


def lower_envelope(X: Iterable[float] | np.ndarray, L: Iterable[float] | np.ndarray) -> np.ndarray:
    """Indices of the points below all that cost less or as much, by rising X: the best loss for every budget."""
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
    x, y = check(X, L, 5 if floor else 4)
    last = x == x.max()
    predicted, measured = float(fit(x[~last], y[~last], floor)(x.max())), float(y[last].mean())
    return {"predicted": predicted, "measured": measured, "miss": predicted / measured - 1}
