import json
import re
from pathlib import Path

import pytest
import torch
from examples import RECTANGULAR, tiny_tokenizer, tiny_var

from varlite.checkpoints.empty import build_empty
from varlite.checkpoints.key_map import constants, from_published, name_table, to_published

LAYOUTS = json.loads((Path(__file__).parents[1] / "golden" / "published-layouts.json").read_text())
MODELS = {
    "plain": lambda: tiny_var(),
    "without attention normalisation": lambda: tiny_var(attn_norm=False),
    "shared AdaLN": lambda: tiny_var(shared_adaln=True),
    "first scale of two tokens": lambda: tiny_var(scales=RECTANGULAR),
    "tokenizer": lambda: tiny_tokenizer(),
    "tokenizer, one phi": lambda: tiny_tokenizer(phi_shared=1),
    "tokenizer, a phi for each scale": lambda: tiny_tokenizer(phi_shared=0),
    "tokenizer, three levels": lambda: tiny_tokenizer(
        multipliers=(1, 2, 2), encoder_blocks=(0, 1, 2), decoder_blocks=(0, 2, 1)
    ),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def published_layout(key):
    """Every name and shape of a published checkpoint; the file lists one block for all."""
    layout = LAYOUTS[key]
    if "depth" not in layout:
        return layout
    (block,) = (value for name, value in layout.items() if name.startswith("every block"))
    blocks = {f"blocks.{i}.{name}": shape for i in range(layout["depth"]) for name, shape in block.items()}
    return layout["rest"] | blocks


@pytest.mark.parametrize(
    ("preset", "key"),
    [*((f"var-d{d}", f"var_d{d}") for d in (16, 20, 24, 30, 36)), ("imagenet-vq", "vae_ch160v4096z32")],
)
def test_every_name_and_shape_of_a_published_checkpoint_is_ours(preset, key):
    model = build_empty(preset)
    ours = dict(name_table(model).values()) | {name: tuple(t.shape) for name, t in constants(model).items()}
    expected = {name: tuple(shape) for name, shape in published_layout(key).items()}
    # The codebook's hit counts are a statistic of training, which the layout may leave out.
    assert ours | expected == ours and ours.keys() - expected.keys() <= {"quantize.ema_vocab_hit_SV"}


def test_weights_survive_the_way_to_the_published_names_and_back_bit_for_bit(model):
    published = to_published(model)
    back = from_published(model, published, "here")
    ours = model.state_dict()
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], tensor) and back[name].shape == tensor.shape for name, tensor in ours.items())
    assert len(published) == len(ours) + len(constants(model))  # no two share a name


def test_loading_copies_no_tensor(model):
    published = to_published(model)
    back = from_published(model, published, "here")
    pointers = {tensor.data_ptr() for tensor in published.values()}
    assert all(tensor.data_ptr() in pointers for tensor in back.values())


def test_the_published_decoder_counts_its_levels_from_full_resolution():
    names = dict(name_table(build_empty("imagenet-vq")).values())
    assert "decoder.up.0.upsample.conv.weight" not in names and "decoder.up.4.upsample.conv.weight" in names
    assert names["decoder.up.0.block.2.conv2.weight"] == (160, 160, 3, 3)
    assert names["decoder.up.4.attn.2.qkv.weight"] == (1920, 640, 1, 1)


def test_the_constants_are_those_of_block_causal_attention():
    model = tiny_var(scales=[1, 2, 3])
    values = constants(model)
    bias_LL = values["attn_bias_for_masking"][0, 0]
    assert torch.equal(bias_LL == 0, model.scales.block_causal_mask())
    assert set(bias_LL.unique().tolist()) == {0.0, -torch.inf}
    assert values["lvl_1L"].tolist() == [[0] + [1] * 4 + [2] * 9]
    assert not values["blocks.1.attn.zero_k_bias"].any()


def changed(model, how):
    tensors = to_published(model)
    how(tensors)
    return tensors


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda t: t.pop("blocks.1.attn.proj.bias"), "missing blocks.1.attn.proj.bias [64]"),
        (lambda t: t.update({"blocks.2.attn.q_bias": torch.zeros(64)}), "unexpected blocks.2.attn.q_bias [64]"),
        (lambda t: t.update({"head.bias": torch.zeros(31)}), "head.bias has shape [31], expected [32]"),
        (lambda t: t.update({"pos_start": t["pos_start"][0]}), "pos_start has shape [1, 64], expected [1, 1, 64]"),
        (lambda t: t["blocks.0.attn.zero_k_bias"].add_(1), "blocks.0.attn.zero_k_bias does not hold what follows"),
        (lambda t: t["lvl_1L"].add_(1), "lvl_1L does not hold what follows from the configuration"),
        (lambda t: t["attn_bias_for_masking"].zero_(), "attn_bias_for_masking does not hold"),
    ],
)
def test_what_does_not_fit_is_named_together_with_the_file(how, message):
    model = tiny_var()
    with pytest.raises(ValueError, match=re.escape("some/file.pth does not fit this model: " + message)):
        from_published(model, changed(model, how), "some/file.pth")


def test_of_many_faults_the_first_are_named_and_the_others_counted():
    model = tiny_tokenizer()
    tensors = {name: t for name, t in to_published(model).items() if not name.startswith("encoder.")}
    with pytest.raises(ValueError, match=r"missing encoder.conv_in.bias \[32\]; .*; and \d+ more") as raised:
        from_published(model, tensors, "vq.pth")
    assert str(raised.value).count(";") == 6


def test_how_often_codes_were_hit_in_training_may_be_anything():
    model = tiny_tokenizer()
    tensors = changed(model, lambda t: t["quantize.ema_vocab_hit_SV"].uniform_())
    assert from_published(model, tensors, "vq.pth").keys() == model.state_dict().keys()
