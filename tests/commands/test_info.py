import json

from varlite.checkpoints import cards
from varlite.io.places import CHECKPOINTS, RESULTS
from varlite.presets import MODELS, TOKENIZERS


def test_info_lists_every_preset_with_parameters_and_tokens(varlite):
    status, out, _ = varlite("info")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0 and lines.keys() >= (TOKENIZERS | MODELS).keys()
    assert "310,283,520    680  1,2,3,4,5,6,8,10,13,16" in lines["var-d16"]
    assert len({line.index(" 1,2,3") for line in lines.values() if " 1,2,3" in line}) == 1  # columns are straight


def test_models_are_listed_with_their_distance_and_recall_and_with_those_of_real_pictures(varlite):
    """No ratio to reconstructions: it would put a raster model with a poor tokenizer first."""
    *lines, last = varlite("info")[1].splitlines()
    for name in ("fashion-raster-d4", "fashion-var-d4"):
        scores = json.loads((CHECKPOINTS / name / "card.json").read_text())["scores"]
        (line,) = (line for line in lines if line.startswith(f"{name} "))
        assert line.endswith("accuracy {accuracy:.1%}, FD {fd:.2f}, recall {recall:.2f}".format(**scores))
    real = json.loads((RESULTS / "yardsticks.json").read_text())["rows"]["test pictures"]["mean"]
    shown = [last, lines[-1]]
    assert any("real pictures have {fd:.1f} and a recall of {recall:.2f}.".format(**real) in line for line in shown)


def test_info_says_of_published_weights_how_good_they_are_and_under_which_licence(varlite):
    lines = {line.split()[0]: line for line in varlite("info")[1].splitlines()}
    assert lines["cca-d16"].endswith("published FID 4.03 at cfg 0, top-k 900, top-p 0.96; MIT")
    assert lines["mvar-d24"].endswith("FID 1.93 at cfg 1.5, top-k 900, top-p 0.96; no licence stated: ask its authors")
    assert "https://huggingface.co/Zigeng/VAR_CoDe" in json.loads(varlite("info", "code-drafter-8")[1])["published"]


def test_info_of_one_model_is_its_configuration_and_card(varlite, trained):
    shown = json.loads(varlite("info", "var-d36")[1])
    assert shown["parameters"] == 2_353_893_904 and shown["config"]["shared_adaln"] is True
    card = json.loads(varlite("info", trained / "var")[1])
    assert card["training"]["preset"] == "tiny-var" and card["last_logged"]["step"] == 40
    health = json.loads(varlite("info", trained / "vq")[1])["last_logged"]
    assert len(health["perplexity_per_scale"]) == len(health["dead_codes_per_scale"]) == 4


def test_an_unknown_model_is_refused(refused):
    for name in ("x", "a-file", "-1", "nan", "../x", ""):
        refused(["info", name], f"unknown model '{name}': neither a folder with a card.json nor one of fashion-vq")


def test_a_model_of_still_life_is_listed_with_what_its_samples_show(varlite, monkeypatch, tmp_path):
    monkeypatch.setattr(cards, "CHECKPOINTS", tmp_path)
    (tmp_path / "still-var-d6").mkdir()
    (tmp_path / "still-var-d6" / "card.json").write_text('{"scores": {"shows_class": 0.951, "coherent": 0.9}}')
    (line,) = (line for line in varlite("info")[1].splitlines() if line.startswith("still-var-d6"))
    assert line.endswith("shows its class 95.1%, coherent 90.0%")
