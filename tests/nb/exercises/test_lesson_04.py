"""Exercises of notebook 04: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch

from varlite.nb.exercises import lesson_04 as lesson
from varlite.nb.exercises import verdict

SHARES = {
    0.3765: "right.",
    0.604: "over the coarser ones",
    0.6235: "coarser scales",
    37.65: "Per cent?",
    0.2388: "hidden",
}


@pytest.mark.parametrize("share", SHARES)
def test_shares_are_of_all_that_a_token_sees(share):
    assert SHARES[share] in verdict("04.1", share)


def test_the_nearest_head_is_told_from_the_farthest_and_from_the_mean():
    found_DN = lesson.distances()
    assert verdict("04.2", found_DN.min()).startswith("right.")
    assert "farthest" in verdict("04.2", found_DN.max().item())
    assert "mean over all heads" in verdict("04.2", found_DN.mean().item())


def recorder(turned=False, scaled=True, axis=-1):
    """The function, with its three mistakes to choose from."""

    def mended(layer, x_BlC, mask_ll):
        q, k, _, scale = layer.project(x_BlC)
        logits = q @ k.mT * (scale if scaled else 0.1)
        return logits.masked_fill(mask_ll if turned else ~mask_ll, -torch.inf).softmax(axis)

    return mended


def test_a_recorder_is_told_which_of_its_sums_or_looks_are_wrong():
    assert verdict("04.3", recorder()).startswith("right.")
    assert "no numbers" in verdict("04.3", recorder(turned=True))
    assert "add up to 1" in verdict("04.3", recorder(axis=-2))
    assert "too even" in verdict("04.3", recorder(scaled=False))
    assert "forbids" in verdict("04.3", lambda layer, x, mask: torch.full((2, 4, 88, 88), 1 / 88))


def by_gap(most, least=0):
    def mask(scales):
        gap_LL = scales.levels()[:, None] - scales.levels()
        return (gap_LL >= least) & (gap_LL <= most)

    return mask


def test_a_markov_mask_has_its_own_scale_and_the_one_before(monkeypatch):
    monkeypatch.setattr(lesson, "PICTURES", 2)
    assert verdict("04.4", by_gap(1)).startswith("right.")
    assert "between the scales 2 and 1, 3 and 2, 4 and 3" in verdict("04.4", by_gap(0))
    assert "between the scales 3 and 1" in verdict("04.4", by_gap(2))
    assert "see themselves" in verdict("04.4", by_gap(1, least=1))
    assert "closes" in verdict("04.4", by_gap(1, least=-1))
    assert "shape (88, 88)" in verdict("04.4", lambda scales: torch.ones(5, 5))


def test_a_lean_mask_is_judged_by_its_cells_and_by_the_loss(monkeypatch):
    rises = {3124: 0.2, 4614: 0.05}
    monkeypatch.setattr(lesson, "loss", lambda mask_LL: rises[int(mask_LL.sum())])
    monkeypatch.setattr(lesson, "usual_loss", lambda: 0.0)
    assert "opens 85% of the cells" in verdict("04.5", by_gap(1))
    assert "rises by 0.20" in verdict("04.5", by_gap(0))
    monkeypatch.setattr(lesson, "MOST_CELLS", 0.9)
    assert verdict("04.5", by_gap(1)).startswith("right.")
