import pytest
import torch

from varlite.evaluation.judges.intervals import jackknife_interval, quantile, shuffled, t_interval
from varlite.evaluation.statistics import frechet_distance, statistics


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "level, freedom, value", [(0.95, 1, 12.7062), (0.95, 4, 2.7764), (0.95, 9, 2.2622), (0.9, 4, 2.1318)]
)
def test_quantiles_of_student_are_those_of_the_tables(level, freedom, value):
    assert quantile(level, freedom) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_intervals_over_five_seeds_hold_their_level(level):
    intervals = [t_interval(normal(5, seed=i).tolist(), level) for i in range(1000)]
    covered = sum(i.low <= 0 <= i.high for i in intervals) / len(intervals)
    assert level - 0.025 < covered < level + 0.025


def test_the_jackknife_of_a_mean_holds_its_level():
    trials = [jackknife_interval(lambda x: x.mean().item(), normal(200, 1, seed=i)) for i in range(400)]
    assert 0.92 < sum(i.low <= 0 <= i.high for i in trials) / len(trials) < 0.98


def test_the_jackknife_of_a_distance_is_as_wide_as_distances_lie():
    real = statistics(normal(4000, 5, seed=10**6))

    def score(rows):
        return frechet_distance(statistics(rows), real)

    found = [jackknife_interval(score, normal(500, 5, seed=i) + 0.3) for i in range(60)]
    spread = torch.tensor([i.value for i in found]).std().item()
    widths = sum(i.half for i in found) / len(found)
    assert 0.75 < widths / (quantile(0.95, 9) * spread) < 1.25


def test_the_value_is_the_score_of_all_rows_and_the_interval_is_the_same_again():
    rows = normal(100, 3, seed=1)
    first, again = (jackknife_interval(lambda x: x.std().item(), rows) for _ in range(2))
    assert first == again and first.value == rows.std().item() and first.low < first.value < first.high


def test_parts_do_not_follow_the_order_of_classes():
    assert torch.equal(shuffled(50).sort().values, torch.arange(50)) and not torch.equal(shuffled(50), torch.arange(50))


@pytest.mark.parametrize("values, level", [([1.0], 0.95), ([1.0, 2.0], 1.0)])
def test_one_value_or_an_impossible_level_is_refused(values, level):
    with pytest.raises(ValueError, match=r"takes at least two, got 1|must be between 0 and 1, got 1"):
        t_interval(values, level)


def test_too_few_rows_for_the_groups_are_refused():
    with pytest.raises(ValueError, match="two rows or more in each, got 10 of 19 rows"):
        jackknife_interval(lambda x: 0.0, torch.zeros(19, 1))
