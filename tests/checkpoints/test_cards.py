import json
import re

import pytest

from varlite.checkpoints.cards import last_logged, read_card


def test_a_folder_without_card_and_log_has_none(tmp_path):
    assert read_card(str(tmp_path)) == {} == last_logged(str(tmp_path))


def test_the_folder_here_is_not_the_folder_of_those_that_ship(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.json").write_text('{"scores": {"accuracy": 1}}')
    assert read_card(".")["scores"] == {"accuracy": 1} and read_card("..") == {}


def test_card_and_log_are_found_from_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "card.json").write_text('{"scores": {"accuracy": 1, "judges": [{}]}}')
    assert read_card("~/run")["scores"]["accuracy"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " is not valid JSON"),
        ('{"training": {"sta', " is not valid JSON"),
        ("[]", " must be a JSON object, got []"),
        ('{"training": "here"}', ": 'training' must be an object, got \"here\""),
        ('{"scores": [1]}', ": 'scores' must be an object, got [1]"),
        ('{"scores_command": 1}', ": 'scores_command' must be a string, got 1"),
        ('{"scores": {"accuracy": "good"}}', ": its scores: 'accuracy' must be a number, got \"good\""),
        ('{"scores": {"val_mse": NaN}}', ": its scores: 'val_mse' must be a finite number, got nan"),
        (
            '{"scores": {"perplexity_per_scale": ["1"]}}',
            ": its scores: 'perplexity_per_scale' must be a list in which each entry is a number, got \"1\"",
        ),
    ],
)
def test_a_damaged_card_is_refused_by_file_and_entry(tmp_path, content, message):
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(ValueError, match="^" + re.escape(f"{tmp_path}/card.json{message}")):
        read_card(str(tmp_path))


def test_the_last_whole_line_of_a_log_counts(tmp_path):
    lines = [json.dumps({"step": step, "loss": 1.5, "seconds": 2}) for step in (10, 20)]
    (tmp_path / "log.jsonl").write_text(f"{lines[0]}\n{lines[1]}\n" + '{"step": 3')
    assert last_logged(str(tmp_path))["step"] == 20


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 20, "lo', "is not valid JSON"),
        ("20", "must be a JSON object, got 20"),
        ('{"step": "20"}', ": 'step' must be an integer, got \"20\""),
        ('{"step": 20, "seconds": NaN}', ": 'seconds' must be a finite number, got nan"),
    ],
)
def test_a_damaged_line_of_a_log_is_refused_by_its_number(tmp_path, line, message):
    (tmp_path / "log.jsonl").write_text('{"step": 10}\n' + line + "\n")
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/log.jsonl, line 2") + ".*" + re.escape(message)):
        last_logged(str(tmp_path))
