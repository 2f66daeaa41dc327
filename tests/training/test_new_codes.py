import pytest
import torch
from examples import SIDES, lively, random_tokens, tiny_tokenizer

from varlite.models import KINDS
from varlite.scales import Scales
from varlite.training import new_codes
from varlite.training.new_codes import carry_over, check_new_codes, same_codes, takes_new_codes

CARRIED = ["var", "mvar", "markov"]


def doubled(vq):
    """A tokenizer with two names for every code of another, in random order, and which code each name is."""
    other, names = tiny_tokenizer(vocab=64), torch.randperm(64) % 32
    weights = vq.state_dict()
    weights["quantizer.codebook.weight"] = weights["quantizer.codebook.weight"][names]
    other.load_state_dict(weights)
    return other, names


def pairs(names, batches=40, batch=50):
    """Tokens of images under the new names, and under the old ones."""
    for _ in range(batches):
        new_BL = torch.cat(random_tokens(SIDES, batch, 64), 1)
        yield new_BL, names[new_BL]


@pytest.mark.parametrize("kind", CARRIED)
def test_codes_with_two_names_share_the_probability_of_the_one(kind, monkeypatch):
    monkeypatch.setattr(new_codes, "TRUST", 0.0)
    begun, vq = lively(kind), tiny_tokenizer()
    other, names = doubled(vq)
    model = KINDS[kind].model(KINDS[kind].config(**vars(begun.config) | {"vocab": 64})).eval()
    carry_over(model, begun, (other, vq), pairs(names))

    new_BL, label_B = torch.cat(random_tokens(SIDES, 4, 64), 1), torch.arange(4)
    with torch.no_grad():
        p_BLV = model(other.inputs(other.scales.split(new_BL)), label_B).softmax(-1)
        old_BLV = begun(vq.inputs(vq.scales.split(names[new_BL])), label_B).softmax(-1)
    summed_BLV = torch.zeros_like(old_BLV).index_add_(-1, names, p_BLV)
    torch.testing.assert_close(summed_BLV, old_BLV, atol=0.02, rtol=0.1)  # names are counted, so known to some percent


def test_a_code_that_is_never_seen_gets_the_mean_logits_and_a_small_bias():
    begun, vq = lively("var"), tiny_tokenizer()
    other, names = doubled(vq)
    model = KINDS["var"].model(KINDS["var"].config(**vars(begun.config) | {"vocab": 64}))
    seen = ((torch.where(new_BL == 7, 8, new_BL), old_BL) for new_BL, old_BL in pairs(names))
    carry_over(model, begun, (other, vq), seen)
    head, old = model.head.linear, begun.head.linear
    assert head.bias[7] < head.bias[torch.arange(64) != 7].min()
    torch.testing.assert_close(head.weight[7], old.weight.mean(0), atol=0.02, rtol=0)


def test_scales_in_between_and_beyond_take_the_positions_of_their_neighbours():
    begun, vq = lively("var"), tiny_tokenizer()  # scales 1 2 3 5
    sides = [1, 3, 4, 5, 6]
    other = tiny_tokenizer(1, scales=sides)
    model = KINDS["var"].model(KINDS["var"].config(**vars(begun.config) | {"scales": sides}))
    tokens = [(torch.cat(random_tokens(sides, 8), 1), torch.cat(random_tokens(SIDES, 8), 1))]
    carry_over(model, begun, (other, vq), tokens)
    new, old = (dict(zip((1, *s[1:]), m.scales.split(m.pos_LC[None]), strict=True)) for s, m in
                ((sides, model), (SIDES, begun)))  # fmt: skip
    for side in (1, 3, 5):
        torch.testing.assert_close(new[side], old[side])
    level, before = model.level_embed.weight, begun.level_embed.weight
    torch.testing.assert_close(level, torch.stack((before[0], before[2], before[2:].mean(0), before[3], before[3])))
    assert new[4].shape == (1, 16, 64) and new[6].shape == (1, 36, 64)
    for a, b in zip(model.blocks.state_dict().values(), begun.blocks.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_kinds_with_inputs_like_vars_take_new_codes():
    assert [name for name, kind in KINDS.items() if takes_new_codes(kind.model)] == ["var", "mvar", "markov"]


@pytest.mark.parametrize("sides", [[2, 3, 5], [1, 4], [1, 6]])
def test_schedules_that_have_too_little_in_common_are_refused(sides):
    with pytest.raises(ValueError, match=r"start: .* x needs its first scale and one more in common with it; scales"):
        check_new_codes("x", Scales.of(sides), Scales.of(SIDES))


def test_codes_of_a_tokenizer_that_was_trained_on_mean_the_same_and_those_of_another_do_not():
    vq = tiny_tokenizer()
    trained_on = tiny_tokenizer()
    with torch.no_grad():
        trained_on.quantizer.codebook.weight.add_(0.02 * torch.randn(32, 8))
    assert same_codes(vq, vq) and same_codes(trained_on, vq)
    renamed = tiny_tokenizer()
    with torch.no_grad():
        renamed.quantizer.codebook.weight.copy_(vq.quantizer.codebook.weight[torch.randperm(32)])
    for other in (renamed, tiny_tokenizer(1), tiny_tokenizer(vocab=40), tiny_tokenizer(scales=[1, 2, 4, 5])):
        assert not same_codes(other, vq)


def test_a_schedule_may_repeat_its_first_side():
    begun, vq, sides = lively("var"), tiny_tokenizer(), [1, 1, 2, 3, 5]
    other = tiny_tokenizer(1, scales=sides)
    model = KINDS["var"].model(KINDS["var"].config(**vars(begun.config) | {"scales": sides}))
    tokens = [(torch.cat(random_tokens(sides, 8), 1), torch.cat(random_tokens(SIDES, 8), 1))]
    carry_over(model, begun, (other, vq), tokens)
    assert model.head.linear.weight.isfinite().all()
