import json

import pytest
from examples import lively, tokenizer_for

from varlite.checkpoints.pretrained import save_pretrained


@pytest.fixture
def folder(tmp_path):
    model = lively("markov", depth=1, scales=[1, 3])
    save_pretrained(model, tmp_path / "mine", tokenizer=tokenizer_for(model))
    return tmp_path / "mine"


@pytest.mark.slow
def test_a_model_is_exported_and_the_comparison_reported(varlite, folder, tmp_path):
    status, out, err = varlite("export", folder, "--out", tmp_path / "onnx", "--images", 3)
    assert status == 0, err
    assert "3 of 3 images have the same tokens by onnxruntime" in out and "weights.bin" in out
    about = json.loads((tmp_path / "onnx" / "model.json").read_text())
    assert about["kind"] == "markov" and about["versions"]["onnxruntime"] and len(about["weights_sha256"]) == 64
    assert str(tmp_path / "onnx") not in about["command"]


def test_wrong_arguments_are_refused_before_anything_is_written(varlite, folder, tmp_path):
    for arguments, message in (
        (["there-is-none"], "unknown model 'there-is-none'"),
        ([folder, "--images", "0"], "images must be at least 1"),
        ([folder, "--weights", folder], "weights: only the published models take it"),
        (["fashion-raster-d4"], "model: fashion-raster-d4 draws token after token"),
    ):
        status, _, err = varlite("export", *arguments, "--out", tmp_path / "onnx")
        assert status == 1 and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "onnx").exists()
