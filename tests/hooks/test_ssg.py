"""SSG: what scale k says beyond its enlarged predecessor is exaggerated, and nothing else changes."""

import examples
import pytest
import torch

from varlite.drawing import Step
from varlite.hooks.ssg import SSG, cosines, enlarge, ssg_for
from varlite.sampling import generate

SHAPES = [((1, 1), (2, 2)), ((2, 3), (3, 5)), ((5, 5), (7, 7)), ((3, 3), (3, 3))]


def step(k, logits_BlV, tokenizer):
    return Step(k, tokenizer.scales, tokenizer, logits_BlV, tokenizer.empty(len(logits_BlV)))


def test_the_cosine_transform_keeps_lengths_and_has_the_mean_first():
    for n in (1, 2, 7):
        assert torch.allclose(cosines(n) @ cosines(n).T, torch.eye(n).double(), atol=1e-12)
        assert cosines(n)[0].tolist() == pytest.approx([n**-0.5] * n)


@pytest.mark.parametrize("old, new", SHAPES)
def test_an_enlarged_map_keeps_every_frequency_that_the_coarse_one_has(old, new):
    x = torch.randn(2, old[0] * old[1], 5, generator=torch.Generator().manual_seed(0)).double()
    wide = enlarge(x, old, new).transpose(1, 2).unflatten(2, new)
    coarse = x.transpose(1, 2).unflatten(2, old)
    found = (cosines(new[0]) @ wide @ cosines(new[1]).T)[..., : old[0], : old[1]]
    wanted = cosines(old[0]) @ coarse @ cosines(old[1]).T * (new[0] * new[1] / (old[0] * old[1])) ** 0.5
    assert torch.allclose(found, wanted)
    assert torch.allclose(enlarge(torch.ones_like(x), old, new), torch.ones(2, new[0] * new[1], 5).double())


def test_half_precision_around_it_does_not_round_an_enlarged_map():
    x = torch.randn(2, 9, 5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = enlarge(x, (3, 3), (5, 5))
    torch.testing.assert_close(rounded, enlarge(x, (3, 3), (5, 5)))


def test_logits_are_moved_away_from_those_of_the_scale_before_and_the_first_stay():
    tokenizer, hook = examples.tiny_tokenizer(), SSG(0.5)
    logits = [torch.randn(2, l, 32, generator=torch.Generator().manual_seed(l)) for l in tokenizer.scales.lengths]
    for _ in range(2):  # a second batch begins anew
        for k, given in enumerate(logits):
            hook(now := step(k, given, tokenizer))
            if k == 0:
                assert torch.equal(now.logits_BlV, given)
            else:
                prior = enlarge(logits[k - 1], *tokenizer.scales.shapes[k - 1 : k + 1])
                assert torch.allclose(now.logits_BlV, given + 0.5 * (given - prior), atol=1e-5)


def test_no_strength_is_plain_sampling_and_more_gives_other_pictures():
    model, tokenizer = examples.lively_var(), examples.tiny_tokenizer()
    plain, none, some = (
        generate(model, tokenizer, [1, 2], generator=torch.Generator().manual_seed(3), on_logits=hook)
        for hook in (None, SSG(0), SSG(0.6))
    )
    assert torch.equal(plain, none) and not torch.equal(plain, some)


def test_the_hook_by_itself_refuses_a_model_of_one_scale():
    raster = examples.lively_raster()
    with pytest.raises(ValueError, match="ssg: it moves away from the scale before, and this model has one scale"):
        generate(raster, examples.one_scale_tokenizer(), [1], on_logits=SSG(2.0))


def test_a_wrong_strength_and_a_model_of_one_scale_are_refused():
    assert ssg_for(examples.tiny_var(), 0) is None and isinstance(ssg_for(examples.tiny_var(), 0.3), SSG)
    for strength in (-0.1, float("inf"), float("nan"), "much"):
        with pytest.raises(ValueError, match=r"ssg must be 0 \(off\) or more"):
            SSG(strength)
    with pytest.raises(ValueError, match="ssg: it moves away from the scale before, and Raster has one scale"):
        ssg_for(examples.lively_raster(), 0.3)
