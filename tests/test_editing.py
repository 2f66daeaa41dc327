import pytest
import torch
from tiny import RECTANGULAR, SIDES, lively_var, tiny_images, tiny_tokenizer

from varlite.editing import box_mask, edit, keep_at_scale, keep_tokens
from varlite.sampling import generate
from varlite.scales import Scales


@pytest.fixture(scope="module")
def model():
    return lively_var().double()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer().double()


@pytest.fixture
def img():
    return tiny_images().double()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mask(rows):
    return torch.tensor([[c == "#" for c in row] for row in rows.split()])


def test_a_box_is_kept_or_all_around_it():
    scales = Scales.of(SIDES)
    inside = box_mask((0.2, 0.4, 0.6, 1.0), scales, inside=True)
    assert torch.equal(inside, mask("..... ..### ..### ..... ....."))
    assert torch.equal(box_mask((0.2, 0.4, 0.6, 1.0), scales, inside=False), ~inside)
    assert box_mask((0, 0, 1, 1), scales, inside=True).all()


def test_the_edges_of_a_box_are_rounded_half_to_even():
    scales = Scales.of([1, 2, 10])
    rows = box_mask((0.25, 0, 0.65, 1), scales, inside=True).any(1)  # 2.5 -> 2, 6.5 -> 6
    assert rows.nonzero().flatten().tolist() == [2, 3, 4, 5]
    columns = box_mask((0, 0.15, 1, 0.55), scales, inside=True).any(0)  # 1.5 -> 2, 5.5 -> 6
    assert columns.nonzero().flatten().tolist() == [2, 3, 4, 5]


def test_a_box_on_a_rectangular_map_is_in_fractions_of_each_side():
    assert torch.equal(box_mask((0, 0.6, 1 / 3, 1), Scales.of(RECTANGULAR), True), mask("...## ..... ....."))


@pytest.mark.parametrize(
    "box", [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1.2, 1), (0, float("nan"), 1, 1)]
)
def test_a_box_that_is_empty_or_outside_the_image_is_refused(box):
    with pytest.raises(ValueError, match="box must be y0 < y1 and x0 < x1"):
        box_mask(box, Scales.of(SIDES), inside=True)


def test_coarse_scales_are_kept_whole_and_others_where_more_than_half_is_kept():
    scales = Scales.of([[1, 1], [1, 2], [2, 2], [4, 4]])
    keep = mask("##.. ##.. ..#. ....")
    assert keep_at_scale(keep, 0, scales).tolist() == [True]
    assert keep_at_scale(keep, 1, scales).tolist() == [True] * 2
    assert keep_at_scale(keep, 2, scales).tolist() == [True, False, False, False]
    assert torch.equal(keep_at_scale(keep, 3, scales), keep.flatten())


def test_a_thin_region_vanishes_at_coarse_scales():
    scales, thin = Scales.of(SIDES), mask("..#.. ..#.. ..#.. ..#.. ..#..")
    assert not keep_at_scale(thin, 1, scales).any()
    assert keep_at_scale(~thin, 1, scales).all()
    assert keep_at_scale(thin, 3, scales).sum() == 5


@torch.inference_mode()
def test_kept_tokens_are_those_of_the_image_and_the_others_are_drawn(model, tokenizer, img):
    keep, idx, seen = mask("##... ##... ##... ..... ....."), tokenizer.encode(img), []
    hook = keep_tokens(idx, keep)

    def on_scale(step):
        drawn = step.h_BlZ
        hook(step)
        seen.append((step, drawn))

    generate(model, tokenizer, [3, 4], on_scale=on_scale, generator=seeded())
    for k, (step, drawn) in enumerate(seen):
        kept_l = keep_at_scale(keep, k, model.scales)
        assert torch.equal(step.h_BlZ[:, kept_l], tokenizer.embed(idx[k])[:, kept_l])
        assert torch.equal(step.h_BlZ[:, ~kept_l], drawn[:, ~kept_l])
        assert torch.equal(drawn, tokenizer.embed(step.idx_Bl))  # drawn everywhere, kept positions too


@pytest.mark.parametrize("settings", [{}, {"smooth": True}, {"labels": [3, 4], "cfg": 3.0, "top_k": 5}])
def test_with_everything_kept_an_edit_is_exactly_the_reconstruction(model, tokenizer, img, settings):
    with torch.inference_mode():
        expected = (tokenizer.decode(tokenizer.encode(img)) + 1) / 2
    edited = edit(model, tokenizer, img, torch.ones(5, 5, dtype=torch.bool), generator=seeded(), **settings)
    assert torch.equal(edited, expected)


def test_with_nothing_kept_only_the_coarsest_scales_are_the_images(model, tokenizer, img):
    nothing = torch.zeros(5, 5, dtype=torch.bool)
    a, b = (edit(model, tokenizer, img, nothing, generator=seeded(seed)) for seed in (1, 2))
    assert not torch.equal(a, b)
    assert torch.equal(a, edit(model, tokenizer, img, nothing, generator=seeded(1)))


def test_guidance_has_no_effect_with_the_null_class_and_has_one_with_a_class(model, tokenizer, img):
    keep = box_mask((0, 0, 0.6, 1), model.scales, inside=True)

    def edited(labels, cfg):
        return edit(model, tokenizer, img, keep, labels, cfg=cfg, generator=seeded())

    assert torch.equal(edited(None, 0.0), edited(None, 4.0))
    assert not torch.equal(edited([1, 2], 0.0), edited([1, 2], 4.0))


def test_a_mask_of_numbers_is_taken_as_one_of_booleans(model, tokenizer, img):
    keep = box_mask((0.2, 0.2, 0.8, 0.8), model.scales, inside=False)
    a, b = (edit(model, tokenizer, img, m, generator=seeded()) for m in (keep, keep.float()))
    assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [(10, 10), (5, 4), (1, 5, 5), (25,)])
def test_a_mask_of_another_shape_is_refused(model, tokenizer, img, shape):
    with pytest.raises(ValueError, match=r"shape of the last scale, \(5, 5\), got"):
        edit(model, tokenizer, img, torch.ones(shape))


@pytest.mark.parametrize("labels", [[1], [1, 2, 3]])
def test_another_number_of_labels_than_of_images_is_refused(model, tokenizer, img, labels):
    with pytest.raises(ValueError, match="one for each of the 2 images, got"):
        edit(model, tokenizer, img, torch.ones(5, 5), labels)


def test_an_image_of_another_size_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="img must have shape"):
        edit(model, tokenizer, torch.rand(1, 1, 12, 12), torch.ones(5, 5))
