import json

import pytest
import torch

from varlite.speed import report, side_by_side


def test_the_table_is_printed_and_the_record_written(varlite, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(side_by_side, "bench", lambda *arguments: asked.append(arguments) or {"batch": arguments[1]})
    monkeypatch.setattr(report, "report", lambda record: f"batch {record['batch']}")
    status, stdout, _ = varlite("bench", "--batch", 2, "--rounds", 1, "--device", "cpu", "--out", "new/bench.json")
    assert (status, stdout) == (0, "batch 2\n")
    assert json.loads((tmp_path / "new/bench.json").read_text()) == {"batch": 2}
    assert asked == [("fashion-var-d4", 2, "sample", torch.device("cpu"), 1, "float32", False, None, ())]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "rounds must be at least 1, got 0"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--rounds=-1"], "rounds must be at least 1, got -1"),
        (["--model", "x"], "unknown model 'x'"),
        (["--model", "a-file"], "a-file is not a checkpoint"),
        (["--weights", "a-file"], "weights: only the published models take it"),
        (["--what", "train", "--precision", "int8"], "training knows neither int8 nor compiled blocks"),
        (["--out", "/dev/null"], "out: /dev/null is a device or pipe"),
        (["--out", "."], "out: . is a folder, and a file is needed there"),
        (["--out", "a-file/bench.json"], "out: a-file is a file, and a folder is needed there"),
        (["--device", "mps"], "device: there is no mps here"),
        (["--what", "train", "--compile"], "training knows neither int8 nor compiled blocks"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_any_work(refused, arguments, message):
    refused(["bench", *arguments], message)
