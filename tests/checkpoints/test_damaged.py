"""Files of weights that were damaged or made up: one sentence that names the file and what is wrong in it."""

import json
import re
import time
from dataclasses import asdict

import pytest
import torch
from examples import lively_var, tiny_tokenizer
from safetensors.torch import save_file

from varlite.checkpoints.assemble import build
from varlite.checkpoints.key_map import to_published
from varlite.checkpoints.load import convert, load, load_tokenizer
from varlite.io.files import save_model


@pytest.fixture
def folder(tmp_path):
    model, tokenizer = lively_var(), tiny_tokenizer()
    about = {"kind": "var", "config": asdict(model.config), "tokenizer": "fashion-vq", "classes": list("abcdefghij")}
    save_model(tmp_path / "model.safetensors", about, model.state_dict())
    about = {"kind": "tokenizer", "config": asdict(tokenizer.config)}
    save_model(tmp_path / "tokenizer.safetensors", about, tokenizer.state_dict())
    return tmp_path


def refused(call, path, message):
    start = time.monotonic()
    with pytest.raises(ValueError, match="^" + re.escape(str(path)) + ".*" + message) as raised:
        call()
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600 and time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": None}, "its config: 'depth' must be an integer, got null"),
        ({"depth": "4"}, "its config: 'depth' must be an integer"),
        ({"depth": 0}, "."),
        ({"depth": -2}, "."),
        ({"depth": 3}, "does not hold the model of its header"),
        ({"depth": 10**9, "width": 64, "heads": 2}, "'depth' asks for 1000000000 layers of 34 tensors"),
        ({"width": 2**62}, "its config"),
        ({"width": -64}, "its config"),
        ({"width": 65}, "width must be a multiple of heads"),
        ({"heads": 7}, "width must be a multiple of heads"),
        ({"heads": True}, "'heads' must be an integer, got true"),
        ({"vocab": 2**40}, "does not hold the model of its header"),
        ({"vocab": 10**30}, "its config makes no model"),
        ({"classes": -1}, "."),
        ({"classes": 9}, "its header names 10 classes, its config has 9"),
        ({"scales": []}, "at least one scale is needed"),
        ({"scales": "1235"}, "'scales' must be a list"),
        ({"scales": [1, 2, None]}, "its config: "),
        ({"scales": [5, 2]}, "sides must grow"),
        ({"scales": [1, 2, 3, 10**9]}, "its config"),
        ({"scales": [1] * 10**6}, "'scales' has 1000000 entries, more than 512"),
        ({"ffn_ratio": 1e300}, "its config makes no model"),
        ({"ffn_ratio": "4"}, "'ffn_ratio' must be a number"),
        ({"adaln": "no"}, "'adaln' must be true or false"),
        ({"colour": "red"}, "unknown entry 'colour'; there are: depth, width"),
    ],
)
def test_a_model_whose_header_was_edited_is_refused(folder, changes, message):
    path, model = folder / "model.safetensors", lively_var()
    config = asdict(model.config) | changes
    about = {"kind": "var", "config": config, "tokenizer": "fashion-vq", "classes": list("abcdefghij")}
    save_file(model.state_dict(), path, {"varlite": json.dumps(about)})
    refused(lambda: load(folder), path, message)
    refused(lambda: convert(path, folder / "out.pth"), path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ch": 33}, "ch must be a multiple of 32"),
        ({"ch": -32}, "its config"),
        ({"ch": 0}, "."),
        ({"multipliers": [1]}, "must have one entry for each level"),
        ({"multipliers": [1, "2"]}, "'multipliers' must be a list in which each entry is an integer"),
        ({"multipliers": [1, 10**12]}, "."),
        ({"encoder_blocks": [0, 10**9]}, "'encoder_blocks' asks for 1000000000 layers"),
        ({"scales": [1, 2, 3, 10**6]}, "no side may exceed 1024"),
        ({"phi_shared": 10**9}, "'phi_shared' asks for 1000000000 layers"),
        ({"phi_shared": -1}, "."),
        ({"phi_ratio": "half"}, "'phi_ratio' must be a number"),
        ({"z": 2**70}, "its config makes no model"),
    ],
)
def test_a_tokenizer_whose_header_was_edited_is_refused(folder, changes, message):
    path, tokenizer = folder / "tokenizer.safetensors", tiny_tokenizer()
    about = {"kind": "tokenizer", "config": asdict(tokenizer.config) | changes}
    save_file(tokenizer.state_dict(), path, {"varlite": json.dumps(about)})
    refused(lambda: load_tokenizer(path), path, message)
    refused(lambda: load(folder), path, message)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_named(folder, dtype):
    path, model = folder / "model.safetensors", lively_var()
    weights = model.state_dict() | {"head.linear.bias": model.head.linear.bias.detach().to(dtype)}
    save_model(path, {"kind": "var", "config": asdict(model.config), "tokenizer": "fashion-vq"}, weights)
    refused(lambda: load(folder), path, "head.linear.bias must hold real numbers")


@pytest.mark.parametrize("kind", ["unheard-of", "classifier", ""])
def test_another_kind_of_file_is_refused(folder, kind):
    path = folder / "other.safetensors"
    save_model(path, {"kind": kind, "config": {}}, {"a": torch.zeros(1)})
    for call in (lambda: load(path), lambda: load_tokenizer(path), lambda: convert(path, folder / "out.pth")):
        refused(call, path, f"is a {kind}, not a")


def stretched(*shape):
    return torch.zeros(1).expand(*shape)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("head.weight", torch.full((32, 64), torch.nan), "2048 of the 2048 weights in head.weight are not finite"),
        ("head.weight", stretched(2**30, 64), "head.weight claims .* more than the file holds"),
        ("head.weight", torch.zeros(32), "head.weight cannot be one's"),
        ("head.weight", torch.eye(64).to_sparse(), "head.weight is not an ordinary tensor"),
        ("class_emb.weight", torch.zeros(()), "class_emb.weight has shape .* it holds no weights"),
        ("class_emb.weight", torch.zeros(0, 64), "."),
        ("lvl_1L", torch.zeros(1, 39), "lvl_1L cannot be one's"),
        ("lvl_1L", torch.full((1, 39), 2**62), "lvl_1L does not hold the scale of each token"),
        ("lvl_1L", torch.full((1, 39), -1), "lvl_1L does not hold the scale of each token"),
        ("lvl_1L", torch.zeros(1, 0, dtype=torch.long), "lvl_1L has shape .* it holds no weights"),
        ("lvl_1L", torch.zeros(1, 10**5, dtype=torch.long), "lvl_1L cannot be one's"),
        ("lvl_1L", torch.zeros(1, 39, dtype=torch.long), "scales: next-scale prediction needs at least two"),
        ("blocks.999999999.attn.q_bias", torch.zeros(1), "blocks.999999999 cannot be one's"),
        ("blocks.0.attn.scale_mul_1H11", torch.zeros(0), "."),
        ("blocks.0.ffn.fc1.weight", torch.zeros(()), "."),
    ],
)
def test_a_published_transformer_that_was_damaged_is_refused(tmp_path, name, tensor, message):
    path = tmp_path / "var.pth"
    torch.save(to_published(lively_var()) | {name: tensor}, path)
    refused(lambda: convert(path, tmp_path / "out.safetensors"), path, message)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "quantize.embedding.weight",
            torch.full((32, 8), torch.inf),
            r"embedding.weight are not finite \(inf",
        ),
        ("quantize.embedding.weight", torch.zeros(8), "its first layer or its codebook has another rank"),
        ("encoder.conv_in.weight", torch.zeros(0, 1, 3, 3), "."),
        ("encoder.conv_in.weight", torch.zeros(33, 1, 3, 3), "ch must be a multiple of 32"),
        ("encoder.down.77.block.0.conv1.weight", torch.zeros(1), "its encoder has residual blocks at 78 levels"),
        ("encoder.down.1.block.0.conv1.weight", torch.zeros(()), "."),
        ("quantize.ema_vocab_hit_SV", torch.zeros(()), "."),
        ("quantize.quant_resi.qresi.weight", torch.zeros(1), "."),
    ],
)
def test_a_published_tokenizer_that_was_damaged_is_refused(tmp_path, name, tensor, message):
    path, tokenizer = tmp_path / "vq.pth", tiny_tokenizer()
    torch.save(to_published(tokenizer) | {name: tensor}, path)
    refused(lambda: load_tokenizer(path, scales=tokenizer.scales), path, message)
    refused(lambda: convert(path, tmp_path / "o.safetensors", scales=tokenizer.scales.sides), path, message)


def test_a_model_far_larger_than_its_file_is_given_up_while_it_is_built(tmp_path):
    class Endless(torch.nn.Module):
        def __init__(self, config):
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(config))

    path = tmp_path / "endless.safetensors"
    refused(lambda: build(Endless, 10**9, 30, path), path, "it has far more weights than the file")
    assert len(list(torch.nn.Linear(1, 1).parameters())) == 2  # and counting has ended
