import pytest

from varlite.datasets import emoji


def test_a_data_set_is_encoded_by_the_command_line(varlite, trained, presets):
    data = ["--tokenizer", trained / "vq", "--data", trained / "images"]
    status, out, _ = varlite("tokenize", *data, "--split", "test", "--device", "cpu")
    assert status == 0 and "6 images of 39 tokens in" in out
    status, out, _ = varlite("tokenize", *data, "--views", "3", "--seed", "1", "--device", "cpu")
    assert status == 0 and "54 images in 3 views of 39 tokens in" in out and "-3-views-1" in out


def test_what_was_understood_of_a_folder_is_printed(varlite, trained):
    status, out, err = varlite("data", trained / "images")
    assert (status, err) == (0, "") and "0 round: 27 to train on, 3 to test" in out and "all 14 x 14" in out
    status, out, _ = varlite("data", "fashion")
    assert status == 0 and "train: 60,000 images (t-shirt 6,000" in out


def test_a_data_set_is_fetched_into_the_folder_asked_for(varlite, tmp_path, monkeypatch):
    fetched = []
    images = {"images": {"train": {"food": 3, "flags": 4}}}
    monkeypatch.setattr(emoji, "fetch_emoji", lambda out: fetched.append(out) or images)
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "cache"))
    status, out, _ = varlite("fetch", "emoji", "--out=mine")
    assert status == 0 and out == "train: 7 images; food 3, flags 4\nmine\n"
    varlite("fetch", "emoji")
    assert [str(path) for path in fetched] == ["mine", str(tmp_path / "cache/data/emoji")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokenize", "--tokenizer", "x"], "unknown tokenizer 'x'"),
        (["tokenize", "--data", "nothing"], "data: nothing is neither the name of a dataset"),
        (["data", "nothing"], "data: nothing is neither the name of a dataset"),
        (["data", "a-file"], "data: a-file is a file of a kind that is not read"),
        (["data", "empty"], "data: empty must hold one sub-folder of images for each class"),
        (["tokenize", "--tokenizer", "a-file"], "a-file is not a checkpoint"),
        (["tokenize", "--tokenizer", ""], "no checkpoint at model.safetensors"),
        (["tokenize", "--data", "a-file"], "data: a-file is a file"),
        (["tokenize", "--data", "empty"], "data: empty must hold one sub-folder"),
        (["tokenize", "--batch=-1"], "batch must be at least 1, got -1"),
        (["tokenize", "--batch", "0"], "batch must be at least 1, got 0"),
        (["tokenize", "--views", "0"], "views must be at least 1, got 0"),
        (["tokenize", "--device", "mps"], "device: there is no mps here"),
        (["fetch", "emoji", "--out", "a-file"], "out: a-file is a file, and a folder is needed there"),
        (["fetch", "emoji", "--out", "a-file/emoji"], "out: a-file is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_any_work(refused, presets, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    refused(arguments, message)


def test_a_cache_that_is_a_file_is_named(refused, monkeypatch):
    monkeypatch.setenv("VARLITE_CACHE", "a-file")
    refused(["tokenize"], "VARLITE_CACHE: a-file is a file")
