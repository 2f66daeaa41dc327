"""Exercises of notebook 01: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch

from varlite.nb.exercises import lesson_01 as lesson
from varlite.nb.exercises import verdict

PAIRS = {6.23: "right.", 0.1605: "over next scale's", 102.4: "compares steps", 3_269_850: "Divide", 9: "too large"}
POWERS = {6: "right.", 5.9: "right.", 4: "sides that double", 3: "number of tokens", 2: "too small"}


@pytest.mark.parametrize("times", PAIRS)
def test_pairs_are_compared_with_a_cache(times):
    assert PAIRS[times] in verdict("01.1", times)


@pytest.mark.parametrize("power", POWERS)
def test_the_power_is_that_of_pairs_over_all_sides(power):
    assert POWERS[power] in verdict("01.2", power)


def logits(shift=0, open_to=0):
    """The function, with its two mistakes to choose from."""

    def mended(idx_Bl, label_B):
        raster, tokenizer = lesson.loaded("fashion-raster-d4")
        cond_BD, l = raster.class_embed(label_B), idx_Bl.shape[1]
        shifted_BlC = raster.token_embed(tokenizer.embed(idx_Bl[:, shift : l - 1 + shift]))
        x_BlC = torch.cat((cond_BD[:, None] + raster.pos_start, shifted_BlC), 1)
        x_BlC = x_BlC + raster.pos_LC + raster.level_embed.weight
        for block in raster.blocks:
            x_BlC = block(x_BlC, cond_BD, mask=torch.ones(l, l, dtype=torch.bool).tril(open_to))
        return raster.head(x_BlC, cond_BD)

    return mended


def test_logits_are_judged_by_places_and_by_leaks():
    assert verdict("01.3", logits()).startswith("right.")
    assert "1 of 49 places agree" in verdict("01.3", logits(shift=1))
    assert "leak" in verdict("01.3", logits(shift=1, open_to=1))
    assert "shape (4, 49, 512)" in verdict("01.3", lambda idx_Bl, label_B: logits()(idx_Bl, label_B)[:, :5])


def hook(after=0, empty=False):
    def put_back(real, k):
        def on_scale(step):
            if step.k < k + after:
                step.h_BlZ = lesson.loaded("fashion-var-d4")[1].embed(real[step.k])

        return None if empty else on_scale

    return put_back


def test_a_hook_is_judged_by_the_vectors_that_are_passed_on(monkeypatch):
    monkeypatch.setattr(lesson, "recognised", lambda k: k / 10)
    assert verdict("01.4", hook()).endswith("0% with 0, 10% with 1, 20% with 2, 30% with 3 real maps.")
    assert "at 3 x 3 are no longer those that were drawn" in verdict("01.4", hook(after=1))
    assert "at 2 x 2 are not those of the real tokens" in verdict("01.4", hook(after=-1))
    assert "returns nothing" in verdict("01.4", hook(empty=True))
