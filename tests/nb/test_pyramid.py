import pytest
import torch
from examples import lively, lively_raster, one_scale_tokenizer, tokenizer_for

import varlite
from varlite.nb.pyramid import alternatives, changed, likeliest, redraw, sample_pyramid, swap


@pytest.fixture(scope="module")
def sample(model, tokenizer):
    return sample_pyramid(model, tokenizer, label=3, seed=5)


def same(a, b):
    """Of each scale: whether tokens and picture are equal bit for bit."""
    pairs = zip(a.idx, b.idx, a.images, b.images, strict=True)
    return [torch.equal(x, y) and torch.equal(seen, now) for x, y, seen, now in pairs]


def test_the_sample_is_the_first_that_generate_draws_of_the_class(sample, model, tokenizer):
    assert torch.equal(sample.images[-1], varlite.generate(model, tokenizer, [3], seeds=5)[0])
    assert [len(idx_l) for idx_l in sample.idx] == list(sample.scales.lengths) and sample.seeds == (5,) * 4
    with torch.no_grad():
        decoded = [(tokenizer.decode([x[None] for x in sample.idx[: k + 1]])[0] + 1) / 2 for k in range(4)]
    torch.testing.assert_close(list(sample.images), decoded)


def test_its_probabilities_are_those_of_the_draw_after_guidance_and_filters(model, tokenizer):
    steps = []
    varlite.generate(model, tokenizer, [3], seeds=5, top_k=4, on_scale=steps.append)
    found = sample_pyramid(model, tokenizer, 3, 5, top_k=4)
    for p_lV, step, idx_l in zip(found.p, steps, found.idx, strict=True):
        assert torch.equal(p_lV, step.logits_BlV[0].softmax(-1)) and torch.equal(idx_l, step.idx_Bl[0])
        assert ((p_lV > 0).sum(-1) <= 4).all() and (p_lV[range(len(idx_l)), idx_l] > 0).all()


def test_a_token_looks_at_its_own_scale_and_coarser_ones_with_all_of_its_attention(sample):
    assert sample.attention_DLL.shape == (2, sample.scales.total, sample.scales.total)
    torch.testing.assert_close(sample.attention_DLL.sum(-1), torch.ones(2, sample.scales.total))
    assert not sample.attention_DLL[:, ~sample.scales.block_causal_mask()].any()


@pytest.mark.parametrize("from_k", range(4))
def test_what_is_coarser_stays_bit_for_bit_and_what_is_finer_is_drawn_again(sample, model, tokenizer, from_k):
    again = redraw(model, tokenizer, sample, from_k, seed=6)
    assert same(sample, again)[:from_k] == [True] * from_k and not torch.equal(again.idx[-1], sample.idx[-1])
    assert again.seeds == (5,) * from_k + (6,) * (4 - from_k)
    assert all(same(redraw(model, tokenizer, again, from_k, seed=5), sample))  # the seed gives it back
    if from_k == 0:
        assert torch.equal(again.images[-1], varlite.generate(model, tokenizer, [3], seeds=6)[0])


def test_a_swap_changes_one_token_and_finer_scales_alone(sample, model, tokenizer):
    code = (int(sample.idx[1][2]) + 1) % 32
    other = swap(model, tokenizer, sample, 1, 2, code)
    assert same(sample, other)[0] and other.idx[1][2] == code and other.seeds == sample.seeds
    counts = changed(sample, other)
    assert counts[:2] == [(0, 1), (1, 4)] and counts[2][0] + counts[3][0] > 0
    assert not torch.equal(other.images[1], sample.images[1])
    assert all(same(swap(model, tokenizer, other, 1, 2, int(sample.idx[1][2])), sample))  # and back


def test_a_swap_keeps_the_seeds_that_scales_were_drawn_again_with(sample, model, tokenizer):
    again = redraw(model, tokenizer, sample, 2, seed=6)
    there_and_back = swap(model, tokenizer, swap(model, tokenizer, again, 0, 0, 1), 0, 0, int(sample.idx[0][0]))
    assert all(same(there_and_back, again))


def test_the_likeliest_codes_are_in_order_and_all_of_them_sum_to_one(sample):
    five = likeliest(sample, 2, 4)
    chances = [p for _, p in five]
    assert len(dict(five)) == 5 and chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1
    assert five[0] == (int(sample.p[2][4].argmax()), pytest.approx(sample.p[2][4].max().item()))
    everything = likeliest(sample, 2, 4, 10**6)
    assert everything[:5] == five and sum(p for _, p in everything) == pytest.approx(1)


def test_the_pictures_of_the_alternatives_are_those_of_the_swaps(sample, model, tokenizer):
    found = alternatives(model, tokenizer, sample, 1, 3)
    assert [(one.code, one.p) for one in found[:5]] == likeliest(sample, 1, 3)
    assert int(sample.idx[1][3]) in [one.code for one in found]  # the token's own, likely or not
    for one in found:
        swapped = swap(model, tokenizer, sample, 1, 3, one.code)
        torch.testing.assert_close(one.after, swapped.images[1])
        torch.testing.assert_close(one.end, swapped.images[-1])


def test_a_model_with_attention_within_scales_can_be_taken_apart_too():
    mvar = lively("mvar")
    sample = sample_pyramid(mvar, tokenizer_for(mvar), 1, cfg=0)
    level_L = sample.scales.levels()
    assert not sample.attention_DLL[:, level_L[:, None] != level_L].any()


def test_what_is_not_there_is_refused(sample, model, tokenizer):
    with pytest.raises(ValueError, match="from_k must be a scale from 0 to 3, got 4"):
        redraw(model, tokenizer, sample, 4, 1)
    with pytest.raises(ValueError, match=r"place must lie in 0 .. 3 at scale 1, got 4"):
        likeliest(sample, 1, 4)
    with pytest.raises(ValueError, match=r"code must lie in 0 .. 31, got 32"):
        swap(model, tokenizer, sample, 1, 0, 32)
    with pytest.raises(ValueError, match="seed must be an integer"):
        sample_pyramid(model, tokenizer, 1, seed=0.5)
    with pytest.raises(ValueError, match="models that draw one scale a step"):
        sample_pyramid(lively_raster(), one_scale_tokenizer(), 1)
