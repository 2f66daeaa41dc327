import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x"], "no checkpoint at x"),
        (["--out", "."], "out: . is a folder, and a file is needed there"),
        (["--out", "a-file/scores.json"], "out: a-file is a file, and a folder is needed there"),
        (["--model", "fashion-vq", "--out", "."], "out: . is a folder"),
        (["--samples", "a-file"], "samples: a-file is a file, and a folder is needed there"),
        (["--samples", "a-folder.npz"], "samples: a-folder.npz is a folder, and a file is needed there"),
        (["--images", "nothing"], "images: nothing"),
        (["--reference", "nothing"], "reference: nothing"),
        (["--images", "fashion", "--samples", "out"], "samples are written of a model"),
        (["--num", "0"], "num must be at least 1, got 0"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--top-p", "2"], "top_p must lie in 0 (off) .. 1, got 2.0"),
        (["--device", "mps"], "device: there is no mps here"),
        (["--metrics", "fid"], "metrics: with the features fashion there are"),
        (["--card", "--reference", "fashion-train"], "card: it holds the default metrics"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_any_work(refused, tmp_path, arguments, message):
    (tmp_path / "a-folder.npz").mkdir()
    refused(["evaluate", *arguments], message)
