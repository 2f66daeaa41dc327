"""Rejection sampling: of each class the likeliest of more images, and the same ones that plain sampling would draw."""

import examples
import pytest
import torch

from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_bytes
from varlite.evaluation.judges.jury import open_judges
from varlite.evaluation.rejection import NO_VOTE, drawn_for, generate_kept, kept_rows, likeliest, open_chooser
from varlite.sampling import generate_many

NET = {"multipliers": (1, 1, 1), "encoder_blocks": (0, 0, 1), "decoder_blocks": (0, 0, 1)}


@pytest.fixture(scope="module")
def models():
    return examples.lively_var(scales=[1, 2, 7]), examples.tiny_tokenizer(scales=[1, 2, 7], **NET)


def brightness(img, label_B):
    return img.double().mean((1, 2, 3)) * (1 - 2 * (label_B == 3))  # the darkest of class 3


def test_the_likeliest_of_each_class_are_kept_in_the_order_in_which_they_were_drawn(models):
    labels = [2] * 5 + [3] * 4
    kept = list(generate_kept(*models, iter(labels), 7, 3, 0.5, brightness))
    assert [c for _, part in kept for c in part] == labels and [len(part) for _, part in kept] == [3, 3, 3]
    found = to_bytes(torch.cat([img for img, _ in kept]))
    for c, wanted, sign in ((2, found[:5], 1), (3, found[5:], -1)):
        plain = torch.cat([img for img, _ in generate_many(*models, [c] * 2 * len(wanted), 7, 4)])
        plain = to_bytes(plain)
        best = (sign * plain.double().mean((1, 2, 3))).argsort(descending=True)[: len(wanted)].sort().values
        assert (plain[best].int() - wanted.int()).abs().max() <= 1  # the batch rounds


def test_more_are_drawn_and_the_share_is_that_of_each_class():
    assert [drawn_for(10, keep) for keep in (1, 0.5, 0.3, 0.1)] == [10, 20, 34, 100]
    log_p, label = torch.tensor([0.1, 0.9, 0.5, 0.5, 0.7, 0.2]).double(), torch.tensor([0, 0, 0, 0, 1, 1])
    assert kept_rows(log_p, label, 0.5).tolist() == [1, 2, 4] and kept_rows(log_p, label, 1.0).tolist() == [*range(6)]
    assert likeliest(torch.ones(5), 2).tolist() == [0, 1]


@pytest.mark.parametrize("name", NO_VOTE)
def test_the_classifiers_find_real_pictures_likelier_in_their_own_class(name):
    test, log_p = FashionMNIST("test"), open_chooser(name)
    own = log_p(test.all_images[:200], test.labels[:200])
    other = log_p(test.all_images[:200], (test.labels[:200] + 1) % 10)
    assert own.dtype == torch.double and (own > other).float().mean() > 0.9 and (own <= 0).all()


def test_the_judges_that_lose_their_vote_exist_and_cover_all_that_look_through_the_chooser(models):
    judges = {judge.name: getattr(judge, "view", "") for judge in open_judges(models[1], None, True)}
    views = {"fashion-classifier": "first", "fashion-judge": "second"}
    for name, no_vote in NO_VOTE.items():
        assert no_vote == {judge for judge, view in judges.items() if view == views[name]}


@pytest.mark.parametrize("keep", [0, -0.5, 1.5, "half"])
def test_a_share_out_of_range_is_refused(models, keep):
    with pytest.raises(ValueError, match="keep must be above 0 and at most 1"):
        next(generate_kept(*models, [1], 0, 1, keep, brightness))


def test_a_model_of_other_images_and_an_unknown_judge_are_refused():
    model, tokenizer = examples.lively_var(), examples.tiny_tokenizer()
    with pytest.raises(ValueError, match=r"judge: it knows the ten classes of Fashion-MNIST.*1 channels at 10 x 10"):
        next(generate_kept(model, tokenizer, [1], 0, 1, 0.5, brightness))
    with pytest.raises(ValueError, match="judge must be fashion-classifier or fashion-judge, got 'resnet'"):
        open_chooser("resnet")
