import json
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from varlite.io.files import atomic, read_model, save_model, write_json


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_file_appears_whole_with_the_usual_permissions_and_its_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it" and os.listdir(path.parent) == ["a.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2]})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2]}


def test_a_model_survives_the_way_to_disk_and_back_bit_for_bit(tmp_path):
    tensors = {
        "a": torch.randn(3, 4).T,  # not contiguous
        "b": torch.randn(5).bfloat16().requires_grad_(),
        "c": torch.arange(3),
        "d": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "e": torch.tensor(1.5),
    }
    about = {"kind": "var", "config": {"depth": 2, "scales": [1, [2, 3]]}}
    save_model(tmp_path / "m.safetensors", about, tensors)
    read_about, read = read_model(tmp_path / "m.safetensors")
    assert read_about == about and read.keys() == tensors.keys()
    assert all(torch.equal(read[name], t) and read[name].dtype == t.dtype for name, t in tensors.items())


def test_a_file_that_is_truncated_or_something_else_is_refused_by_name(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, {"kind": "var"}, {"a": torch.randn(100)})
    whole = path.read_bytes()
    for damaged in (whole[:-10], whole[:20], b"", b"<html>not found</html>"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{path} is truncated or not a safetensors file"):
            read_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=rf"{path} is a safetensors file, but not a varlite model"):
        read_model(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_model(tmp_path / "other.safetensors")
