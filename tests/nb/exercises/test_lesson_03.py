"""Exercises of notebook 03: wrong attempts are told from right ones. The solutions are run by nbval."""

import math

import pytest
import torch

from varlite.nb.exercises import lesson_03 as lesson
from varlite.nb.exercises import verdict

SCALES = lesson.shipped()[0].scales


SAID = {
    5434: "right.", 3916: "triangle", 7744: "every cell", 3124: "coarser scales", 2310: "own scale", 5000: "too small",
}  # fmt: skip


@pytest.mark.parametrize("pairs", SAID)
def test_pairs_are_counted(pairs):
    assert SAID[pairs] in verdict("03.1", pairs)


def test_the_first_loss_is_a_natural_logarithm():
    assert verdict("03.2", 6.238).startswith("right.")
    assert "in bits" in verdict("03.2", 9)
    assert "number of codes" in verdict("03.2", 512)
    assert "6.2" not in verdict("03.2", 7)


def folded(weights, add=True):
    level_KC = weights["level_embed.weight"]
    positions = weights["pos_LC"] + level_KC[SCALES.levels()] if add else weights["pos_LC"]
    return weights | {"pos_LC": positions, "level_embed.weight": torch.zeros_like(level_KC)}


def test_folding_must_leave_no_level_embedding_and_change_no_logit():
    assert verdict("03.3", folded).startswith("right.")
    assert "not zero" in verdict("03.3", lambda weights: dict(weights))
    assert "logits changed" in verdict("03.3", lambda weights: folded(weights, add=False))
    assert "pos_LC is missing" in verdict("03.3", lambda weights: {k: w for k, w in weights.items() if k != "pos_LC"})


def sampler(turned=False, forgetful=False, from_zero=False):
    """The loop, with the mistakes of exercise 4 to choose from."""

    @torch.no_grad()
    def sample(model, label_B, cfg, generator):
        tokenizer = lesson.shipped()[1]
        both_B = torch.cat((label_B, torch.full_like(label_B, model.class_embed.null)))
        f_hat, x, cache, maps = tokenizer.empty(len(label_B)), None, model.make_cache(), []
        for k in range(SCALES.K):
            cache = model.make_cache() if forgetful else cache
            with_BlV, without_BlV = model.step(x, both_B, k, cache).chunk(2)
            if turned:
                with_BlV, without_BlV = without_BlV, with_BlV
            t = cfg * k / (SCALES.K - 1)
            p_BlV = ((1 + t) * with_BlV - t * without_BlV).softmax(-1)
            maps.append(torch.multinomial(p_BlV.flatten(0, 1), 1, generator=generator).view(p_BlV.shape[:2]))
            if k < SCALES.K - 1:
                start = torch.zeros_like(f_hat) if from_zero else f_hat
                f_hat = tokenizer.accumulate(start, tokenizer.embed(maps[k]), k)
                x = tokenizer.next_input(f_hat, k).repeat(2, 1, 1)
        return maps

    return sample


def test_the_sampler_is_judged_by_how_far_its_tokens_agree():
    assert verdict("03.4", sampler()).startswith("right.")
    assert "At 1 x 1, " in verdict("03.4", sampler(turned=True))
    assert verdict("03.4", sampler(forgetful=True)).startswith("not yet. Up to 1 x 1 all tokens agree")
    assert verdict("03.4", sampler(from_zero=True)).startswith("not yet. Up to 2 x 2 all tokens agree")
    assert "list of 5 token maps" in verdict("03.4", lambda *_: torch.zeros(4))


def test_a_classifier_that_does_not_ask_the_model_is_not_enough():
    _, label_B = lesson.encoded()
    assert verdict("03.5", lambda *_: label_B).startswith("right.")
    assert "recognises" in verdict("03.5", lambda *_: torch.zeros_like(label_B))
    assert "100 classes" in verdict("03.5", lambda *_: label_B[:5])
    assert "whole numbers" in verdict("03.5", lambda *_: label_B / math.pi)
