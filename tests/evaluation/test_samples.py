import json

import numpy as np
import pytest
from metrics import noise_images, request, scores, write_pngs
from PIL import Image

from varlite.evaluation import samples
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate


def test_samples_are_kept_as_png_files_that_score_the_same(small, cache, tmp_path):
    kept = evaluate(request(small, samples=tmp_path / "png"))
    assert scores(kept) == scores(evaluate(request(small)))
    assert len(list((tmp_path / "png").glob("*.png"))) == 120 and (tmp_path / "png" / "0009_00011.png").exists()
    again = evaluate(Request(images=str(tmp_path / "png"), features="fashion", metrics=("fd",)))
    assert again["scores"]["fd"] == pytest.approx(kept["scores"]["fd"], rel=1e-5)
    assert again["num"] == 120 and again["images"] == str(tmp_path / "png") and again["settings"] == {}


def test_samples_for_adm_are_rgb_and_shuffled_with_their_labels(small, cache, tmp_path):
    evaluate(request(small, samples=tmp_path / "png"))
    evaluate(request(small, samples=tmp_path / "samples.npz"))
    with np.load(tmp_path / "samples.npz") as file:
        images, labels = file["arr_0"], file["arr_1"]
    assert images.shape == (120, 28, 28, 3) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [12] * 10 and (np.diff(labels) != 0).sum() > 60
    assert not (labels == np.arange(120) % 10).all()
    files = {np.asarray(Image.open(path)).tobytes(): int(path.name[:4]) for path in (tmp_path / "png").glob("*.png")}
    assert [files[img[..., 1].tobytes()] for img in images] == labels.tolist()


def test_samples_of_an_earlier_larger_run_are_removed_and_others_images_refused(small, cache, tmp_path):
    folder = tmp_path / "png"
    evaluate(request(small, num=140, samples=folder))
    unmixed = evaluate(request(small, samples=folder))
    assert (
        len(list(folder.glob("*.png"))) == 120
        and json.loads((folder / "samples.json").read_text())["num_per_class"] == 12
    )
    images = Request(images=str(folder), features="fashion", metrics=("fd",))
    assert evaluate(images)["scores"]["fd"] == pytest.approx(unmixed["scores"]["fd"], rel=1e-5)
    write_pngs(folder / "more", noise_images(2))
    with pytest.raises(
        ValueError, match=r"samples: .* holds 2 images that would be counted in, such as more/00000.png"
    ):
        evaluate(request(small, samples=folder))
    with pytest.raises(ValueError, match=r"samples.json names 120 images and the folder holds 2 more"):
        evaluate(images)


def test_a_run_between_does_not_mix_its_samples_into_one_that_is_resumed(small, cache, tmp_path, break_off):
    folder = tmp_path / "png"
    break_off(samples, "generate", 4)
    with pytest.raises(KeyboardInterrupt):
        evaluate(request(small, samples=folder))
    other = evaluate(request(small, seed=1, samples=folder))
    resumed = evaluate(request(small, samples=folder))
    again = evaluate(Request(images=str(folder), features="fashion", metrics=("fd",)))
    assert again["scores"]["fd"] == pytest.approx(resumed["scores"]["fd"], rel=1e-5) != other["scores"]["fd"]


def test_no_hook_looks_on_where_no_panel_asks_for_tokens(small, cache, monkeypatch):
    hooks, generate = [], samples.generate

    def watched(*arguments, **settings):
        hooks.append(settings["on_scale"])
        return generate(*arguments, **settings)

    monkeypatch.setattr(samples, "generate", watched)
    evaluate(request(small, metrics=("accuracy",)))
    assert hooks and set(hooks) == {None}
