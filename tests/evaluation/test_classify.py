"""A model as a classifier: what the numbers mean is tested on likelihoods made up for it."""

import json
import math

import pytest
import torch
from examples import lively, lively_var, tiny_images, tiny_tokenizer, tokenizer_for

from varlite.checkpoints.load import load
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_bytes
from varlite.evaluation import classify
from varlite.evaluation.request import Request
from varlite.io.files import save_model
from varlite.scales import Scales

N = 4000


@pytest.fixture(scope="module")
def coin():
    """Two classes, three scales of one token each: log p (N, 2, 3), labels. A token is 0 or 1, as its class but for one
    time in ten at the first scale, a coin at the second, and at the third the first scale's token again, whose
    likelihood forgets that it has been counted.
    """
    generator = torch.Generator().manual_seed(0)
    label_N = torch.randint(2, (N,), generator=generator)
    token_N = label_N ^ (torch.rand(N, generator=generator) < 0.1)
    log_p_NC = torch.where(token_N[:, None] == torch.arange(2), 0.9, 0.1).log()
    return torch.stack((log_p_NC, torch.full((N, 2), math.log(0.5)), log_p_NC), -1), label_N


SPANS = ((0, 1), (1, 2), (2, 3))
BITS = 1 + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1)  # that a token right nine times in ten tells: 0.531


def test_a_model_in_training_mode_gives_the_likelihoods_of_evaluation_mode_and_stays_in_its_mode():
    model, tokenizer, images = lively_var(drop_path=0.9), tiny_tokenizer(), to_bytes((tiny_images() + 1) / 2)
    wanted = classify.log_likelihoods(model.eval(), tokenizer, images)
    assert torch.equal(classify.log_likelihoods(model.train(), tokenizer, images), wanted) and model.training


# Information


def test_information_is_what_the_tokens_so_far_tell_about_the_class(coin):
    log_p_NCL, label_N = coin
    found = classify.information(classify.over_steps(log_p_NCL, SPANS), label_N)
    assert found == pytest.approx([BITS] * 3, abs=0.03)


def test_evidence_that_is_counted_twice_costs_the_posterior_as_it_is_and_not_the_calibrated_one(coin):
    log_p_NCL, label_N = coin
    log_p_NCK = classify.over_steps(log_p_NCL, SPANS)
    as_it_is = classify.information(log_p_NCK, label_N, calibrated=False)
    assert as_it_is[:2] == pytest.approx([BITS] * 2, abs=0.03)
    twice = 1 + 0.9 * math.log2(0.81 / 0.82) + 0.1 * math.log2(0.01 / 0.82)
    assert as_it_is[2] == pytest.approx(twice, abs=0.03) and twice < BITS - 0.1
    assert classify.calibrate(log_p_NCK[..., 2], label_N) == pytest.approx(0.5, abs=0.05)


def test_fitting_the_exponent_finds_no_information_where_there_is_none():
    generator, found = torch.Generator().manual_seed(1), []
    for _ in range(100):
        log_p_NCK = torch.randn(20, 10, 1, generator=generator).double()
        label_N = torch.randint(10, (20,), generator=generator)
        found += classify.information(log_p_NCK, label_N)
    assert -0.1 < sum(found) / 100 < 0  # fitted on the images themselves, it would be above 0 every time


def test_a_token_tells_only_what_the_earlier_steps_do_not(coin):
    log_p_NCL, label_N = coin
    first, second, third = (bits_l.item() for bits_l in classify.token_information(log_p_NCL, SPANS, label_N))
    assert first == pytest.approx(BITS, abs=0.03)
    assert second == pytest.approx(0, abs=1e-6) and third == pytest.approx(0, abs=0.01)


def test_a_second_witness_tells_what_is_left(coin):
    (log_p_NCL, label_N), generator = coin, torch.Generator().manual_seed(2)
    token_N = label_N ^ (torch.rand(N, generator=generator) < 0.1)
    second_NC = torch.where(token_N[:, None] == torch.arange(2), 0.9, 0.1).log()
    witnesses = torch.stack((log_p_NCL[..., 0], second_NC), -1)
    both = 1 + 0.81 * math.log2(0.81 / 0.82) + 0.01 * math.log2(0.01 / 0.82) - 0.18
    found = [bits_l.item() for bits_l in classify.token_information(witnesses, ((0, 1), (1, 2)), label_N)]
    assert found == pytest.approx([BITS, both - BITS], abs=0.03) and both - BITS > 0.2


def test_tokens_of_one_scale_each_tell_what_they_tell_alone(coin):
    log_p_NCL, label_N = coin
    (bits_l,) = classify.token_information(log_p_NCL, ((0, 3),), label_N)
    assert bits_l.tolist() == pytest.approx([BITS, 0, BITS], abs=0.06)  # one exponent for the three


# Accuracy


def test_steps_add_up():
    log_p_NCL = torch.tensor([[[-1.0, -2.0, -3.0], [-2.0, -4.0, -8.0]]])
    assert classify.over_steps(log_p_NCL, ((0, 1), (1, 3))).tolist() == [[[-1, -6], [-2, -14]]]


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.0370), (50, 0.4038, 0.5962), (100, 0.9630, 1.0)])
def test_the_interval_of_a_share_stays_within_0_and_1(hits, low, high):
    assert classify.wilson_interval(hits, 100) == pytest.approx((low, high), abs=1e-4)


def test_confusion_has_a_row_for_each_class_and_a_column_for_what_it_is_taken_for():
    found = classify.confusion(torch.tensor([0, 2, 2, 1]), torch.tensor([0, 0, 2, 1]), 3)
    assert found.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


# Evidence


def test_evidence_adds_up_to_the_log_odds_of_the_two_likeliest_classes():
    log_p_NCL = torch.tensor([[[-3.0, -1.0], [-0.5, -1.5], [-2.0, -0.1]]])
    found = classify.evidence(log_p_NCL)
    assert (found.found_N.item(), found.runner_up_N.item()) == (1, 2)
    torch.testing.assert_close(found.odds_NL, torch.tensor([[1.5, -1.4]]))


@pytest.mark.parametrize("sides", [(1, 2, 3), ([1, 2], [2, 3], [3, 5])])
def test_a_map_of_evidence_keeps_the_sum_and_spreads_a_coarse_token_over_its_part(sides):
    scales = Scales.of(sides)
    odds_NL = torch.randn(2, scales.total, dtype=torch.float64)
    for first in range(scales.K):
        found = classify.evidence_map(odds_NL, scales, first)
        assert found.shape == (2, *scales.last)
        torch.testing.assert_close(found.sum((1, 2)), odds_NL[:, scales.spans[first][0] :].sum(1))
    finest = scales.split(odds_NL)[-1].view(2, *scales.last)
    torch.testing.assert_close(classify.evidence_map(odds_NL, scales, scales.K - 1), finest)


def test_a_token_of_the_middle_is_shared_by_the_cells_that_it_covers():
    scales = Scales.of((2, 3))
    odds_NL = torch.zeros(1, 13, dtype=torch.float64)
    odds_NL[0, 0] = 9  # top left of 2 x 2: one cell of 3 x 3 whole, two by half, the middle by a quarter
    expected = torch.tensor([[4, 2, 0], [2, 1, 0], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(classify.evidence_map(odds_NL, scales)[0], expected)


# Models


def test_how_many_images_and_classes_are_computed_at_a_time_changes_nothing(small, monkeypatch):
    model, tokenizer = load(small)
    images = FashionMNIST("test").all_images[:5]
    whole = classify.log_likelihoods(model, tokenizer, images)
    assert whole.shape == (5, 10, 1 + 4 + 49)
    logits = model.scales.total * model.config.vocab
    for batch, limit in ((1, 10 * logits), (2, 4 * logits), (64, 0)):
        monkeypatch.setattr(classify, "LOGITS", limit)
        found = classify.log_likelihoods(model, tokenizer, images, batch)
        torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-5)


def test_a_model_without_likelihoods_is_refused_with_the_reason():
    model = lively("maskgit", scales=[4])
    with pytest.raises(ValueError, match="model: MaskGIT gives no likelihood of its tokens"):
        classify.log_likelihoods(model, tokenizer_for(model), torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_images_of_a_folder_are_taken_from_all_classes(trained, presets):
    model, tokenizer = load(trained / "var")
    dataset, images, label_N = classify.first_of_test_split(str(trained / "images"), 4, model, tokenizer)
    assert (dataset.labels.diff() >= 0).all() and label_N.tolist() == [0, 1, 0, 1] and len(images) == 4


def test_a_trained_model_knows_its_classes_and_says_how(varlite, trained, presets, tmp_path):
    words = ["evaluate", "--model", trained / "var", "--metrics", "classify", "--data", trained / "images"]
    status, out, err = varlite(*words, "--out", "c.json", "--device", "cpu")
    assert status == 0, err
    record = json.loads((tmp_path / "c.json").read_text())
    scores = record["scores"]
    assert scores["accuracy"] == 1 and scores["accuracy_interval"][0] < 1 and record["num"] == 6
    assert len(scores["accuracy_by_step"]) == len(scores["bits_by_step"]) == len(scores["bits_per_token_by_step"]) == 4
    assert scores["confusion"] == [[3, 0], [0, 3]] and record["classes"] == ["round", "square"]
    assert out.startswith("accuracy 100.0%") and out.count("%") >= 7
    expected = f"varlite evaluate --model {trained / 'var'} --metrics classify --num 6 --data {trained / 'images'}"
    assert record["command"] == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ("classify", "fd")}, "metrics: classify is of a model and of test images, not of samples"),
        ({"images": "fashion"}, "metrics: classify is of a model and of test images, not of samples"),
        ({"num": 10_001}, "num: fashion has 10000 test images, got 10001"),
        ({"model": "fashion-vq"}, "unknown model 'fashion-vq'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_classified_is_refused(small, changes, message):
    with pytest.raises(ValueError, match=message):
        classify.classify(Request(**{"model": str(small), "metrics": ("classify",)} | changes))


def test_a_kind_without_likelihoods_and_data_of_other_classes_are_refused(tmp_path, trained, presets):
    model = lively("maskgit", scales=[7])
    about = {"kind": "maskgit", "config": vars(model.config), "tokenizer": "fashion-vq-raster"}
    save_model(tmp_path / "maskgit.safetensors", about, model.state_dict())
    tokenizer = tokenizer_for(model)
    save_model(tmp_path / "tokenizer.safetensors", {"kind": "tokenizer", "config": vars(tokenizer.config)},
               tokenizer.state_dict())  # fmt: skip
    with pytest.raises(ValueError, match=r"maskgit\.safetensors gives no likelihood of its tokens"):
        classify.classify(Request(str(tmp_path / "maskgit.safetensors"), metrics=("classify",)))
    with pytest.raises(ValueError, match=r"data: still-life has 10 classes \(.*, and the model was trained on 2"):
        classify.classify(Request(str(trained / "var"), metrics=("classify",)), "still-life")
