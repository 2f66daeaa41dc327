from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from examples import LABELS, ONE, chances, lively, one_scale_tokenizer, random_tokens, var_config

from varlite import generate, load
from varlite.io.files import save_model
from varlite.models import set_dials
from varlite.models.flexvar import FlexVARConfig
from varlite.presets import MODELS, ModelPreset
from varlite.scales import Scales
from varlite.training import train_transformer as stage2
from varlite.training.options import Options

TRAINED = {"scales": ONE, "sides": [1, 2, 5], "trained": [[1, 2, 5], [1, 3, 4, 5]]}


def lively_flexvar(**changes):
    return lively("flexvar", **TRAINED | changes)


def test_the_map_of_a_scale_is_the_codes_of_the_picture_at_its_size():
    model, tokenizer, idx = lively_flexvar(), one_scale_tokenizer(), random_tokens(ONE)
    maps = model.maps(tokenizer, idx, Scales.of([1, 3, 5]))
    f_BZhw = tokenizer.embed(idx[0]).transpose(1, 2).view(2, 8, 5, 5)
    codes_VZ = tokenizer.quantizer.codebook.weight
    small = F.adaptive_avg_pool2d(f_BZhw, 3).flatten(2).transpose(1, 2)
    assert [tuple(x.shape) for x in maps] == [(2, 1), (2, 9), (2, 25)]
    assert torch.equal(maps[1], torch.cdist(small, codes_VZ.expand(2, -1, -1)).argmin(-1)) and maps[2] is idx[0]


def test_a_scale_sees_the_map_before_it_enlarged_and_no_sum_of_all():
    model, tokenizer, maps = lively_flexvar(), one_scale_tokenizer(), random_tokens([1, 2, 5])
    x_BLZ = model.inputs(tokenizer, maps)
    wide = F.interpolate(tokenizer.embed(maps[1]).transpose(1, 2).view(2, 8, 2, 2), size=(5, 5), mode="bicubic")
    torch.testing.assert_close(x_BLZ[:, 4:], wide.flatten(2).transpose(1, 2))
    other = model.inputs(tokenizer, [(maps[0] + 1) % 32, *maps[1:]])
    assert not torch.equal(other[:, :4], x_BLZ[:, :4]) and torch.equal(other[:, 4:], x_BLZ[:, 4:])


@torch.inference_mode()
def test_an_image_is_what_the_last_map_alone_decodes_to():
    model, tokenizer, steps = lively_flexvar(), one_scale_tokenizer(), []
    images = generate(model, tokenizer, LABELS, seeds=1, on_scale=steps.append)
    assert [step.idx_Bl.shape[1] for step in steps] == [1, 4, 25]
    torch.testing.assert_close(images, (tokenizer.decode([steps[-1].idx_Bl]) + 1) / 2)
    torch.testing.assert_close(steps[-1].image(), images)
    assert steps[0].image().shape == images.shape


def test_the_loss_is_a_mean_over_images_of_which_each_has_its_own_schedule():
    model, tokenizer, idx, label_B = lively_flexvar(), one_scale_tokenizer(), random_tokens(ONE, 6), torch.arange(6)
    chance_Bn = chances(model, 1.0, 6)
    chance_Bn[:, 1] = torch.tensor([0.0, 0.9, 0.4, 0.6, 0.1, 0.2])
    whole = model.loss(tokenizer, idx, label_B, chance_Bn)
    halves = [
        model.loss(tokenizer, [idx[0][rows]], label_B[rows], chance_Bn[rows]) for rows in torch.arange(6).split(3)
    ]
    torch.testing.assert_close(whole, sum(halves) / 2)
    alone = []
    for i, scales in enumerate(Scales.of(model.config.trained[s]) for s in (0, 1, 0, 1, 0, 0)):
        maps = model.maps(tokenizer, [idx[0][i : i + 1]], scales)
        logits_BLV = model(model.inputs(tokenizer, maps, scales), label_B[i : i + 1], scales)
        alone.append(F.cross_entropy(logits_BLV.mT, torch.cat(maps, 1)))
    torch.testing.assert_close(whole, sum(alone) / 6)


def test_the_schedule_is_a_dial_and_costs_follow_it():
    model, tokenizer = lively_flexvar(), one_scale_tokenizer()
    size, before = tokenizer.image_size(), model.flops(model.config, "sampling")
    assert generate(model, tokenizer, [1], scales=[1, 2, 3, 4, 5]).shape[-2:] == size
    set_dials(model, ["sides=1,5"])
    assert model.scales == Scales.of([1, 5]) and model.evaluations(model.config) == 2
    assert model.flops(model.config, "sampling") < before
    assert generate(model, tokenizer, [1]).shape[-2:] == size
    with pytest.raises(ValueError, match=r"dials: sides: a schedule goes from one token to the tokenizer's \[5\], got"):
        set_dials(model, ["sides=1,4"])


def test_a_schedule_that_does_not_fit_the_tokenizer_is_refused():
    def config(**changes):
        return FlexVARConfig(**vars(var_config()) | TRAINED | changes)

    for changes, message in [
        ({"sides": [2, 5]}, "sides: a schedule goes from one token to"),
        ({"trained": [[1, 2, 5], [1, 2]]}, "trained: a schedule goes from one token to"),
        ({"trained": []}, "trained: at least one schedule is needed"),
        ({"scales": [1, 5]}, "a raster model has one scale"),
    ]:
        with pytest.raises(ValueError, match=message):
            config(**changes)


def test_a_trained_one_is_loaded_with_its_one_scale_tokenizer(trained, presets, tmp_path, monkeypatch):
    config = FlexVARConfig(**vars(var_config(gamma_init=0.1)) | TRAINED)
    recipe = replace(MODELS["tiny-var"].recipe, steps=20)
    monkeypatch.setitem(MODELS, "tiny-flexvar", ModelPreset(config, "tiny-vq", recipe))
    vq = one_scale_tokenizer()
    header = {"kind": "tokenizer", "config": vars(vq.config)}
    save_model(tmp_path / "vq" / "model.safetensors", header, vq.state_dict())
    options = Options(device="cpu")
    stage2.train("tiny-flexvar", str(trained / "images"), tmp_path / "out", tmp_path / "vq", options=options)
    model, tokenizer = load(tmp_path / "out", dials={"sides": [1, 4, 5]})
    assert tokenizer.scales == Scales.of(ONE) and model.scales == Scales.of([1, 4, 5])
    assert generate(model, tokenizer, [1]).shape == (1, 1, 10, 10)
