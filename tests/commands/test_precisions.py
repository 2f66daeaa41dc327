"""Every command in every precision that it offers, on the CPU. `edit` with its tasks: see test_edit.py."""

import numpy as np
import pytest
from PIL import Image

HALF = ["bfloat16", "float16"]


@pytest.mark.parametrize(
    ("command", "precision"),
    [
        *((command, precision) for command in ("sample", "evaluate") for precision in (*HALF, "float32", "int8")),
        *(("train", precision) for precision in (*HALF, "float32")),
        *(("train-tokenizer", precision) for precision in HALF),
        *(("bench", precision) for precision in (*HALF, "int8")),
        *(("bench --what train", precision) for precision in HALF),
    ],
)
@pytest.mark.usefixtures("presets", "cache", "quick_bench")
def test_a_command_runs_in_a_precision_that_it_offers(varlite, trained, command, precision):
    model, data = ["--model", trained / "var"], ["--data", trained / "images"]
    words = {
        "sample": [*model, "--num-per-class", 2],
        "evaluate": ["--num", 20, "--metrics", "accuracy", "fd"],
        "train": ["--preset", "tiny-var", "--tokenizer", trained / "vq", *data, "--steps", 2],
        "train-tokenizer": ["--preset", "tiny-vq", *data, "--steps", 2, "--batch", 4],
        "bench": ["--rounds", 1, *model],
        "bench --what train": ["--rounds", 1, *model],
    }
    status, _, err = varlite(*command.split(), *words[command], "--precision", precision, "--device", "cpu")
    assert status == 0, err
    for path in ("out/samples/0000_00000.png",) if command == "sample" else ():
        assert np.ptp(np.asarray(Image.open(path)).astype(int)) > 20  # neither black nor grey
