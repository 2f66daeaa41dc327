"""What would make a score mean something else is refused or remarked on."""

import json
import shutil

import pytest
import torch
from metrics import QUICK, noise_images, request, write_pngs

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation import samples
from varlite.evaluation.request import Request
from varlite.evaluation.safeguards import unevenness
from varlite.evaluation.scoring import evaluate
from varlite.io.files import read_model, save_model


@pytest.fixture
def folders(tmp_path, cache):
    """Grey images of 28 x 28: `one`, its `copy`, a part of it, `one/part`, and `other` ones."""
    images = FashionMNIST("test").all_images
    one = write_pngs(tmp_path / "one", images[:40])
    write_pngs(one / "part", images[40:60])
    shutil.copytree(one, tmp_path / "copy")
    write_pngs(tmp_path / "other", images[100:300])
    return {name: str(tmp_path / name) for name in ("one", "copy", "one/part", "other")}


def fd(**changes):
    return Request(**{"features": "fashion", "metrics": ("fd",)} | changes)


@pytest.mark.parametrize("reference", ["one", "one/part", "copy"])
def test_images_are_not_compared_with_themselves(folders, reference):
    for images, of in (("one", reference), (reference, "one")):
        with pytest.raises(ValueError, match=r"reference: .* (same folder|the same images)"):
            evaluate(fd(images=folders[images], reference=folders[of]))
    assert evaluate(fd(images=folders["one"], reference=folders["other"]))["scores"]["fd"] > 0


def test_a_data_set_is_not_compared_with_itself(cache):
    with pytest.raises(ValueError, match="fashion holds the same images"):
        evaluate(fd(images="fashion"))


def test_a_reference_of_another_size_is_refused(tmp_path, cache, inception):
    of = {"features": "inception", "metrics": ("fid",), "inception": inception}
    a, b = (write_pngs(tmp_path / str(side), noise_images(3, side=side)) for side in (32, 40))
    with pytest.raises(ValueError, match=r"reference: the images of .* are 40 x 40, those to be scored 32 x 32"):
        evaluate(Request(images=str(a), reference=str(b), **of))


def test_a_reference_of_other_classes_than_the_models_is_refused(small, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "generate", lambda *a, **k: pytest.fail("an image was made"))
    shutil.copytree(small, tmp_path / "named")
    about, tensors = read_model(small / "model.safetensors")
    save_model(tmp_path / "named" / "model.safetensors", about | {"classes": list("abcdefghij")}, tensors)
    with pytest.raises(
        ValueError, match=r"fashion has 10 classes \(t-shirt, .* trained on 10 classes \(a, b, c, ...\)"
    ):
        evaluate(request(tmp_path / "named"))
    about["config"] |= {"classes": 4}
    tensors["class_embed.table.weight"] = tensors["class_embed.table.weight"][:5].clone()
    save_model(tmp_path / "named" / "model.safetensors", about, tensors)
    with pytest.raises(ValueError, match=r"fashion has 10 classes .* trained on 4 classes"):
        evaluate(request(tmp_path / "named"))


def test_too_few_images_for_the_features_are_remarked_on_and_no_distance_is_below_zero(folders, capsys, tmp_path):
    result = evaluate(fd(images=folders["one"], reference=folders["other"]), tmp_path / "a.json")
    (remark,) = result["remarks"]
    assert remark.startswith("fd: 60 images are too few for 128 features") and result["scores"]["fd"] >= 0
    assert f"note: {remark}" in capsys.readouterr().err
    assert json.loads((tmp_path / "a.json").read_text())["remarks"] == result["remarks"]
    assert "remarks" not in evaluate(fd(images=folders["other"]))


def test_classes_that_are_unequally_frequent_are_remarked_on(tmp_path, cache):
    test = FashionMNIST("test")
    for c, count in ((0, 90), (1, 90), (2, 10)):
        write_pngs(tmp_path / "images" / str(c), test.images((test.labels == c).nonzero().flatten()[:count]))
    (remark,) = evaluate(fd(images=str(tmp_path / "images")))["remarks"]
    assert "images: classes are unequally frequent, 10 images of 2 and 90 of 0" in remark


def test_random_labels_pass_for_balanced_and_a_class_that_is_missing_does_not():
    labels = torch.randint(10, (300,), generator=torch.Generator().manual_seed(0))
    assert unevenness(labels.bincount().tolist()) < 0.05 < 0.1 < unevenness([100] * 4 + [0])


def test_an_inception_score_of_fewer_images_than_adm_takes_is_remarked_on(tmp_path, cache, inception):
    images = write_pngs(tmp_path / "images", noise_images(10))
    other = write_pngs(tmp_path / "other", noise_images(2, seed=1))
    result = evaluate(Request(images=str(images), reference=str(other), inception=inception, metrics=("is",)))
    assert [remark[:3] for remark in result["remarks"]] == ["is:"]


def test_quick_scores_of_a_model_say_that_they_are_of_too_few_samples(small, cache):
    assert [r.partition(":")[0] for r in evaluate(request(small, metrics=QUICK))["remarks"]] == ["fd"]
