import json
import re
from pathlib import Path

import hub_server
import pytest
import torch
import yaml
from examples import EXAMPLES, lively, one_scale_tokenizer, tiny_tokenizer, tiny_var, tokenizer_for

import varlite
from varlite import VAR, VQVAE, load
from varlite.models import Raster

CARD = {
    "training": {"data": "fashion", "seed": 3, "recipe": {"steps": 40}, "command": "varlite train --preset tiny"},
    "scores": {"fd": 2.5, "accuracy": 0.9, "perplexity_per_scale": [1.0, 2.0]},
    "scores_command": "varlite evaluate --model tiny",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_server.serve(monkeypatch, str(tmp_path / "hub-cache")) as repositories:
        yield repositories


def equal(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return a.config == b.config and ours.keys() == theirs.keys() and all(ours[k].equal(theirs[k]) for k in ours)


def front_matter(text):
    return yaml.safe_load(text.split("---")[1])


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_kind_comes_back_from_a_folder_as_it_was_saved(kind, tmp_path):
    model = lively(kind, **EXAMPLES[kind][0])
    tokenizer = tokenizer_for(model)
    model.class_names = [f"class {c}" for c in range(model.config.classes)]
    model.save_pretrained(tmp_path / "a" / "mine", tokenizer=tokenizer, card=CARD)
    for again in (type(model).from_pretrained(tmp_path / "a" / "mine"), varlite.from_pretrained(tmp_path / "a/mine")):
        assert type(again) is type(model) and equal(again, model) and not again.training
        assert again.class_names == model.class_names and again.card == CARD
    assert equal(VQVAE.from_pretrained(tmp_path / "a" / "mine"), tokenizer)
    assert equal(load(tmp_path / "a" / "mine")[0], model)
    assert type(model).from_pretrained(tmp_path / "a" / "mine", dtype=torch.float64).pos_LC.dtype == torch.float64


def test_a_tokenizer_by_itself_comes_back_and_beside_a_model_leaves_its_card_alone(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "vq", card={"scores": {"val_mse": 0.5}})
    again = VQVAE.from_pretrained(tmp_path / "vq")
    assert equal(again, tokenizer) and again.card == {"scores": {"val_mse": 0.5}}
    assert "encode(images)" in (tmp_path / "vq" / "README.md").read_text()
    tiny_var().save_pretrained(tmp_path / "both", card=CARD)
    tokenizer.save_pretrained(tmp_path / "both")
    assert json.loads((tmp_path / "both" / "card.json").read_text()) == CARD
    assert equal(load(tmp_path / "both")[1], tokenizer)


def test_a_model_with_its_tokenizer_goes_to_the_hub_and_comes_back(hub, tmp_path):
    model, tokenizer = tiny_var(), tiny_tokenizer()
    address = model.push_to_hub("me/tiny-var", tokenizer=tokenizer, card=CARD, license="cc-by-4.0")
    assert address.endswith("/me/tiny-var/commit/1")
    assert set(hub["me/tiny-var"]) == {
        "README.md", "card.json", "config.json", "model.safetensors", "tokenizer.safetensors",
    }  # fmt: skip
    again = VAR.from_pretrained("me/tiny-var")
    assert equal(again, model) and again.card == CARD | {"license": "cc-by-4.0"}
    assert equal(VQVAE.from_pretrained("me/tiny-var"), tokenizer)
    about = front_matter(hub["me/tiny-var"]["README.md"].decode())
    assert (about["license"], about["library_name"]) == ("cc-by-4.0", "varlite")
    assert {"varlite", "var"} <= set(about["tags"]) and about["datasets"] == ["zalando-datasets/fashion_mnist"]
    metrics = about["model-index"][0]["results"][0]["metrics"]
    assert {metric["type"]: metric["value"] for metric in metrics} == {"fd": 2.5, "accuracy": 0.9}


def test_a_tokenizer_goes_to_the_hub_and_comes_back_without_the_net_once_it_is_in_the_cache(hub, monkeypatch):
    tokenizer = tiny_tokenizer()
    tokenizer.push_to_hub("me/tiny-vq")
    assert set(hub["me/tiny-vq"]) == {"README.md", "config.json", "tokenizer.safetensors"}
    assert equal(VQVAE.from_pretrained("me/tiny-vq"), tokenizer)
    hub.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert equal(VQVAE.from_pretrained("me/tiny-vq"), tokenizer)


def test_what_the_hub_lacks_or_refuses_is_said_in_one_line(hub, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model.safetensors could not be fetched from \S+/me/nothing and"):
        VAR.from_pretrained("me/nothing")
    with pytest.raises(FileNotFoundError, match=r"What it has are presets: var-d16, .*var-d36"):
        VAR.from_pretrained("FoundationVision/var")
    with pytest.raises(OSError, match=r"the hub refused somebody-else/x \(status 403.*HF_TOKEN") as refused:
        tiny_var().push_to_hub("somebody-else/x")
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="repository: "):
        tiny_var().push_to_hub("not a name")


def test_presets_and_the_folders_of_trainings_are_pretrained_too(trained):
    model = VAR.from_pretrained("fashion-var-d4")
    assert (
        model.card["license"] == "mit"
        and model.card["scores"]["accuracy"] > 0.9
        and model.class_names[9] == "ankle boot"
    )
    assert VQVAE.from_pretrained("fashion-vq").config.vocab == model.config.vocab
    for cls, folder in ((VAR, "var"), (VQVAE, "vq")):
        assert cls.from_pretrained(trained / folder).card["training"]["data"]
    assert VQVAE.from_pretrained(trained / "var").card == {}  # that one is the transformer's


def test_a_wrong_name_class_or_file_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"'fashion-var-d99': neither a file or folder here, nor OWNER/NAME .*, nor one of"
    ):
        VAR.from_pretrained("fashion-var-d99")
    tiny_var().save_pretrained(tmp_path / "var")
    with pytest.raises(ValueError, match=r"model.safetensors is a var, which is no Raster"):
        Raster.from_pretrained(tmp_path / "var")
    with pytest.raises(ValueError, match=r"is a var, not a tokenizer"):
        VQVAE.from_pretrained(tmp_path / "var")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no tokenizer.safetensors or model.safetensors"):
        VQVAE.from_pretrained(tmp_path / "empty")
    with pytest.raises(ValueError, match="tokenizer: a tokenizer is saved without another one"):
        tiny_tokenizer().save_pretrained(tmp_path / "vq", tokenizer=tiny_tokenizer())
    with pytest.raises(NotADirectoryError, match=r"folder: .* is a file"):
        tiny_var().save_pretrained(tmp_path / "var" / "config.json")


def test_a_model_does_not_load_with_another_tokenizer_than_it_was_saved_with(tmp_path):
    tiny_var().save_pretrained(tmp_path, tokenizer=tiny_tokenizer(0))
    tiny_tokenizer(1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="was trained with another tokenizer"):
        load(tmp_path)


def test_a_tokenizer_does_not_take_the_card_of_the_model_that_it_lies_beside(tmp_path):
    tiny_var().save_pretrained(tmp_path, tokenizer=tiny_tokenizer(), card=CARD)
    assert VQVAE.from_pretrained(tmp_path).card == {}
    (tmp_path / "model.safetensors").unlink()  # as a download of the tokenizer alone
    assert VQVAE.from_pretrained(tmp_path).card == {}


def test_a_card_of_an_earlier_model_does_not_stay_beside_new_weights(tmp_path):
    tiny_var().save_pretrained(tmp_path, card=CARD, tokenizer=tiny_tokenizer())
    tiny_var().save_pretrained(tmp_path)
    assert type(tiny_var()).from_pretrained(tmp_path).card == {}
    assert (tmp_path / "tokenizer.safetensors").exists()


def test_a_model_card_is_replaced_but_not_one_that_somebody_wrote(tmp_path):
    readme = tmp_path / "README.md"
    tiny_var().save_pretrained(tmp_path, card=CARD, repository="me/x")
    text = readme.read_text()
    assert 'from_pretrained("me/x")' in text and "| Accuracy of samples | 0.9 |" in text
    assert "varlite train --preset tiny" in text and "varlite evaluate --model tiny" in text
    tiny_var().save_pretrained(tmp_path, license="mit")
    assert front_matter(readme.read_text())["license"] == "mit" and "## Scores" not in readme.read_text()
    readme.write_text("mine")
    tiny_var().save_pretrained(tmp_path)
    assert readme.read_text() == "mine"


@pytest.mark.parametrize("make", [
    lambda: tiny_var(), lambda: lively("raster", **EXAMPLES["raster"][0]), lambda: lively("mvar"), one_scale_tokenizer,
])  # fmt: skip
def test_the_lines_of_a_model_card_run(make, tmp_path, monkeypatch):
    model = make()
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("mine", **({} if isinstance(model, VQVAE) else {"tokenizer": tokenizer_for(model)}))
    (lines,) = (tmp_path / "mine" / "README.md").read_text().split("```python\n")[1:]
    shape = (1, 1, *(side * model.stride for side in model.scales.last)) if isinstance(model, VQVAE) else ()
    names = {"images": torch.zeros(shape)}
    exec(lines.split("```")[0], names)
    assert names["images"].ndim == 4 and names["images"].isfinite().all()


def test_no_module_imports_the_hub_until_it_is_needed():
    """It takes half a second, and `varlite --help` should not wait for it."""
    eager = re.compile(r"^(?:from|import) huggingface_hub", re.MULTILINE)
    package = Path(varlite.__file__).parent
    assert [path.name for path in package.rglob("*.py") if eager.search(path.read_text())] == []
