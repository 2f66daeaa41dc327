import pytest
import torch

from varlite.commands.common import ModelOptions, check_counts, pick_device


def test_auto_is_the_best_device_there_is(monkeypatch):
    for cuda, mps, expected in ((True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert pick_device("auto").type == expected and pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device: there is no cuda here, only cpu"):
        pick_device("cuda")


def test_a_number_that_was_not_given_is_no_wrong_number():
    check_counts(batch=None, num=1)
    with pytest.raises(ValueError, match="num must be at least 1, got -3"):
        check_counts(batch=None, num=-3)


def test_a_record_tells_the_weights_the_machine_and_the_command(trained, monkeypatch):
    monkeypatch.setattr("sys.argv", ["varlite", "sample", "--out", "a b"])
    record = ModelOptions(str(trained / "var")).record(torch.device("cpu"))
    assert record["command"] == "varlite sample --out 'a b'" and len(record["weights_sha256"]) == 64
    assert record["device"] == "cpu" and record["versions"]["torch"] == torch.__version__
