import pytest
import torch
from examples import SIDES, lively_var, tiny_images, tiny_tokenizer

import varlite
from varlite.editing import box_mask, edit
from varlite.refining import begins, draw_from, refine
from varlite.sampling import generate


@pytest.fixture(scope="module")
def model():
    return lively_var().double()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer().double()


@pytest.fixture
def img():
    return tiny_images().double()


HOLE = box_mask((0.2, 0.2, 0.8, 0.8), SIDES, inside=False)


def rounds_of(model, tokenizer, img, **settings):
    """The result, and every round."""
    seen = []
    return refine(model, tokenizer, img, HOLE, on_round=seen.append, candidates=3, **settings), seen


def test_rounds_go_from_coarse_scales_to_finer_ones_and_never_redraw_the_first_after_the_first():
    assert begins(6) == (0, 1, 1, 2, 2, 3) and begins(10) == (0, 1, 1, 3, 3, 5) and begins(2) == (0, 1, 1, 1, 1, 1)


def test_the_result_is_the_candidate_of_the_highest_score(model, tokenizer, img):
    result, seen = rounds_of(model, tokenizer, img[:1], seeds=3)
    assert [(len(r.images_N3HW), r.k) for r in seen] == list(zip([6, 3, 3, 3, 3, 3], begins(len(SIDES)), strict=True))
    highest, best = -torch.inf, None
    for found in seen:
        top = found.score_N.max().item()
        assert (found.best is not None) == (top > highest)
        if found.best is not None:
            assert found.score_N[found.best] == top
            highest, best = top, found.images_N3HW[found.best]
    assert torch.equal(result[0], best)


def test_a_score_is_the_likelihood_of_all_tokens_of_the_picture_under_its_label(model, tokenizer, img):
    _, seen = rounds_of(model, tokenizer, img[:1], labels=[4], seeds=3)
    idx = tokenizer.encode(2 * seen[0].images_N3HW - 1)
    wanted = model.log_likelihood(tokenizer, idx, torch.full((6, 1), 4)).sum((1, 2))
    torch.testing.assert_close(seen[0].score_N, wanted)


def test_scales_before_a_round_are_those_of_the_image_and_with_all_of_them_it_is_its_reconstruction(
    model, tokenizer, img
):
    scales = model.scales
    hook = draw_from(tokenizer, img[:1], torch.zeros(10, 10, dtype=torch.bool), scales.K, scales)
    rebuilt = (tokenizer.decode(tokenizer.encode(img[:1])) + 1) / 2
    for made in generate(model, tokenizer, [1, 2], seeds=0, on_scale=hook):
        torch.testing.assert_close(made, rebuilt[0])


def test_kept_pixels_stay_and_what_is_hidden_has_no_say(model, tokenizer, img):
    other = img.clone()
    inside = torch.nn.functional.interpolate(~HOLE[None, None] * 1.0, size=img.shape[-2:])[0, 0] > 0
    other[..., inside] = -other[..., inside]
    a, b = (refine(model, tokenizer, x, HOLE, seeds=1, candidates=2) for x in (img, other))
    assert torch.equal(a, b)
    far = torch.nn.functional.max_pool2d(inside[None].double(), 3, 1, 1)[0] == 0
    assert torch.allclose(a[..., far], ((img + 1) / 2)[..., far])


def test_an_image_depends_on_its_own_seed_alone(model, tokenizer, img):
    both = refine(model, tokenizer, img, HOLE, [1, 2], seeds=[5, 6], candidates=2)
    alone = refine(model, tokenizer, img[1:], HOLE, [2], seeds=[6], candidates=2)
    torch.testing.assert_close(both[1:], alone)
    assert not torch.allclose(refine(model, tokenizer, img[1:], HOLE, [2], seeds=[7], candidates=2), alone)


def test_a_model_in_training_mode_refines_as_one_in_evaluation_mode_and_stays_in_its_mode(tokenizer, img):
    model = lively_var(drop_path=0.9).double()
    still = refine(model.eval(), tokenizer, img[:1], HOLE, candidates=3, seeds=3)
    assert torch.equal(refine(model.train(), tokenizer, img[:1], HOLE, candidates=3, seeds=3), still) and model.training


def test_it_finds_likelier_edits_than_one_pass(model, tokenizer, img):
    def score(images):
        null = torch.full((len(images), 1), model.config.classes)
        return model.log_likelihood(tokenizer, tokenizer.encode(2 * images - 1), null).sum((1, 2))

    once = edit(model, tokenizer, img, HOLE, seeds=2, hide=True, thin=True, paste=True)
    assert (score(refine(model, tokenizer, img, HOLE, seeds=2)) > score(once)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": 0}, "candidates must be an integer from 1, got 0"),
        ({"on_round": 3}, "on_round must be a function of a Round, got 3"),
        ({"generator": torch.Generator()}, "generator: refine draws many times"),
        ({"scales": SIDES}, "scales: refine draws many times"),
        ({"keep_hw": torch.ones(3, 3)}, "keep must have the shape"),
        ({"labels": [3]}, "labels must be one for each of the 2 images, got 1"),
        ({"cfg": -1}, "cfg must be 0 or more"),
    ],
)
def test_wrong_arguments_are_refused(model, tokenizer, img, changes, message):
    given = {"model": model, "tokenizer": tokenizer, "img_B3HW": img, "keep_hw": HOLE}
    with pytest.raises(ValueError, match=message):
        refine(**given | changes)


def test_a_model_without_a_likelihood_is_refused():
    model, tokenizer = varlite.load("fashion-maskgit-d4")
    with pytest.raises(ValueError, match="model: MaskGIT gives no likelihood of its tokens"):
        refine(model, tokenizer, torch.zeros(1, 1, 28, 28), torch.ones(28, 28))


def test_pixels_a_little_outside_the_range_come_back_inside_it(model, tokenizer, img):
    bright = img[:1] + 0.04 * (img[:1] > 0.98)
    assert bright.max() > 1
    assert refine(model, tokenizer, bright, HOLE, candidates=1, seeds=0).max() <= 1


def test_likelihoods_that_are_all_nan_are_no_edit(model, tokenizer, img, monkeypatch):
    monkeypatch.setattr(model, "log_likelihood", lambda *asked: torch.full((2, 1, 3), torch.nan))
    with pytest.raises(FloatingPointError, match="none of the edits a likelihood"):
        refine(model, tokenizer, img[:1], HOLE, candidates=1, seeds=0)
