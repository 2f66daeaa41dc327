import json

import numpy as np
import pytest
import torch

from varlite.presets import SCALES_512
from varlite.scales import Scales

RECTANGULAR = ((1, 2), (2, 3), (4, 4))


def test_the_published_schedules_have_680_and_2240_tokens():
    assert Scales.of([1, 2, 3, 4, 5, 6, 8, 10, 13, 16]).total == 680
    assert Scales.of(SCALES_512).total == 2240


@pytest.mark.parametrize("sides", [(1, 2, 3, 5, 7), RECTANGULAR, (2, 2, 2)])
def test_spans_lengths_and_levels_describe_the_same_partition_of_the_tokens(sides):
    scales = Scales.of(sides)
    tokens = [t for start, end in scales.spans for t in range(start, end)]
    assert tokens == list(range(scales.total))
    assert [end - start for start, end in scales.spans] == list(scales.lengths) == [h * w for h, w in scales.shapes]
    levels = scales.levels().tolist()
    assert all(levels[start:end] == [k] * (end - start) for k, (start, end) in enumerate(scales.spans))
    assert (scales.K, scales.last) == (len(sides), scales.shapes[-1])


def test_the_mask_lets_a_token_see_its_own_scale_and_coarser_ones_only():
    mask_LL = Scales.of((1, 2, 3)).block_causal_mask()
    assert mask_LL.dtype == torch.bool
    assert mask_LL.sum(1).tolist() == [1] + [5] * 4 + [14] * 9
    assert torch.equal(mask_LL, torch.arange(14) < mask_LL.sum(1, keepdim=True))  # what is seen comes first


def test_split_cuts_a_sequence_into_its_scales_and_concatenation_restores_it():
    scales, x = Scales.of(RECTANGULAR), torch.randn(2, 24, 3)
    parts = scales.split(x)
    assert [part.shape[1] for part in parts] == [2, 6, 16]
    assert torch.equal(torch.cat(parts, 1), x)
    with pytest.raises(ValueError, match=r"expected 24 tokens on axis 1 .* got 23"):
        scales.split(x[:, 1:])
    for wrong in (None, [1, 2], torch.zeros(24), np.zeros((2, 24))):
        with pytest.raises(ValueError, match="expected 24 tokens"):
            scales.split(wrong)


@pytest.mark.parametrize("sides", [(1, 2, 5), RECTANGULAR])
def test_scales_survive_json_and_compare_by_value(sides):
    scales = Scales.of(sides)
    again = Scales.of(json.loads(json.dumps(scales.sides)))
    assert again == scales and hash(again) == hash(scales) and Scales.of(scales) is scales
    assert Scales.of(np.array([1, 2, 5])) == Scales.of((1, 2, 5))
    assert Scales.of((1, 2)).sides == [1, 2] and Scales.of(((1, 1), (2, 3))).sides == [1, [2, 3]]


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((0, 1), "positive integer or a pair of them, got \\(0, 0\\)"),
        ((1, -2), "positive"),
        ((1, (2, 2.5)), "positive"),
        ((1, (2, 3, 4)), "pair"),
        ((1, 3, 2), "grow from coarse to fine, got \\(3, 3\\) before \\(2, 2\\)"),
        (((2, 1), (1, 4)), "grow"),
        ((), "at least one scale is needed, got none"),
        (None, "each side must be .* got None"),
        (3, "each side must be .* got 3"),
        ("1,2,3", "each side must be .* got '1,2,3'"),
        ((1, None), "each side"),
        ((1.0, 2.0), "each side"),
        ((1, float("nan")), "each side"),
        ((1, ()), "each side"),
        (np.array([1.5, 2]), r"each side must be .* got ndarray of shape \(2,\)"),
        (torch.tensor([1.0]), "each side"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(sides, message):
    with pytest.raises(ValueError, match=message):
        Scales.of(sides)
