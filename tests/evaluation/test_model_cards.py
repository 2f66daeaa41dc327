import json
import shutil
from pathlib import Path

import pytest
from metrics import request

from varlite.checkpoints.load import load, load_tokenizer
from varlite.evaluation import model_cards
from varlite.evaluation.model_cards import evaluate_any
from varlite.evaluation.request import Request
from varlite.evaluation.small_models import RealImages, Scorer, class_balanced

JUDGES = ["sw_patches", "drawn_tokens", "spread_pixels"]


@pytest.fixture(scope="module")
def real():
    return Scorer()


def test_the_scores_go_on_the_card_with_the_command_that_made_them(varlite, small, cache, real, quick_panel, tmp_path):
    shutil.copytree(small, tmp_path / "mine")
    (tmp_path / "mine" / "card.json").write_text('{"training": {"seed": 3}}')
    status, out, err = varlite("evaluate", "--model", "mine", "--num", 100, "--card", "--out", "a/scores.json")
    assert status == 0, err
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    assert card["training"] == {"seed": 3}
    assert card["scores_command"] == "varlite evaluate --model mine --num 100 --seed 0 --cfg 1.5 --top-k 0 --top-p 0.96"
    assert list(card["scores"]) == [
        "accuracy", "fd", "precision", "recall", "recall_within_class", "fd_ratio", "reconstruction_accuracy",
        "reconstruction_fd", "reconstruction_recall_within_class", "unpaired_reconstruction_fd", "floor_fd", "num",
        "seed", "seconds_per_image",
    ]  # fmt: skip
    result = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert result["scores"] == card["scores"] and f"{card['scores']['fd']}" in out
    assert result["panel"] == card["panel"] and list(card["panel"]["scores"]) == JUDGES
    assert all(f"\n{name}" in out for name in JUDGES) and "\nsummary: " in out
    # The ratio is to reconstructions of equally many test images of the same classes.
    label_N = class_balanced(100, 10)
    images = RealImages("test", label_N, load(tmp_path / "mine")[1]).batch(slice(0, 100))
    again = real.score(images, label_N)
    assert card["scores"]["reconstruction_fd"] == pytest.approx(again["fd"], rel=1e-4)
    assert card["scores"]["fd_ratio"] == pytest.approx(card["scores"]["fd"] / again["fd"], rel=1e-3)
    floor = real.score(RealImages("train", label_N).batch(slice(0, 100)), label_N)["fd"]
    assert card["scores"]["floor_fd"] == pytest.approx(floor, rel=1e-4)


def test_only_default_scores_go_on_a_card(small):
    with pytest.raises(ValueError, match="card: it holds the default metrics of a model"):
        evaluate_any(request(small), card=True)


def of_still_life(monkeypatch, folder, kind, data="still-life"):
    """A model whose card says still-life, and stand-ins for what scores it."""
    (folder / "mine").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "mine" / "card.json").write_text(json.dumps({"training": {"data": data}}))
    monkeypatch.setattr(model_cards, "what_is", lambda name, weights: kind)
    monkeypatch.setattr(model_cards, "on_test_split", lambda request, kind, data, device: ({"scored_on": data}, None))
    monkeypatch.setattr(model_cards, "reader_fits", lambda tokenizer: True)
    monkeypatch.setattr(model_cards, "score_by_truth", lambda *asked: {"coherent": 0.5})


def test_a_model_is_scored_on_what_its_card_says_it_was_trained_on(monkeypatch, tmp_path, capsys):
    of_still_life(monkeypatch, tmp_path, "var")
    result = evaluate_any(Request("mine", num=100, seed=3), card=True)
    assert result["scores"] == {"scored_on": "still-life", "coherent": 0.5}
    assert capsys.readouterr().out.startswith("100 samples of seed 3; another seed gives other digits")
    card = json.loads((tmp_path / "mine" / "card.json").read_text())
    command = "varlite evaluate --model mine --data still-life --num 100 --seed 3 --cfg 1.5 --top-k 0 --top-p 0.96"
    assert card["scores"] == result["scores"] and card["scores_command"] == command


def test_a_model_of_the_large_still_life_is_judged_by_truth_too(monkeypatch, tmp_path):
    of_still_life(monkeypatch, tmp_path, "var", "still-life-large")
    assert evaluate_any(Request("mine"))["scores"] == {"scored_on": "still-life-large", "coherent": 0.5}


def test_the_command_says_in_which_precision_samples_were_drawn(monkeypatch, tmp_path):
    of_still_life(monkeypatch, tmp_path, "var")
    assert evaluate_any(Request("mine", precision="int8"))["command"].endswith("--top-p 0.96 --precision int8")


@pytest.mark.parametrize("own", [
    {"metrics": ("fid",)}, {"features": "inception"}, {"samples": Path("kept")}, {"reference": "cifar10"},
    {"against": (Path("other"),)}, {"images": "folder"},
])  # fmt: skip
def test_what_other_data_have_no_network_for_is_refused_before_anything_is_scored(monkeypatch, tmp_path, own):
    of_still_life(monkeypatch, tmp_path, "var")
    with pytest.raises(ValueError, match=f"{next(iter(own))}: on the data still-life no network compares"):
        evaluate_any(Request("mine", **own), data="still-life")
    if "images" not in own:
        of_still_life(monkeypatch, tmp_path / "vq", "tokenizer")
        with pytest.raises(ValueError, match=f"{next(iter(own))}: of a tokenizer no samples are scored; leave it out"):
            evaluate_any(Request("mine", **own), data="fashion")


def test_a_number_of_samples_that_cannot_be_balanced_is_refused_before_the_test_split_is_scored(monkeypatch):
    monkeypatch.setattr(model_cards, "cache_tokens", lambda *asked, **others: pytest.fail("tokens were made"))
    with pytest.raises(ValueError, match="num must be a multiple of the 10 classes and at least 20, got 15"):
        evaluate_any(Request("still-var-d6", num=15))


def test_a_tokenizer_is_too_and_data_that_are_named_come_first(monkeypatch, tmp_path):
    of_still_life(monkeypatch, tmp_path, "tokenizer")
    assert evaluate_any(Request("mine"))["command"] == "varlite evaluate --model mine --data still-life"
    assert evaluate_any(Request("mine"), data="cifar10")["scores"] == {"scored_on": "cifar10"}


def test_on_other_data_a_model_is_opened_as_it_was_asked_for(monkeypatch):
    opened = {}

    def load(name, weights, **others):
        opened.update({"name": name, "weights": weights}, **others)
        raise ValueError("enough")

    monkeypatch.setattr(model_cards, "load", load)
    monkeypatch.setattr(model_cards, "what_is", lambda name, weights: "published")
    with pytest.raises(ValueError, match="enough"):
        evaluate_any(Request("var-d16", weights=Path("mine"), dials=("steps=2",)), data="cifar10", device="cpu")
    assert opened == {"name": "var-d16", "weights": Path("mine"), "device": "cpu", "dials": ("steps=2",)}


def test_with_a_reference_features_metrics_or_samples_of_ones_own_samples_are_scored(monkeypatch, tmp_path):
    of_still_life(monkeypatch, tmp_path, "var")
    monkeypatch.setattr(model_cards, "evaluate", lambda request, out, device: {"scores": {"of": "samples"}})
    for own in ({"reference": "still-life"}, {"features": "inception"}, {"metrics": ("fid",)}, {"samples": tmp_path}):
        assert evaluate_any(Request("mine", **own))["scores"] == {"of": "samples"}
    monkeypatch.setattr(model_cards, "classify", lambda request, data, device: {"data": data})
    monkeypatch.setattr(model_cards, "report", lambda result: None)
    assert evaluate_any(Request("mine", metrics=("classify",))) == {"data": "still-life"}


def test_on_data_without_a_judge_a_precision_has_no_use(monkeypatch, tmp_path):
    of_still_life(monkeypatch, tmp_path, "var", "cifar10")
    with pytest.raises(ValueError, match="precision: on the data cifar10 no network compares samples with pictures"):
        evaluate_any(Request("mine", precision="int8"))


@pytest.mark.parametrize("name, own", [("fashion-classifier", "fashion"), ("still-reader", "still-life")])
def test_a_network_that_reads_pictures_is_scored_on_its_own_data_alone(name, own):
    with pytest.raises(ValueError, match=f"data: this .* is scored on test images of {own}, got cifar10: leave it out"):
        evaluate_any(Request(name), data="cifar10")


def test_real_images_are_nearer_than_reconstructions_and_nearest_where_the_reference_holds_them(real):
    label_N, vq = class_balanced(500, 10), load_tokenizer("fashion-vq")
    held, floor, reconstructed = (
        real.score(RealImages(split, label_N, tokenizer).batch(slice(0, 500)), label_N)["fd"]
        for split, tokenizer in (("test", None), ("train", None), ("train", vq))
    )
    assert held < floor < reconstructed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("classify",), "ssg": 3.0}, "ssg: classify looks at test images and draws no samples"),
        ({"metrics": ("classify",), "seed": 1}, "seed: classify looks at test images"),
        ({"metrics": ("classify",), "against": (Path("x.json"),)}, "against: classify looks at test images"),
        ({"metrics": ("classify",), "dials": ("foo=3",), "num": 2}, "dials: .* no dial"),
        ({"model": "fashion-classifier", "num": 7}, "num: of a classifier no samples are scored; leave it out"),
        ({"model": "fashion-classifier", "cfg": 3.0}, "cfg: of a classifier no samples are scored"),
        ({"model": "fashion-vq", "precision": "int8"}, "precision: of a tokenizer no samples are scored"),
        ({"model": "still-vq", "num": 10}, "num: of a tokenizer no samples are scored"),
        ({"images": "folder", "num": 1000}, "num: images are scored as they are given, all of them; leave it out"),
        ({"images": "folder", "cfg": 4.0}, "cfg: images are scored as they are given"),
    ],
)
def test_an_option_without_a_use_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_any(Request(**options))
