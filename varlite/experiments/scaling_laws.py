"""Sizes and costs by formula, and the laws that losses follow in them (VAR, arXiv 2404.02905, "scaling laws").

Formulas take a configuration and build no model: so they also say what a model costs that fits on no machine here. A
FLOP is an addition or a multiplication within a matrix product or convolution: all else is left out, as it is in
`torch.utils.flop_counter`. Letters: C width, V codebook, Z latent channels, l tokens, X a size or a cost, L a loss.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from varlite.mamba2 import CHUNK, EXPAND, TAPS, E, S
from varlite.models import MODELS, MVARConfig, RasterConfig, VARConfig
from varlite.scales import Scales

What = Literal["forward", "sampling", "training"]

# Sizes


def parameters(config: VARConfig) -> dict[str, int]:
    """Every weight of a model by kind: embeddings, attention, mamba, ffn, adaln (of the blocks) and head."""
    c, C, scales, n = config, config.width, Scales.of(config.scales), branches(config)
    hidden, first = round(C * c.ffn_ratio), 1 if isinstance(c, RasterConfig) else scales.lengths[0]
    inner = EXPAND * C
    mixed = inner + 2 * S
    attention = 4 * C * C + 3 * C + (c.heads if c.attn_norm else 0)
    mamba = mamba_matrices(C) + (TAPS + 1) * mixed + 3 * (inner // E) + inner
    own = {"own": 3 * n * C * (C + 1), "shared": 3 * n * C, "none": 2 * n * C}[c.ada_ln]
    once = 3 * n * C * (C + 1) if c.shared_adaln else 0
    return {
        "embeddings": (c.classes + 1 + first + scales.total + scales.K + c.z + 1) * C,
        "attention": c.depth * attention,
        "mamba": c.depth * mamba if isinstance(c, MVARConfig) else 0,
        "ffn": c.depth * (2 * C * hidden + hidden + C),
        "adaln": c.depth * own + once,
        "head": (2 * C * (C + 1) if c.adaln else 2 * C) + c.vocab * (C + 1),
    }


def size(config: VARConfig) -> int:
    """N of the scaling laws: the entries of the matrices in the blocks. For VAR 18 d C^2, or 73728 d^3 at C = 64 d.

    Of 18 C^2 in a block 4 are attention's, 8 the feed-forward's, 6 AdaLN's. Embeddings, head, biases and other vectors
    do not count.
    """
    C, n = config.width, branches(config)
    block = 4 * C * C + 2 * C * round(C * config.ffn_ratio) + (3 * n * C * C if config.ada_ln == "own" else 0)
    block += mamba_matrices(C) if isinstance(config, MVARConfig) else 0
    return config.depth * block + (3 * n * C * C if config.shared_adaln else 0)


def branches(config: VARConfig) -> int:
    """Residual branches of a block."""
    return 3 if isinstance(config, MVARConfig) else 2


def mamba_matrices(C: int) -> int:
    """Entries of the projections into and out of a Mamba-2 layer."""
    inner = EXPAND * C
    return C * (2 * inner + 2 * S + inner // E) + inner * C


# Costs


@dataclass(frozen=True)
class Pass:
    """One run through the blocks: new tokens, those of them that are not the start, pairs of tokens attended."""

    tokens: int
    embedded: int
    pairs: int


def passes(config: VARConfig, what: What) -> list[Pass]:
    """The passes for one image, without guidance: all tokens at once, or in sampling those of one step after another.

    Teacher forcing computes all pairs and masks those that may not see each other; sampling computes what it needs.
    M-VAR attends within a scale in both.
    """
    scales, within = Scales.of(config.scales), isinstance(config, MVARConfig)
    raster = isinstance(config, RasterConfig)
    spans = [(i, i + 1) for i in range(scales.total)] if raster else scales.spans
    if what == "sampling":
        return [
            Pass(end - start, end - start if start else 0, (end - start) * (end - start if within else end))
            for start, end in spans
        ]
    pairs = sum(l * l for l in scales.lengths) if within else scales.total**2
    return [Pass(scales.total, scales.total - spans[0][1], pairs)]


def flops_by_part(config: VARConfig, what: What = "forward") -> dict[str, int]:
    """FLOPs for one image by part: embeddings, attention (projections), pairs (attention proper), mamba, ffn, adaln
    (of the blocks) and head.

    forward: teacher-forced. training: three times that, the backward pass being two forward ones. sampling: with
    guidance, so two images; without the tokenizer's decoder. Raises ValueError for another `what`.
    """
    if what not in ("forward", "sampling", "training"):
        raise ValueError(f"what must be forward, sampling or training, got {what!r}")
    c, C, n = config, config.width, branches(config)
    hidden, ran = round(C * c.ffn_ratio), passes(c, what)
    tokens, embedded, pairs = (sum(getattr(p, name) for p in ran) for name in ("tokens", "embedded", "pairs"))
    layers = {"own": c.depth, "shared": 1, "none": 0}[c.ada_ln]
    scans = sum(scan_flops(p.tokens, C) for p in ran)
    mamba = 2 * tokens * (mamba_matrices(C) + TAPS * (EXPAND * C + 2 * S)) + scans
    parts = {
        "embeddings": 2 * embedded * c.z * C,
        "attention": c.depth * 2 * tokens * 4 * C * C,
        "pairs": c.depth * 4 * pairs * C,
        "mamba": c.depth * mamba if isinstance(c, MVARConfig) else 0,
        "ffn": c.depth * 4 * tokens * C * hidden,
        "adaln": layers * 2 * C * 3 * n * C,  # once an image: `VAR.condition`
        "head": 2 * tokens * C * c.vocab + (4 * C * C if c.adaln else 0),
    }
    times = {"forward": 1, "sampling": 2, "training": 3}[what]
    return {name: times * count for name, count in parts.items()}


def scan_flops(tokens: int, C: int) -> int:
    """FLOPs of the chunked state-space scan of varlite/mamba2.py over the tokens of one pass."""
    inner, chunks = EXPAND * C, [min(CHUNK, tokens - start) for start in range(0, tokens, CHUNK)]
    return sum(2 * T * T * (S + inner) + 4 * T * inner * S for T in chunks)


def flops(config: VARConfig, what: What = "forward") -> int:
    """FLOPs for one image, all parts; see `flops_by_part`."""
    return sum(flops_by_part(config, what).values())


# Runs of a sweep


def config_of(run: Mapping[str, Any]) -> VARConfig:
    """The configuration of a run in `data/results/sweep.json`."""
    return MODELS[run["kind"]][1](**run["config"])


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
