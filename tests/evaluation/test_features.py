"""Features, and the scores on them, against torch-fidelity's own calls on the same images."""

import pytest
import torch
import torch_fidelity
from metrics import noise_images, write_pngs
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from varlite.datasets.fashion import FashionMNIST
from varlite.evaluation import features
from varlite.evaluation.features import FashionFeatures, extract, open_extractor
from varlite.evaluation.request import Request
from varlite.evaluation.scoring import evaluate
from varlite.evaluation.statistics import frechet_distance, inception_score, kid, precision_recall, statistics

NAMES = {
    "fid": "frechet_inception_distance", "is": "inception_score_mean", "is_std": "inception_score_std",
    "kid": "kernel_inception_distance_mean", "kid_std": "kernel_inception_distance_std",
    "precision": "precision", "recall": "recall",
}  # fmt: skip
METRICS = ("fid", "is", "kid", "precision", "recall")
COMMON = {"cuda": False, "cache": False, "verbose": False, "save_cpu_ram": True}
ALL = {"fid": True, "isc": True, "kid": True, "prc": True}


class OfTorchFidelity(FeatureExtractorBase):
    """fashion-classifier as torch-fidelity wants to have it."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)
        self.ours = FashionFeatures()

    @staticmethod
    def get_provided_features_list():
        return "pool", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits" if metric == "isc" else "pool"

    def forward(self, img):
        rows = self.ours(img)
        return tuple(rows[name] for name in self.features_list)


class Listed(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def test_the_scores_are_those_of_torch_fidelity_on_the_same_images():
    images = FashionMNIST("test").all_images
    a, b = images[:300], images[300:700] // 2
    torch_fidelity.register_feature_extractor("ours", OfTorchFidelity)
    theirs = torch_fidelity.calculate_metrics(
        input1=Listed(a), input2=Listed(b), feature_extractor="ours", kid_subset_size=300, kid_subsets=5,
        **COMMON, **ALL,
    )  # fmt: skip
    extractor = open_extractor("fashion")
    x, y = extract(extractor, a), extract(extractor, b)
    ours = {"fid": frechet_distance(statistics(x["pool"]), statistics(y["pool"]))}
    ours["is"], ours["is_std"] = inception_score(x["logits"])
    ours["kid"], ours["kid_std"] = kid(x["pool"], y["pool"], subsets=5, size=300)
    ours["precision"], ours["recall"] = precision_recall(x["pool"], y["pool"])
    for name, value in ours.items():
        assert value == pytest.approx(theirs[NAMES[name]], rel=1e-6, abs=1e-6), name
    assert ours["fid"] > 1 and 0 < ours["precision"] < 1


def test_features_do_not_depend_on_how_images_are_batched():
    images, extractor = FashionMNIST("test").all_images[:30], open_extractor("fashion")
    whole = extract(extractor, images)
    extractor.step = 7
    parts = extract(extractor, images)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-5) for name in ("pool", "logits"))
    assert whole["pool"].shape == (30, 128) and whole["logits"].shape == (30, 10)


@pytest.mark.slow
def test_inception_scores_are_those_of_torch_fidelity_on_the_same_folders(tmp_path, cache, inception):
    a, b = (write_pngs(tmp_path / str(i), noise_images(10, seed=i)) for i in range(2))
    theirs = torch_fidelity.calculate_metrics(
        input1=str(a), input2=str(b), feature_extractor="inception-v3-compat", kid_subset_size=10, kid_subsets=100,
        feature_extractor_weights_path=str(inception), **COMMON, **ALL,
    )  # fmt: skip
    result = evaluate(Request(images=str(a), reference=str(b), inception=inception, metrics=METRICS))
    assert result["scores"].keys() == NAMES.keys()
    for name, key in NAMES.items():
        assert result["scores"][name] == pytest.approx(theirs[key], rel=1e-6, abs=1e-5), name  # five decimals are kept
    assert result["features"]["name"] == "inception-v3-compat" and result["scores"]["fid"] > 10


def test_spatial_features_are_seven_channels_of_mixed_6_in_the_order_of_adm(inception):
    extractor = open_extractor("inception", ("spatial",), inception)
    seen = []
    extractor.net.Mixed_6d.branch1x1.bn.register_forward_hook(lambda module, given, out: seen.append(out.relu()))
    found = extract(extractor, noise_images(1))["spatial"]
    assert found.shape == (1, 17 * 17 * 7)
    assert torch.equal(found.view(17, 17, 7)[3, 5], seen[0][0, :7, 3, 5])


def test_grey_images_are_given_to_inception_as_rgb(inception):
    extractor = open_extractor("inception", ("pool",), inception)
    grey = noise_images(1)[:, :1]
    assert torch.equal(extract(extractor, grey)["pool"], extract(extractor, grey.expand(-1, 3, -1, -1))["pool"])


def test_without_inception_weights_the_answer_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(FileNotFoundError) as error:
        open_extractor("inception")
    assert str(tmp_path / "checkpoints") in str(error.value) and "no network" in str(error.value)
    assert features.INCEPTION_URL in str(error.value) and "not FID" in str(error.value)


def test_another_file_is_not_taken_for_inception(tmp_path):
    (tmp_path / "text").write_text("nothing")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("text", "other.pth"):
        with pytest.raises(ValueError, match=f"inception: .*{name} does not hold the weights of https"):
            open_extractor("inception", weights=tmp_path / name)
    with pytest.raises(FileNotFoundError, match="inception: no file"):
        open_extractor("inception", weights=tmp_path / "missing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg",), "features must be fashion or inception, got 'vgg'"),
        (("fashion", ("spatial",)), "layers: fashion-classifier has no spatial; it has pool, logits"),
    ],
)
def test_unknown_extractors_and_layers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_extractor(*arguments)


def test_images_that_an_extractor_does_not_take_are_refused():
    message = "fashion-classifier takes grey 28 x 28, the images have 3 channels of 10 x 10"
    with pytest.raises(ValueError, match=message):
        extract(open_extractor("fashion"), noise_images(2, side=10))


def test_the_weights_are_those_that_torch_fidelity_fetches():
    assert features.INCEPTION_URL == torch_fidelity.feature_extractor_inceptionv3.URL_INCEPTION_V3
    assert FeatureExtractorInceptionV3.get_default_feature_layer_for_metric("prc") == "2048"
