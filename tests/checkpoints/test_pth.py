"""Opening published .pth files: never as code, and with an answer for every kind of wrong file."""

import pickle
import re
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from examples import tiny_tokenizer, tiny_var

from varlite.checkpoints.key_map import to_published
from varlite.checkpoints.pth import read_pth, tokenizer_config, transformer_config
from varlite.models import KINDS
from varlite.scales import Scales

TRAINING = {"drop_path", "class_dropout", "gamma_init", "published_start"}  # leave no trace in a checkpoint


class Evil:
    """What unpickling would execute."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def web_page(path):
    path.write_text("\n <!DOCTYPE html><html><body>var_d16.pth</body></html>")


def lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1242\n")


def truncated(path, share=0.9):
    torch.save(to_published(tiny_var()), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: round(len(whole) * share)])


def other_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("word/document.xml", "<a/>" * 1000)


def wrapped(path):
    torch.save({"epoch": 3, "trainer": {"discriminator": to_published(tiny_var())}}, path)


def pickled_list(path):
    torch.save([torch.zeros(2)], path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (web_page, "is a web page, not a checkpoint"),
        (lfs_pointer, "is a git-lfs pointer, not the checkpoint itself: run `git lfs pull`"),
        (truncated, "is truncated or damaged"),
        (lambda path: truncated(path, 0.5), "is truncated or damaged"),
        (lambda path: truncated(path, 0.01), "is truncated or damaged"),
        (other_zip, "is truncated or damaged"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(bytes(range(256)) * 9), "is not a checkpoint written by torch.save"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "is not a checkpoint written by torch.save"),
        (wrapped, "is not a plain state dict of tensors (it holds ['discriminator'])"),
        (pickled_list, "is not a plain state dict of tensors (it holds list)"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_by_name_and_reason(tmp_path, make, message):
    path = tmp_path / "var_d16.pth"
    make(path)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(message)) as raised:
        read_pth(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("inside", [lambda evil: evil, lambda evil: {"weight": torch.zeros(2), "more": evil}])
def test_a_pickle_that_would_execute_code_is_refused_and_does_not_execute(tmp_path, inside):
    path, marker = tmp_path / "model.pth", tmp_path / "executed"
    torch.save(inside(Evil(marker)), path)
    with pytest.raises(ValueError, match=r"model.pth holds Python objects .* never executed"):
        read_pth(path)
    path.write_bytes(pickle.dumps(inside(Evil(marker))))  # as before torch 1.6, not a zip
    with pytest.raises(ValueError, match=r"not a checkpoint written by torch\.save"):
        read_pth(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()  # the pickle does what the test thinks it does


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*var_d16\.pth"):
        read_pth(tmp_path / "var_d16.pth")


def test_tensors_are_memory_mapped_and_not_read(tmp_path):
    tensors = to_published(tiny_var())
    torch.save(tensors, tmp_path / "a.pth")
    read = read_pth(tmp_path / "a.pth")
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], t) for name, t in tensors.items())
    if sys.platform == "linux":
        assert str(tmp_path / "a.pth") in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"depth": 3, "width": 96, "heads": 3, "classes": 5, "vocab": 40, "z": 16, "scales": [1, 3, 4]},
        {"shared_adaln": True},
        {"ffn_ratio": 2.5},
    ],
)
def test_the_configuration_of_a_transformer_is_read_off_its_state_dict(changes):
    model = tiny_var(**changes)
    found = transformer_config(to_published(model), "file.pth")
    assert type(found) is KINDS["var"].config
    assert {k: v for k, v in asdict(found).items() if k not in TRAINING} == {
        k: v for k, v in asdict(model.config).items() if k not in TRAINING
    }


def test_heads_are_asked_for_where_attention_is_not_normalised():
    model = tiny_var(attn_norm=False)
    with pytest.raises(ValueError, match=r"file.pth: without attention normalisation .* pass heads"):
        transformer_config(to_published(model), "file.pth")
    found = transformer_config(to_published(model), "file.pth", heads=2)
    assert (found.heads, found.attn_norm) == (2, False)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"phi_shared": 0},
        {"phi_shared": 1},
        {"phi_shared": 3},
        {"channels": 3, "vocab": 50, "z": 16, "ch": 64},
        {"multipliers": (1, 2, 4), "encoder_blocks": (0, 1, 2), "decoder_blocks": (0, 2, 1)},
    ],
)
def test_the_configuration_of_a_tokenizer_is_read_off_its_state_dict(changes):
    model = tiny_tokenizer(**changes)
    assert tokenizer_config(to_published(model), "file.pth", model.scales) == model.config


def test_a_tokenizer_of_another_number_of_scales_asks_for_them():
    model = tiny_tokenizer()
    with pytest.raises(ValueError, match=r"file.pth was trained on 4 scales; pass scales with as many sides"):
        tokenizer_config(to_published(model), "file.pth", Scales.of([1, 2, 3]))


def test_another_projects_state_dict_is_refused_with_what_it_lacks_and_what_it_has():
    resnet = {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    with pytest.raises(ValueError, match=r"r.pth is not a VAR transformer: it has no .*class_emb.*; it has conv1"):
        transformer_config(resnet, "r.pth")
    with pytest.raises(ValueError, match=r"r.pth is not a VAR tokenizer: it has no encoder.conv_in.weight"):
        tokenizer_config(resnet, "r.pth", Scales.of([1, 2]))
    with pytest.raises(ValueError, match=r"r.pth is not a VAR tokenizer"):
        tokenizer_config(to_published(tiny_var()), "r.pth", Scales.of([1, 2]))
    with pytest.raises(ValueError, match=r"r.pth is not a VAR transformer"):
        transformer_config({}, "r.pth")


def test_a_state_dict_with_some_of_the_right_names_is_refused_as_well():
    tensors = to_published(tiny_tokenizer())
    few = {name: tensors[name] for name in ("encoder.conv_in.weight", "quantize.embedding.weight", "quant_conv.weight")}
    with pytest.raises(ValueError, match=r"r.pth is not a VAR tokenizer: its encoder has residual blocks at 0 levels"):
        tokenizer_config(few, "r.pth", Scales.of([1, 2]))
