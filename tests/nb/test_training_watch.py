import json
import threading

import pytest
from examples import image_folder, tokenizer_config
from ipywidgets import Image

from varlite.nb import training_watch as module
from varlite.presets import TokenizerRecipe
from varlite.training.options import Options
from varlite.training.train_tokenizer import train_config

RECIPE = TokenizerRecipe(steps=4, batch=4, lr=1e-3, warmup=1, ema=0.9, l1=0.2, quantizer=0.2)
LINES = [{"step": step, "loss": 1 / step, "perplexity_per_scale": [1, step]} for step in (50, 100)]


def write_log(folder, lines, tail=""):
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + tail)


def test_a_line_of_a_log_that_is_still_being_written_is_left_out(tmp_path):
    assert module.read_log(tmp_path) == []
    whole = [{"step": 50, "loss": 2.0}, {"step": 100, "loss": 1.5}]
    write_log(tmp_path, whole, tail='{"step": 150, "los')
    assert module.read_log(tmp_path) == whole
    write_log(tmp_path, whole, tail='{"step": 150, "pair": {"a": 1}')  # ends in a brace, but not in a line
    assert module.read_log(tmp_path) == whole


def test_the_screen_follows_a_log_and_shows_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.01)
    seen, drawn, screen = [], threading.Semaphore(0), Image(format="png")

    def note(change):
        seen.append(bytes(change["new"]))
        drawn.release()

    screen.observe(note, "value")
    with module.watch(tmp_path / "run", screen):
        assert drawn.acquire(timeout=20)  # no log yet
        write_log(tmp_path / "run", LINES[:1])
        assert drawn.acquire(timeout=20)
        write_log(tmp_path / "run", LINES)
    assert len(seen) == len(set(seen)) == 3
    assert seen[-1] == bytes(screen.value) and seen[-1].startswith(b"\x89PNG")


def test_the_screen_is_let_go_when_a_training_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.01)
    threads = threading.active_count()
    with pytest.raises(FloatingPointError), module.watch(tmp_path, Image(format="png")):
        raise FloatingPointError("the loss is nan")
    assert threading.active_count() == threads


def test_a_training_in_this_process_is_watched_and_its_progress_bar_kept_off_the_page(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.01)
    data, screen = image_folder(tmp_path / "images", side=10), Image(format="png")
    with module.watch(tmp_path / "run", screen):
        train_config(tokenizer_config(), RECIPE, "tiny", str(data), tmp_path / "run", Options(device="cpu"))
    assert bytes(screen.value).startswith(b"\x89PNG") and capfd.readouterr().err == ""
    assert module.column(module.read_log(tmp_path / "run"), "loss")[0] == [4]


def test_a_command_that_fails_says_why(tmp_path, monkeypatch):
    python = tmp_path / "python"  # one that imports no torch
    python.write_text(
        '#!/bin/sh\n[ "$3 $4" = "info --all" ] && exit 0\necho one >&2\necho "no such preset: $5" >&2\nexit 2\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(python))
    module.run_command("info", "--all")
    with pytest.raises(RuntimeError, match="varlite train: no such preset: nosuch"):
        module.run_command("train", "--preset", "nosuch")
