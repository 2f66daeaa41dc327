"""Power laws against data whose law is known."""

from dataclasses import asdict

import numpy as np
import pytest

from varlite.experiments.scaling_laws import (
    PowerLaw,
    config_of,
    curve,
    extrapolate,
    fit,
    flops,
    halves,
    intervals,
    ladder,
    lower_envelope,
    rival_misses,
    scatter,
    student,
)
from varlite.presets import MODELS

# Laws

X = 18432 * np.arange(1, 7) ** 3.0


def noise(spread, n, seed):
    return np.exp(spread * np.random.default_rng(seed).standard_normal(n))


def noisy(law, spread, seed=0):
    return law(X) * noise(spread, len(X), seed)


@pytest.mark.parametrize("exponent", [-0.01, -0.2, -1.0, 0.3])
@pytest.mark.parametrize("unit", [1.0, 1e-9])
def test_a_power_law_is_recovered(exponent, unit):
    law = fit(X * unit, (2.0 * X * unit) ** exponent)
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.factor == pytest.approx(2.0, rel=1e-6)
    assert scatter(X, (2.0 * X) ** exponent) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("floor", [0.0, 1.5, 4.0])
@pytest.mark.parametrize("exponent", [-0.05, -0.2, -0.5, -1.0])
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e6])
def test_a_power_law_with_an_irreducible_part_is_recovered(floor, exponent, unit):
    truth = PowerLaw(exponent, 3 * (18432 * unit) ** -exponent, floor)
    law = fit(X * unit, truth(X * unit), floor=True)
    assert law.exponent == pytest.approx(exponent, rel=1e-3)
    assert law.floor == pytest.approx(floor, abs=5e-3)
    assert law(X * unit) == pytest.approx(truth(X * unit), rel=1e-5)


def test_leaving_an_irreducible_part_out_flattens_the_exponent():
    truth = PowerLaw(-0.3, 30.0, 2.0)
    assert truth.exponent < fit(X, truth(X)).exponent < 0
    assert scatter(X, truth(X)) > 0.01


def test_the_scatter_is_the_noise_of_the_points():
    found = [scatter(X, noisy(PowerLaw(-0.2, 20.0), 0.01, seed)) for seed in range(200)]
    assert np.mean(np.square(found)) ** 0.5 == pytest.approx(0.01, rel=0.1)


def test_a_correlation_of_five_sorted_random_losses_is_often_high():
    """Which is why none is given anywhere."""
    sizes, rng = np.log(np.arange(1, 6) ** 3.0), np.random.default_rng(0)
    draws = -np.sort(-rng.normal(5, 0.3, (4000, 5)), axis=1)
    high = np.mean([abs(np.corrcoef(sizes, np.log(losses))[0, 1]) > 0.98 for losses in draws])
    assert high == pytest.approx(1 / 6, abs=0.02)


def test_the_halves_of_one_law_agree_and_of_a_curve_they_do_not():
    assert halves(X[::-1], PowerLaw(-0.2, 20.0)(X[::-1])) == pytest.approx((-0.2, -0.2))
    steep, flat = halves(X, PowerLaw(-0.3, 30.0, 2.0)(X))
    assert steep < flat < 0


def test_the_floor_is_never_negative():
    straight = 6 - 0.3 * np.log(X / X[0])  # falls faster than any power law with a floor above zero
    law = fit(X, straight, floor=True)
    assert law.floor == 0 and law.exponent < 0


def test_a_fit_with_a_floor_is_never_worse_than_one_without():
    for seed in range(5):
        L = noisy(PowerLaw(-0.2, 20.0, 1.0), 0.01, seed)
        error = [((fit(X, L, floor)(X) / L - 1) ** 2).sum() for floor in (False, True)]
        assert error[1] <= error[0] * (1 + 1e-3)


def test_quantiles_of_students_t_are_those_of_the_tables():
    table = {(0.9, 1): 6.314, (0.9, 3): 2.353, (0.95, 2): 4.303, (0.99, 10): 3.169}
    assert {key: round(student(*key), 3) for key in table} == table


@pytest.mark.parametrize(("floor", "times"), [(False, 1000), (True, 100)])
def test_of_five_points_intervals_hold_the_truth_as_often_as_they_say(floor, times):
    truth, x, held = PowerLaw(-0.2, 20.0, 1.0 if floor else 0.0), X[:5], 0
    for seed in range(times):
        low, high = intervals(x, truth(x) * noise(0.003, 5, seed), floor)["exponent"]
        held += low <= truth.exponent <= high
    assert abs(held / times - 0.9) < 3 * (0.9 * 0.1 / times) ** 0.5


def test_the_floor_lies_in_its_interval_as_often_as_it_says():
    truth = PowerLaw(-0.3, 30.0, 2.0)
    found = [intervals(X, truth(X) * noise(0.001, 6, seed), floor=True)["floor"] for seed in range(60)]
    assert sum(low <= 2 <= high for low, high in found) > 0.8 * 60


def test_intervals_shrink_with_the_noise():
    truth = PowerLaw(-0.2, 20.0)
    spans = [intervals(X, noisy(truth, spread))["exponent"] for spread in (0.03, 0.003)]
    assert spans[1][1] - spans[1][0] < 0.2 * (spans[0][1] - spans[0][0])


def test_of_rival_laws_the_one_that_made_the_points_misses_least():
    power, straight = rival_misses(X, PowerLaw(-0.2, 20.0)(X)), rival_misses(X, 6 - 0.2 * np.log(X / X[0]))
    assert min(power, key=lambda name: abs(power[name])) in ("power law", "last two points")
    assert abs(power["power law"]) < 1e-9 < 1e-3 < abs(power["a - b log X"])
    assert abs(straight["a - b log X"]) < 1e-9 < 1e-3 < abs(straight["power law"])
    before, last = (6 - 0.2 * np.log(x / X[0]) for x in X[-2:])
    assert straight["no change"] == pytest.approx(before / last - 1)


def test_the_largest_is_predicted_from_the_rest():
    truth = PowerLaw(-0.3, 30.0, 2.0)
    exact = extrapolate(X, truth(X), floor=True)
    assert exact["predicted"] == pytest.approx(exact["measured"]) and abs(exact["miss"]) < 1e-6
    low = extrapolate(X, truth(X))  # a straight line on log-log undershoots what bends towards a floor
    assert low["miss"] < -0.005
    assert low["miss"] == pytest.approx(low["predicted"] / truth(X.max()) - 1)
    shuffled = np.random.default_rng(0).permutation(len(X))
    assert extrapolate(X[shuffled], truth(X)[shuffled]) == pytest.approx(low)


def test_the_lower_envelope_falls_and_lies_below_every_curve():
    rng = np.random.default_rng(0)
    cost, loss = rng.uniform(1, 100, 200), rng.uniform(1, 5, 200)
    best = lower_envelope(cost, loss)
    assert (np.diff(cost[best]) > 0).all() and (np.diff(loss[best]) < 0).all()
    for c, l in zip(cost, loss, strict=True):
        assert (loss[best][cost[best] <= c] <= l).any()


def test_of_equal_costs_the_lower_loss_is_on_the_envelope():
    assert lower_envelope([2, 1, 1, 2, 3], [3, 5, 4, 2, 2]).tolist() == [2, 3]
    assert lower_envelope([1], [1]).tolist() == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit([1, 2], [2, 1]), "at least 3 different values, got 2"),
        (lambda: fit([1, 2, 2], [3, 2, 1]), "at least 3 different values, got 2"),
        (lambda: fit([1, 2, 3], [3, 2, 1], floor=True), "at least 4 different values, got 3"),
        (lambda: scatter([1, 2], [2, 1]), "at least 3 different values, got 2"),
        (lambda: halves([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]), "at least 6 different values, got 5"),
        (lambda: extrapolate([1, 2, 3], [3, 2, 1]), "at least 4 different values, got 3"),
        (lambda: extrapolate([1, 2, 3, 4], [4, 3, 2, 1], floor=True), "at least 5 different values, got 4"),
        (lambda: fit([1, 2, 3], [3, 2]), r"lists of equal length, got shapes \(3,\) and \(2,\)"),
        (lambda: fit([0, 2, 3], [3, 2, 1]), "must be finite and positive"),
        (lambda: fit([1, 2, 3], [3, 2, float("nan")]), "must be finite and positive"),
        (lambda: intervals([1, 2, 3, 4], [4, 3, 2, 1], level=90), "level must lie between 0 and 1, got 90"),
        (lambda: lower_envelope([], []), "at least one, got shapes"),
    ],
)
def test_what_no_law_goes_through_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# A sweep's file


def run_of(name, kind="var", seed=0, **changes):
    config = asdict(MODELS[name].config) | changes
    points = [{"step": s, "images": 64 * s, "val_loss": 6 - s / 1000} for s in (150, 300)]
    return {"preset": name, "kind": kind, "depth": config["depth"], "seed": seed, "config": config, "curve": points}


def test_a_ladder_is_the_complete_models_of_the_first_seed_by_depth():
    names = ["fashion-var-d4", "fashion-var-d1", "fashion-var-d4-plain", "fashion-var-d4-unnormed"]
    runs = {name: run_of(name) for name in names} | {"fashion-var-d4@1": run_of("fashion-var-d4", seed=1)}
    runs["fashion-mvar-d2"] = run_of("fashion-mvar-d2", "mvar")
    assert [(depth, run["preset"]) for depth, run in ladder(runs).items()] == [(1, names[1]), (4, names[0])]
    assert list(ladder(runs, "mvar")) == [2] and config_of(runs["fashion-mvar-d2"]) == MODELS["fashion-mvar-d2"].config
    with pytest.raises(ValueError, match="kind: no run of kind 'raster' among fashion-var-d4"):
        ladder(runs, "raster")


def test_a_curve_counts_the_training_cost_of_the_images_so_far():
    C, L = curve(run_of("fashion-var-d2"))
    assert C.tolist() == [n * 64 * flops(MODELS["fashion-var-d2"].config, "training") for n in (150, 300)]
    assert L.tolist() == [5.85, 5.7]
