from pathlib import Path

import numpy as np
import pytest
from metrics import noise_images, request, write_pngs

from varlite.evaluation import samples
from varlite.evaluation.scoring import evaluate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num": 125}, "num must be a multiple of the 10 classes and at least 20, got 125"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"cfg": -1.0}, "cfg must be 0 or more"),
        ({"metrics": ("fid",)}, "the features fashion there are accuracy, .*; fid takes the features inception"),
        ({"num": 30, "metrics": ("recall_within_class",)}, "it takes more than 3 images of each class"),
        ({"reference": "nothing"}, "reference: nothing is neither a folder nor an .npz file nor one of fashion"),
        ({"reference": "empty"}, "reference: empty holds no images"),
        ({"reference": "text"}, "reference: text is not an npz of ADM's evaluator"),
        ({"features": "vgg"}, "features must be inception or fashion, got 'vgg'"),
        ({"images": "empty"}, "images: empty holds no images"),
        ({"images": "images", "metrics": ("precision",)}, "it takes at least 4 images, and there are 3"),
        ({"images": "images", "samples": Path("x")}, "samples are written of a model"),
        ({"images": "images", "metrics": ("accuracy",)}, "no accuracy: the classes of the images are not known"),
        ({"images": "images", "metrics": ("fd_ratio",)}, "no fd_ratio: it is of a model, and of the reference fashion"),
        ({"images": "images", "metrics": ("fd",)}, "takes grey 28 x 28, the images have 1 channels of 10 x 10"),
        ({"reference": "statistics.npz", "features": "fashion"}, "statistics in .* are of 5 features, fash.* 128"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_before_the_first_image(small, cache, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no npz")
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(5), sigma=np.eye(5))
    write_pngs(tmp_path / "images", noise_images(3, side=10)[:, :1])
    monkeypatch.setattr(samples, "generate", lambda *a, **k: pytest.fail("an image was made"))
    if "statistics" in str(changes):
        changes = changes | {"metrics": ("fd",)}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate(request(small, **changes))
