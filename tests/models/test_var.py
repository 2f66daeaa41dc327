import copy
import math

import pytest
import torch
import torch.nn.functional as F
from examples import (
    LABELS,
    SIDES,
    lively_var,
    random_inputs,
    random_tokens,
    tiny_tokenizer,
    tiny_var,
    var_config,
)

from varlite.models import VAR
from varlite.scales import Scales

KINDS = [{}, {"attn_norm": False}, {"shared_adaln": True}, {"adaln": False}]


def step_by_step(model, x_BLZ, labels, scales=None):
    scales = scales or model.scales
    cache, parts = model.make_cache(scales), [None, *x_BLZ.split(scales.lengths[1:], 1)]
    return torch.cat([model.step(part, labels, k, cache, scales) for k, part in enumerate(parts)], 1)


def test_drop_path_rises_linearly_over_the_blocks_and_acts_in_training_alone():
    model = lively_var(depth=5, drop_path=0.4)
    x_BLZ = random_inputs(model)
    assert [block.drop_path for block in model.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert torch.equal(model(x_BLZ, LABELS), model(x_BLZ, LABELS))
    model.train()
    assert not torch.equal(model(x_BLZ, LABELS), model(x_BLZ, LABELS))


def test_a_tenth_of_the_labels_is_dropped(monkeypatch):
    model, seen = tiny_var(), []
    monkeypatch.setattr(VAR, "forward", lambda self, x, label_B: seen.append(label_B) or torch.zeros(20_000, 39, 32))
    monkeypatch.setattr("varlite.tokenizer.VQVAE.inputs", lambda *_: None)
    idx = [torch.zeros(20_000, length, dtype=torch.long) for length in model.scales.lengths]
    model.train().loss(tiny_tokenizer(), idx, torch.zeros(20_000, dtype=torch.long))
    assert set(seen[0].unique().tolist()) == {0, 10}
    assert abs((seen[0] == 10).float().mean() - 0.1) < 0.01


def test_the_loss_is_the_cross_entropy_averaged_over_all_tokens():
    model, tokenizer, idx = lively_var(), tiny_tokenizer(), random_tokens(SIDES)
    log_p_BLV = model(tokenizer.inputs(idx), LABELS).log_softmax(-1)
    expected = -log_p_BLV.gather(-1, torch.cat(idx, 1)[..., None]).mean()
    torch.testing.assert_close(model.loss(tokenizer, idx, LABELS), expected)


@pytest.mark.parametrize("shared", [False, True])
def test_a_new_model_has_the_published_initialisation(shared):
    torch.manual_seed(0)
    model = VAR(var_config(depth=8, width=256, heads=4, shared_adaln=shared, gamma_init=1e-5, vocab=500))
    std, block = math.sqrt(1 / (3 * 256)), model.blocks[3]

    def assert_std(weight, expected, rtol=0.02):
        torch.testing.assert_close(weight.std(), torch.tensor(expected), rtol=rtol, atol=0)

    for weight in (block.attn.qkv.weight, block.ffn.fc1.weight):
        assert_std(weight, std)
    for weight in (
        model.token_embed.weight,
        model.pos_LC,
        model.class_embed.table.weight,
        model.level_embed.weight,
        model.pos_start,
    ):
        assert_std(weight, std, rtol=0.1)
    assert_std(model.head.linear.weight, 0.02 * std)
    assert_std(model.head.ada_ln.linear.weight, 0.5 * std)
    for weight in (block.attn.proj.weight, block.ffn.fc2.weight):
        assert_std(weight, std / math.sqrt(2 * 8))
    if shared:
        assert_std(model.shared_ada_ln.weight, std)
        rows, size = block.ada_ln.offset_nC, 256**-0.5
    else:
        rows, size = block.ada_ln.linear.weight.unflatten(0, (6, -1)).flatten(1), std
    torch.testing.assert_close(rows.std(1), torch.tensor([1e-5] * 2 + [0.5] * 4) * size, rtol=0.15, atol=0)
    assert all((p == 0).all() for name, p in model.named_parameters() if name.endswith("bias"))


def test_in_training_inputs_are_embedded_in_float32_under_autocast_too_as_published():
    model, seen = lively_var(), []
    model.token_embed.register_forward_hook(lambda layer, given, out: seen.append(out.dtype))
    x_BLZ = random_inputs(model)
    with torch.autocast("cpu", torch.bfloat16):
        model(x_BLZ, LABELS)
        model(x_BLZ.bfloat16(), LABELS)
    assert seen == [torch.float32] * 2


def test_the_truncation_of_the_initial_values_is_at_two_and_not_at_two_deviations():
    torch.manual_seed(0)
    weight = VAR(var_config(width=64, heads=2)).blocks[0].attn.qkv.weight
    assert weight.abs().max() > 3 * weight.std()


def test_one_dial_sets_width_and_heads():
    config = var_config(depth=4, width=0, heads=0)
    assert (config.width, config.heads) == (256, 4)
    with pytest.raises(ValueError, match="multiple of heads, got width 64 and 3 heads"):
        var_config(heads=3)


def test_nothing_of_size_L_by_L_is_stored():
    model = tiny_var(scales=[1, 2, 3, 4, 5, 6, 8])
    L = model.scales.total
    assert not list(model.buffers())
    assert all(L * L not in (t.numel(), *t.shape) for t in model.state_dict().values())
    model(random_inputs(model), LABELS)
    held = [v for m in model.modules() for v in vars(m).values() if isinstance(v, torch.Tensor)]
    assert not [t.shape for t in held if t.numel() >= L * L]


def test_a_call_leaves_nothing_behind_on_the_model():
    model = lively_var()
    before = copy.deepcopy(model.state_dict())
    x_BLZ = random_inputs(model)
    first = step_by_step(model, x_BLZ, LABELS)
    assert torch.equal(first, step_by_step(model, x_BLZ, LABELS))
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("sides", [[1, 3, 4, 7], [[1, 1], [2, 3], [3, 4], [5, 6]]])
def test_another_schedule_of_as_many_scales_works_with_interpolated_positions(sides):
    model, scales = lively_var().double(), Scales.of(sides)
    x_BLZ = torch.randn(2, scales.total - 1, 8, dtype=torch.float64)
    logits = model(x_BLZ, LABELS, scales)
    assert logits.shape == (2, scales.total, 32)
    torch.testing.assert_close(step_by_step(model, x_BLZ, LABELS, scales), logits, atol=1e-5, rtol=1e-5)


def test_positions_of_another_schedule_are_resized_scale_by_scale():
    model, scales = tiny_var(), Scales.of([1, 3, 4, 7])
    new = []
    for (start, end), old, size in zip(model.scales.spans, model.scales.shapes, scales.shapes, strict=True):
        old_CHW = model.pos_LC[start:end].T.unflatten(1, old)
        new.append(F.interpolate(old_CHW[None], size, mode="bicubic")[0].flatten(1).T)
    torch.testing.assert_close(model._positions(scales), torch.cat(new) + model.level_embed.weight[scales.levels()])
    assert torch.equal(model._positions(model.scales), model.pos_LC + model.level_embed.weight[model.scales.levels()])


@pytest.mark.parametrize(
    ("sides", "message"),
    [([1, 2, 3], "4 scales, the first of 1 tokens; got 3"), ([[1, 2], [2, 3], [3, 4], [5, 6]], "the first of 2")],
)
def test_a_schedule_of_another_number_of_scales_is_refused(sides, message):
    model, scales = tiny_var(), Scales.of(sides)
    with pytest.raises(ValueError, match=message):
        model(torch.randn(2, scales.total - scales.lengths[0], 8), LABELS, scales)
