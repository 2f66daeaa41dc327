"""The plain way of sampling gives what the quick one gives."""

import pytest
import torch
from examples import LABELS, RECTANGULAR, SIDES, lively_var, random_inputs, tiny_tokenizer, var_config

from varlite import drawing
from varlite.models import MVAR, MVARConfig, Raster, RasterConfig
from varlite.sampling import generate
from varlite.speed.mvar_state import open_gates
from varlite.speed.reference import keep_top
from varlite.speed.reference import reference as plain


def lively(kind, sides):
    if kind == "var":
        return lively_var(scales=sides)
    cls, config_cls = {"mvar": (MVAR, MVARConfig), "raster": (Raster, RasterConfig)}[kind]
    torch.manual_seed(0)
    return open_gates(cls(config_cls(**vars(var_config()) | {"scales": sides})).eval())


@pytest.mark.parametrize(("kind", "sides"), [("var", SIDES), ("var", RECTANGULAR), ("mvar", SIDES), ("raster", [4])])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.9), (7, 0.0), (20, 0.8)])
def test_both_ways_draw_the_same_tokens_and_decode_the_same_images(kind, sides, top_k, top_p, monkeypatch):
    model, tokenizer = lively(kind, sides), tiny_tokenizer(scales=sides)
    ways, found = {"quick": (model, tokenizer), "plain": plain(model, tokenizer)}, {}
    for name, pair in ways.items():
        if name == "plain":
            monkeypatch.setattr(drawing, "keep_top", keep_top)
        tokens = []
        images = generate(
            *pair, [1, 2, 3], cfg=2.0, top_k=top_k, top_p=top_p, seeds=0,
            on_scale=lambda step, tokens=tokens: tokens.append(step.idx_Bl),
        )  # fmt: skip
        found[name] = torch.cat(tokens, 1), images
    assert torch.equal(found["quick"][0], found["plain"][0])
    torch.testing.assert_close(found["quick"][1], found["plain"][1], atol=1e-5, rtol=1e-5)


def test_the_twins_share_their_weights_and_keep_a_schedule_that_is_not_the_tokenizer_s_own():
    model, tokenizer = lively_var(), tiny_tokenizer(scales=[1, 2, 5])
    tokenizer.scales = model.scales
    for twin, original in zip(plain(model, tokenizer), (model, tokenizer), strict=True):
        theirs = twin.state_dict()
        assert all(theirs[name].data_ptr() == t.data_ptr() for name, t in original.state_dict().items())
    assert plain(model, tokenizer)[1].scales == model.scales


def test_what_labels_say_is_made_once_an_image_and_at_every_scale_in_the_plain_way(monkeypatch):
    model, tokenizer = lively_var(), tiny_tokenizer()
    counts = {}
    for name, pair in {"quick": (model, tokenizer), "plain": plain(model, tokenizer)}.items():
        seen = []
        for block in pair[0].blocks:
            block.ada_ln.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        generate(*pair, [1])
        counts[name] = len(seen)
    assert counts == {"quick": model.config.depth, "plain": model.config.depth * model.scales.K}


@pytest.mark.parametrize("changes", [{}, {"shared_adaln": True}, {"adaln": False}])
def test_a_step_takes_labels_or_what_was_made_of_them(changes):
    model = lively_var(**changes)
    given, parts = model.condition(LABELS), [None, *random_inputs(model).split(model.scales.lengths[1:], 1)]
    caches = model.make_cache(), model.make_cache()
    for k, part in enumerate(parts):
        assert torch.equal(model.step(part, LABELS, k, caches[0]), model.step(part, given, k, caches[1]))
