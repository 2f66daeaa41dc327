import pytest
import torch
from examples import (
    LABELS,
    ONE,
    lively_raster,
    one_scale_tokenizer,
    random_tokens,
    tiny_var,
    var_config,
)

from varlite import edit, generate
from varlite.models import Raster, RasterConfig

KINDS = [{}, {"attn_norm": False}, {"adaln": False}]


def test_it_has_as_many_weights_as_var_but_for_positions_and_levels():
    raster, var = Raster(RasterConfig(**vars(var_config()) | {"scales": ONE})), tiny_var()

    def count(model):
        names = ("pos_start", "pos_LC", "level_embed.weight")
        return sum(p.numel() for name, p in model.named_parameters() if name not in names)

    assert count(raster) == count(var)


def test_the_loss_is_the_cross_entropy_of_every_token():
    model, tokenizer, idx = lively_raster(), one_scale_tokenizer(), random_tokens(ONE)
    logits_BLV = model(model.inputs(tokenizer, idx), LABELS)
    expected = torch.nn.functional.cross_entropy(logits_BLV.mT, idx[0])
    torch.testing.assert_close(model.loss(tokenizer, idx, LABELS), expected)


@torch.inference_mode()
def test_an_image_is_what_its_drawn_codes_decode_to_and_the_hook_sees_every_token():
    model, tokenizer, steps = lively_raster(), one_scale_tokenizer(), []
    images = generate(model, tokenizer, [1, 2], seeds=0, on_scale=steps.append)
    assert [step.idx_Bl.shape[1] for step in steps] == list(range(1, 26))
    expected = (tokenizer.decode([steps[-1].idx_Bl]) + 1) / 2
    torch.testing.assert_close(images, expected)
    torch.testing.assert_close(steps[-1].image(), expected)
    assert not torch.equal(steps[3].image(), expected)


@torch.inference_mode()
def test_guidance_is_the_same_for_every_token_and_none_is_the_condition_alone():
    model, tokenizer, steps = lively_raster(), one_scale_tokenizer(), []
    generate(model, tokenizer, [1], cfg=2.0, top_p=0.0, on_scale=steps.append, seeds=1)
    x_BLZ = model.inputs(tokenizer, [steps[-1].idx_Bl])
    cond, null = (model(x_BLZ, torch.tensor([c])) for c in (1, 10))
    found = torch.cat([step.logits_BlV for step in steps], 1)
    torch.testing.assert_close(found, 3 * cond - 2 * null, atol=1e-4, rtol=1e-4)


def test_what_makes_no_sense_for_it_is_refused():
    model, tokenizer = lively_raster(), one_scale_tokenizer()
    with pytest.raises(ValueError, match="model: Raster cannot pass on mixtures of codes: leave out smooth"):
        generate(model, tokenizer, [1], smooth=True)
    with pytest.raises(ValueError, match="model: Raster cannot be edited"):
        edit(model, tokenizer, torch.zeros(1, 1, 10, 10), torch.ones(5, 5), [1])
    with pytest.raises(ValueError, match=r"a raster model has one scale, got \[1, 2\]"):
        RasterConfig(depth=2, scales=[1, 2])
    with pytest.raises(ValueError, match=r"next-scale prediction needs at least two, got \[4\]"):
        var_config(scales=[4])
