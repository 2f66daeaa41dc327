from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from examples import (
    LABELS,
    SCHEDULES,
    SIDES,
    lively_var,
    random_inputs,
    random_tokens,
    tiny_images,
    tiny_tokenizer,
    tiny_var,
)

from varlite.models import MVAR, MVARConfig
from varlite.nb import attention_recording as attention
from varlite.presets import SCALES_512
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import TokenizerConfig

PUBLISHED = Scales.of(TokenizerConfig().scales)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def recorded(model, x_BLZ):
    with torch.no_grad(), attention.record_attention(model) as calls:
        logits = model(x_BLZ, LABELS)
    return calls, logits


def gap(model, calls):
    pairs = [(model.get_submodule(name), call) for name, of_layer in calls.items() for call in of_layer]
    return max((attention.unfused_output(layer, call) - call.output).abs().max().item() for layer, call in pairs)


@pytest.mark.parametrize("sides", SCHEDULES, ids=str)
@pytest.mark.parametrize("attn_norm", [True, False])
def test_recorded_weights_times_values_are_the_fused_output(sides, attn_norm):
    model = lively_var(scales=sides, attn_norm=attn_norm)
    calls, _ = recorded(model, random_inputs(model))
    assert list(calls) == ["blocks.0.attn", "blocks.1.attn"] and all(len(c) == 1 for c in calls.values())
    assert gap(model, calls) < 1e-5
    weights_BNLL = attention.join(calls["blocks.1.attn"])
    torch.testing.assert_close(weights_BNLL.sum(-1), torch.ones_like(weights_BNLL[..., 0]))
    assert not weights_BNLL[..., ~model.scales.block_causal_mask()].any()


def test_recording_changes_no_output_and_leaves_no_hook_behind():
    model = lively_var()
    x_BLZ = random_inputs(model)
    plain = model(x_BLZ, LABELS)
    with pytest.raises(RuntimeError), attention.record_attention(model) as calls:
        assert torch.equal(model(x_BLZ, LABELS), plain)
        raise RuntimeError
    assert not any(module._forward_hooks for module in model.modules())
    model(x_BLZ, LABELS)
    assert [len(c) for c in calls.values()] == [1, 1]


def test_what_another_thread_draws_with_the_same_model_is_not_recorded():
    model, tokenizer = lively_var(), tiny_tokenizer()
    with attention.record_attention(model) as calls:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(generate, model, tokenizer, [1], seeds=0).result()
        assert not any(calls.values())
        generate(model, tokenizer, [1], seeds=0)
    assert all(len(of_layer) == model.scales.K for of_layer in calls.values())


@pytest.mark.parametrize("sides", SCHEDULES, ids=str)
def test_the_strips_of_incremental_sampling_join_to_the_matrix_of_the_single_pass(sides):
    model = lively_var(scales=sides)
    x_BLZ, scales = random_inputs(model), model.scales
    whole, _ = recorded(model, x_BLZ)
    x, cache = [None, *x_BLZ.split(scales.lengths[1:], 1)], model.make_cache()
    with torch.no_grad(), attention.record_attention(model) as calls:
        for k in range(scales.K):
            model.step(x[k], LABELS, k, cache)
    ends = [end for _, end in scales.spans]
    shapes = [tuple(call.weights_BNln.shape[2:]) for call in calls["blocks.0.attn"]]
    assert shapes == list(zip(scales.lengths, ends, strict=True))
    assert gap(model, calls) < 1e-5
    for name in whole:
        torch.testing.assert_close(attention.join(calls[name]), attention.join(whole[name]))


def test_generate_can_be_recorded_with_both_branches_of_guidance():
    model, tokenizer = tiny_var(), tiny_tokenizer()
    with attention.record_attention(model) as calls:
        generate(model, tokenizer, [1, 2, 3])
    assert gap(model, calls) < 1e-5
    assert attention.join(calls["blocks.0.attn"]).shape == (6, 2, model.scales.total, model.scales.total)


def test_mvar_joins_to_a_block_diagonal_in_both_forms():
    config = MVARConfig(depth=2, width=64, heads=2, classes=10, vocab=32, z=8, scales=SIDES)
    model = MVAR(config).eval()
    calls, _ = recorded(model, random_inputs(model))
    weights_BNLL, level_L = attention.join(calls["blocks.1.attn"]), model.scales.levels()
    own_LL = level_L[:, None] == level_L
    assert (weights_BNLL[..., own_LL] > 0).all() and not weights_BNLL[..., ~own_LL].any()
    mass_KK = attention.mass_between_scales(weights_BNLL, model.scales)
    torch.testing.assert_close(mass_KK, torch.eye(model.scales.K))


def test_the_encoders_attention_is_recorded_in_every_layer():
    tokenizer = tiny_tokenizer()
    with torch.no_grad(), attention.record_attention(tokenizer.encoder) as calls:
        tokenizer.encode(tiny_images())
    assert list(calls) == ["levels.1.attentions.0", "middle.1"]
    assert calls["middle.1"][0].weights_BNln.shape == (2, 1, 25, 25)
    assert gap(tokenizer.encoder, calls) < 1e-5


def test_a_model_without_attention_is_refused_by_name():
    with (
        pytest.raises(ValueError, match="Linear has no attention layer"),
        attention.record_attention(torch.nn.Linear(1, 1)),
    ):
        pass


def test_mass_between_scales_sums_over_keys_and_averages_over_everything_else():
    scales = Scales.of((1, 2))
    weights_BLL = torch.rand(3, 5, 5)
    mass_KK = attention.mass_between_scales(weights_BLL, scales)
    torch.testing.assert_close(mass_KK[1, 0], weights_BLL[:, 1:, 0].mean())
    torch.testing.assert_close(mass_KK[1, 1], weights_BLL[:, 1:, 1:].sum(-1).mean())
    torch.testing.assert_close(attention.mass_between_scales(weights_BLL[None], scales), mass_KK)
    torch.testing.assert_close(attention.mass_between_scales(weights_BLL[0], scales)[0, 0], weights_BLL[0, 0, 0])
    with pytest.raises(ValueError, match=r"must end in \(5, 5\), got \(3, 5, 4\)"):
        attention.mass_between_scales(weights_BLL[..., :4], scales)


@pytest.mark.parametrize(
    "scales, dense, visible", [(PUBLISHED, 0.239, 0.386), (Scales.of(SCALES_512), 0.303, 0.465)], ids=["256", "512"]
)
def test_the_share_of_pairs_within_scales_is_that_of_the_mask_and_of_the_derived_figures(scales, dense, visible):
    cost, level_L, mask_LL = attention.cost(scales), scales.levels(), scales.block_causal_mask()
    assert cost.intra == (level_L[:, None] == level_L).sum()
    assert cost.intra + cost.inter == mask_LL.sum() and cost.hidden == (~mask_LL).sum()
    assert (round(cost.of_dense, 3), round(cost.of_visible, 3)) == (dense, visible)


def test_the_intra_share_counts_every_token_the_same():
    scales = Scales.of((1, 2))
    mass_KK = torch.tensor([[1.0, 0.0], [0.75, 0.25]])
    assert attention.intra_share(mass_KK, scales) == pytest.approx((1 * 1 + 4 * 0.25) / 5)
    assert attention.uniform_intra_share(scales) == pytest.approx((1 + 4 * 4 / 5) / 5)


def test_even_attention_puts_just_under_half_on_later_positions_and_causal_attention_none():
    assert attention.mass_on_later(torch.full((2, 10, 10), 0.1)) == pytest.approx(0.45)
    assert attention.mass_on_later(torch.ones(10, 10).tril()) == 0


def test_the_receptive_field_is_the_gradient_of_the_log_probability():
    model, tokenizer = lively_var(), tiny_tokenizer()
    idx, token = random_tokens(SIDES, batch=1), 7
    x_BLZ = tokenizer.inputs(idx).detach()

    def log_p(x):
        logits_LV = model(x, LABELS[:1])[0].double()
        return -F.cross_entropy(logits_LV[token], torch.cat(idx, 1)[0, token]).item()

    by_input, _ = attention.receptive_field(model, tokenizer, idx, int(LABELS[0]), slice(token, token + 1))
    # The step along the gradient of the position vector of another token changes log p by its squared norm.
    other, eps = 3, 1e-2
    with torch.no_grad():
        before = log_p(x_BLZ)
        direction = torch.randn(64)
        model.pos_LC[other] += eps * direction / direction.norm()
        change = abs(log_p(x_BLZ) - before) / eps
    assert 0 < change <= by_input[1].flatten()[other - 1].item() * 1.05


@pytest.mark.parametrize("sides", SCHEDULES, ids=str)
def test_predictions_depend_on_inputs_of_their_own_scale_but_only_on_coarser_codes(sides):
    model, tokenizer = lively_var(scales=sides), tiny_tokenizer(scales=sides)
    idx, scales = random_tokens(sides, batch=1), model.scales
    for k in range(scales.K):
        maps = attention.receptive_field(model, tokenizer, idx, 3, slice(*scales.spans[k]))
        reached = [[bool(m.any()) for m in of] for of in maps]
        assert reached[0] == [j <= k for j in range(scales.K)]
        assert reached[1] == [j < k for j in range(scales.K)]
        assert [m.shape for m in maps[0]] == [m.shape for m in maps[1]] == [torch.Size(s) for s in scales.shapes]
