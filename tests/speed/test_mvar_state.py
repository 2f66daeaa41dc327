import pytest
import torch
from examples import LABELS, SIDES, random_inputs, tiny_tokenizer, var_config

from varlite.models import MVAR, MVARConfig
from varlite.sampling import generate
from varlite.speed import mvar_state as carried

SCHEDULE = [1, 2, 3, 4]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return carried.open_gates(MVAR(MVARConfig(**vars(var_config()))).eval())


def steps(model, x_BLZ, cache_of=lambda model, old: old):
    """Logits of all scales; `cache_of` says what goes on to the next."""
    cache, logits = model.make_cache(), []
    with torch.no_grad():
        for k, part in enumerate([None, *x_BLZ.split(model.scales.lengths[1:], 1)]):
            logits.append(model.step(part, LABELS, k, cache))
            cache = cache_of(model, cache)
    return torch.cat(logits, 1)


def test_re_scanning_gives_the_logits_of_the_carried_state(model):
    twin, x_BLZ = carried.rescanning(model), random_inputs(model)
    torch.testing.assert_close(steps(twin, x_BLZ), steps(model, x_BLZ), atol=1e-5, rtol=1e-5)


def test_without_what_is_carried_the_logits_would_be_others(model):
    x_BLZ = random_inputs(model)
    forgotten = steps(model, x_BLZ, lambda model, old: model.make_cache())
    assert (forgotten - steps(model, x_BLZ)).abs()[:, 1:].mean() > 0.05


def test_the_twin_shares_the_weights(model):
    theirs = carried.rescanning(model).state_dict()
    assert all(theirs[name].data_ptr() == weight.data_ptr() for name, weight in model.state_dict().items())


def test_re_scanning_works_through_the_prefix_at_every_scale_and_carrying_through_new_tokens_alone(model):
    def lengths_scanned(model):
        seen = []
        hook = model.blocks[0].mamba.in_proj.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
        steps(model, random_inputs(model))
        hook.remove()
        return seen

    assert SIDES == [1, 2, 3, 5]
    assert lengths_scanned(model) == [1, 4, 9, 25]
    assert lengths_scanned(carried.rescanning(model)) == [1, 5, 14, 39]


def test_the_codes_are_those_that_generate_draws(model):
    steps, tokenizer = [], tiny_tokenizer()
    settings = {"cfg": carried.CFG, "top_p": 0, "on_scale": steps.append}
    generate(model, tokenizer, [0], seeds=3, **settings)
    codes = list(carried.sample_scales(model, tokenizer, 3))
    assert [c.tolist() for c in codes] == [step.idx_Bl[0].tolist() for step in steps]


def test_both_ways_are_timed_scale_by_scale_on_the_same_tokens():
    found = carried.time_both_ways(SCHEDULE, depth=2, width=64, rounds=3)
    assert found["tokens_equal"] == 1 and found["config"]["sides"] == SCHEDULE
    for way in ("carried", "rescanned"):
        assert len(found["ms_per_scale"][way]) == 4 and min(found["ms_per_scale"][way]) > 0
    assert len(found["speedup_of_rounds"]) == 3
    totals = {way: sum(ms) for way, ms in found["ms_per_scale"].items()}
    assert found["speedup"] == pytest.approx(totals["rescanned"] / totals["carried"], abs=1e-3)


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds must be 1 or more, got 0"):
        carried.time_both_ways(SCHEDULE, depth=1, width=64, rounds=0)


def test_keys_and_values_grow_with_the_tokens_and_the_carried_state_does_not():
    few, many = (carried.state_bytes(sides, width=64) for sides in ([1, 2], [1, 3, 8]))
    for sizes, L in ((few, 5), (many, 74)):
        assert sizes["VAR"] == 2 * L * 64 * 4 and sizes["M-VAR, rescanned"] == L * 64 * 4
        assert sizes["M-VAR, carried"] == 4 * (2 * 64 * 64 + 3 * (2 * 64 + 2 * 64))  # state, and three inputs
