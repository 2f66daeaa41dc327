import messy
import pytest

from varlite.training import own_pictures


def test_the_command_hands_its_words_to_the_function(varlite, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(own_pictures, "fit", lambda *words: calls.append(words))
    assert varlite("fit", "photos", "--minutes", 3, "--flip", "--device", "cpu")[0] == 0
    ((data, out, size, minutes, options),) = calls
    assert (data, out, size, minutes, options.flip, options.device) == ("photos", None, None, 3.0, True, "cpu")


@pytest.mark.parametrize(("words", "message"), [
    (["few"], "data: few has 12 pictures, too few to learn from: at least 20 are needed"),
    (["few", "--minutes", "-1"], "minutes must be positive, got -1"),
    (["few", "--minutes", "nan"], "minutes must be positive, got nan"),
    (["few", "--minutes", "inf"], "minutes must be positive, got inf"),
    (["few", "--size", "17"], "size must be a multiple of 4 from 16 to 48"),
    (["nothing"], "data: nothing is neither the name of a dataset"),
    (["few", "--out", "a-file"], "out: a-file is a file, and a folder is needed there"),
])  # fmt: skip
def test_a_wrong_word_is_answered_with_one_line_and_leaves_nothing_behind(refused, tmp_path, words, message):
    messy.folder(tmp_path / "few", {"cats": 6, "dogs": 6})
    refused(["fit", *words], message)
