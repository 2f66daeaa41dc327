"""Drafting: the coarse scales are the large model's, the fine ones the small model's."""

import examples
import pytest
import torch

from varlite.hooks.drafting import Drafting
from varlite.sampling import generate

LABELS = [1, 2, 3]


def tokens(model, tokenizer, hook=None, **settings):
    drawn = []
    generate(
        model, tokenizer, LABELS, generator=torch.Generator().manual_seed(0), on_logits=hook,
        on_scale=lambda step: drawn.append(step.idx_Bl), **settings,
    )  # fmt: skip
    return drawn


@pytest.fixture(scope="module")
def models():
    return examples.lively_var(seed=1, depth=3), examples.lively_var(seed=2), examples.tiny_tokenizer()


@pytest.mark.parametrize("steps", range(5))
def test_the_drafter_draws_the_first_scales_and_no_others(models, steps):
    large, small, tokenizer = models
    drafted = tokens(small, tokenizer, Drafting(large, LABELS, steps, cfg=2.0), cfg=2.0)
    alone = tokens(large, tokenizer, cfg=2.0)
    assert all(torch.equal(a, b) for a, b in zip(drafted[:steps], alone[:steps], strict=True))
    refined = []

    def put_draft_in(step):
        """The small model alone, made to draw the draft: its own logits decide the rest."""
        if step.k < steps:
            step.logits_BlV = torch.full_like(step.logits_BlV, -torch.inf).scatter(-1, drafted[step.k][..., None], 0)
        else:
            refined.append(step.logits_BlV)

    seen = []
    tokens(small, tokenizer, put_draft_in, cfg=2.0)
    hook = Drafting(large, LABELS, steps, cfg=2.0)
    tokens(small, tokenizer, lambda step: (hook(step), seen.append(step.logits_BlV) if step.k >= steps else None),
           cfg=2.0)  # fmt: skip
    assert len(refined) == len(seen) == 4 - steps
    if refined:
        assert torch.allclose(refined[0], seen[0], atol=1e-5)


def test_a_model_that_drafts_for_itself_draws_what_it_would_alone(models):
    large, _, tokenizer = models
    drafted, alone = tokens(large, tokenizer, Drafting(large, LABELS, 4)), tokens(large, tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(drafted, alone, strict=True))


def test_models_that_do_not_fit_are_refused(models):
    large, small, tokenizer = models
    for steps, message in ((5, "steps must be at most the 4 scales"), (-1, "steps must be")):
        with pytest.raises(ValueError, match=message):
            Drafting(large, LABELS, steps)
    with pytest.raises(ValueError, match="steps must be at most the 1 scales of a drafter of several"):
        Drafting(examples.lively_raster(), LABELS, 1)
    with pytest.raises(ValueError, match="labels must lie in 0"):
        Drafting(large, [11], 1)
    with pytest.raises(ValueError, match="labels: the hook was made for 2 of them, and 3 images are drawn"):
        tokens(small, tokenizer, Drafting(large, LABELS[:2], 1))
    other = examples.lively_var(scales=[1, 2, 4, 5])
    with pytest.raises(ValueError, match="drafter: both models must have the same scales and the same codebook"):
        tokens(small, tokenizer, Drafting(other, LABELS, 1))
