"""`varlite evaluate` asks the panel: of a model's samples with the tokens it drew, and of given images without."""

import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from metrics import request

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation import judging, samples
from varlite.evaluation.judges.verdict import Report
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.io.pictures import save_png


def panel(small, **changes):
    return request(small, **{"metrics": ("panel",), "num": 40} | changes)


def test_two_evaluations_of_the_same_samples_agree_to_the_last_digit(small, cache, quick_panel):
    first, again = (evaluate(panel(small, batch=16))["panel"] for _ in range(2))
    assert first == again and first["num"] == 40 and set(first["scores"]) == {
        "sw_patches", "drawn_tokens", "spread_pixels",
    }  # fmt: skip
    assert evaluate(panel(small, seed=1))["panel"] != first


def test_samples_kept_in_a_folder_score_the_same_except_for_what_was_drawn(small, cache, quick_panel, tmp_path):
    ours = evaluate(panel(small, samples=tmp_path / "kept"))["panel"]["scores"]
    given = evaluate(Request(images=str(tmp_path / "kept"), metrics=("panel",)))["panel"]
    assert given["scores"]["sw_patches"]["value"] == pytest.approx(ours["sw_patches"]["value"], rel=1e-5)
    assert set(given["left_out"]) == {"drawn_tokens", "spread_pixels"}
    assert "drawn_tokens: the images do not come with the tokens" in given["left_out"]["drawn_tokens"]


def test_broken_off_it_goes_on_with_the_images_and_tokens_that_are_kept(small, cache, quick_panel, break_off):
    unbroken, made = evaluate(panel(small))["panel"], break_off(samples, "generate", 2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(panel(small))
    assert evaluate(panel(small))["panel"] == unbroken and len(made) == 4


def test_the_verdict_between_evaluations_names_the_one_nearer_to_the_data(small, cache, quick_panel, tmp_path, varlite):
    images = tmp_path / "real"
    images.mkdir()
    for i, img in enumerate(FashionMNIST("train").all_images[:40]):
        save_png(images / f"{i:05d}.png", img)
    evaluate(Request(images=str(images), metrics=("panel",)), tmp_path / "real.json")
    words = ["evaluate", "--model", small, "--num", 40, "--metrics", "panel", "--against", "real.json"]
    status, out, err = varlite(*words, "--out", "mine.json")
    assert status == 0, err
    verdict = json.loads((tmp_path / "mine.json").read_text())["verdict"]
    assert [(place["name"], place["rank"]) for place in verdict["places"]] == [("real", 1), ("this", 2)]
    assert out.splitlines()[-1] == f"verdict: {verdict['line']}"
    assert verdict["line"].startswith("by 1 judges that had no part in any choice, how far from real pictures at worst")


def test_ssg_moves_the_samples_and_is_recorded(small, cache, quick_panel):
    plain, moved = evaluate(panel(small)), evaluate(panel(small, ssg=0.6))
    assert moved["settings"]["ssg"] == 0.6 and "--ssg 0.6" in moved["command"] and "ssg" not in plain["settings"]
    drawn = [result["panel"]["scores"]["drawn_tokens"]["value"] for result in (plain, moved)]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "fashion-train"}, "no panel: its judges compare with the reference fashion"),
        ({"images": "few"}, "no panel: it takes at least 20 images, and there are 3"),
        ({"images": "small"}, "no panel: its judges look at images of 28 x 28"),
        ({"features": "inception"}, "the features inception there are fid.*; panel takes the features fashion"),
        ({"ssg": -1.0}, r"ssg must be 0 \(off\) or more"),
        ({"against": ("other.json",), "metrics": ("fd",)}, "against: the verdict takes the metric panel"),
        ({"against": ("plain.json",)}, "against: plain.json holds no scores of the panel"),
        ({"against": ("other.json",)}, "against: other.json is of 60 images, and 40 are to be scored"),
    ],
)  # fmt: skip
def test_what_the_panel_cannot_do_is_said_before_the_first_image(small, cache, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    for name, num, side in (("few", 3, 28), ("small", 30, 10)):
        (tmp_path / name).mkdir()
        for i in range(num):
            save_png(tmp_path / name / f"{i:05d}.png", FashionMNIST("test").all_images[i, :, :side, :side])
    (tmp_path / "plain.json").write_text('{"scores": {}}')
    (tmp_path / "other.json").write_text(json.dumps({"panel": Report(60, {}).record()}))
    monkeypatch.setattr(samples, "generate", lambda *a, **k: pytest.fail("an image was made"))
    if "against" in changes:
        changes = changes | {"against": tuple(Path(name) for name in changes["against"])}
    with pytest.raises(ValueError, match=message):
        evaluate(panel(small, **changes))


def test_of_very_many_images_as_many_as_the_reference_has_are_looked_at_of_all_classes(monkeypatch):
    monkeypatch.setattr(judging, "MOST", 50)
    asked = []

    class Panel:
        views: ClassVar = {}

        def ask(self, samples):
            asked.append((samples.images[:, 0, 0, 0], samples.labels))

    monkeypatch.setattr(judging, "open_panel", lambda tokenizer, num: Panel())

    class Many:
        labels, size = torch.arange(250) % 10, (28, 28)

        def __len__(self):
            return 250

        def batch(self, rows):
            return torch.arange(250)[rows].view(-1, 1, 1, 1).expand(-1, 1, 28, 28).byte()

    judging.ask_panel(Many(), {})
    ((rows, labels),) = asked
    assert len(rows) == 50 and (rows.diff() > 0).all() and labels.equal(rows.long() % 10)
    assert labels.unique().tolist() == list(range(10))
