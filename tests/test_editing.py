import numpy as np
import pytest
import torch
from examples import RECTANGULAR, SIDES, lively_var, tiny_images, tiny_tokenizer

import varlite
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.pixels import to_float
from varlite.editing import box_mask, check_mask, edit, fill, keep_at_scale, keep_tokens, paste_weight
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

    generate(model, tokenizer, [3, 4], on_scale=on_scale, seeds=0)
    for k, (step, drawn) in enumerate(seen):
        kept_l = keep_at_scale(keep, k, model.scales)
        assert torch.equal(step.h_BlZ[:, kept_l], tokenizer.embed(idx[k])[:, kept_l])
        assert torch.equal(step.h_BlZ[:, ~kept_l], drawn[:, ~kept_l])
        assert torch.equal(drawn, tokenizer.embed(step.idx_Bl))  # drawn everywhere, kept positions too


@pytest.mark.parametrize("settings", [{}, {"smooth": True}, {"labels": [3, 4], "cfg": 3.0, "top_k": 5}])
def test_with_everything_kept_an_edit_is_exactly_the_reconstruction(model, tokenizer, img, settings):
    with torch.inference_mode():
        expected = (tokenizer.decode(tokenizer.encode(img)) + 1) / 2
    edited = edit(model, tokenizer, img, torch.ones(5, 5, dtype=torch.bool), seeds=0, **settings)
    assert torch.equal(edited, expected)


def test_with_nothing_kept_only_the_coarsest_scales_are_the_images(model, tokenizer, img):
    nothing = torch.zeros(5, 5, dtype=torch.bool)
    a, b = (edit(model, tokenizer, img, nothing, seeds=seed) for seed in (1, 2))
    assert not torch.equal(a, b)
    assert torch.equal(a, edit(model, tokenizer, img, nothing, seeds=1))


def test_guidance_has_no_effect_with_the_null_class_and_has_one_with_a_class(model, tokenizer, img):
    keep = box_mask((0, 0, 0.6, 1), model.scales, inside=True)

    def edited(labels, cfg):
        return edit(model, tokenizer, img, keep, labels, cfg=cfg, seeds=0)

    assert torch.equal(edited(None, 0.0), edited(None, 4.0))
    assert not torch.equal(edited([1, 2], 0.0), edited([1, 2], 4.0))


def test_a_mask_of_numbers_is_taken_as_one_of_booleans(model, tokenizer, img):
    keep = box_mask((0.2, 0.2, 0.8, 0.8), model.scales, inside=False)
    a, b = (edit(model, tokenizer, img, m, seeds=0) for m in (keep, keep.float()))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, SIDES, True), "box must be four fractions .* got None"),
        (("0,0,1,1", SIDES, True), "box must be four fractions .* got '0,0,1,1'"),
        (((0, 0, 1), SIDES, True), "four fractions"),
        ((("a", 0, 1, 1), SIDES, True), "four fractions"),
        (((0, 0, None, 1), SIDES, True), "four fractions"),
        ((torch.zeros(2, 2), SIDES, True), "four fractions .* got Tensor of shape"),
        (((0, 0, 1, 1), None, True), "scales: each side must be"),
        (((0, 0, 1, 1), "1,2", True), "scales: each side must be"),
        (((0, 0, 1, 1), SIDES, "outpaint"), "inside must be True or False, got 'outpaint'"),
        (((0, 0, 1, 1), SIDES, None), "inside must be"),
    ],
)
def test_wrong_arguments_of_a_box_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        box_mask(*arguments)


@pytest.mark.parametrize("kind", [None, "mask.png", {}, [[1, 0], [1]], object()])
def test_what_is_no_mask_is_refused(model, tokenizer, img, kind):
    with pytest.raises(ValueError, match=r"keep must be a tensor of booleans, or of 0 and 1, got"):
        check_mask(kind, model.scales, (10, 10))
    with pytest.raises(ValueError, match=r"keep must be a tensor of booleans, or of 0 and 1, got"):
        edit(model, tokenizer, img, kind)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model must be a model .* got None"),
        ({"model": "fashion-var-d4"}, "model must be a model .* got 'fashion-var-d4'"),
        ({"tokenizer": None}, "tokenizer must be a tokenizer .* got None"),
        ({"img_B3HW": None}, "img must be a tensor of floats .* got None"),
        ({"img_B3HW": np.zeros((2, 1, 10, 10))}, "img must be a tensor of floats .* got ndarray"),
        ({"img_B3HW": torch.zeros(1, 10, 10)}, "img must have shape"),
        ({"img_B3HW": torch.zeros(2, 1, 10, 10, dtype=torch.uint8)}, "floating point"),
        ({"img_B3HW": torch.zeros(2, 1, 10, 10, device="meta")}, "on the tokenizer's device, cpu, got meta"),
        ({"img_B3HW": torch.full((2, 1, 10, 10), 255.0)}, r"img must lie in \[-1, 1\] .* got values from 255 to 255"),
        ({"img_B3HW": torch.full((2, 1, 10, 10), float("nan"))}, r"img must lie in \[-1, 1\]"),
        ({"img_B3HW": torch.full((2, 1, 10, 10), -float("inf"))}, r"img must lie in \[-1, 1\]"),
        ({"keep_hw": torch.zeros(5, 5, dtype=torch.complex64) + 1j}, "only 0 .* and 1"),
        ({"labels": 3}, "labels must be a non-empty list"),
        ({"labels": ["cats", "dogs"]}, "no class 'cats'"),
        ({"labels": [3, 11]}, "labels must lie in 0 .. 9"),
        ({"labels": [3]}, "one for each of the 2 images, got 1"),
        ({"scales": 5}, "scales: each side must be"),
        ({"scales": [1, 2, 3]}, "img must have shape"),
        ({"cfg": None}, "cfg"),
        ({"generator": 1}, "generator must be"),
        ({"on_scale": 1}, "on_scale must be a function of a Step, got 1"),
        ({"hide": "yes"}, "hide must be True or False, got 'yes'"),
        ({"thin": None}, "thin must be"),
        ({"paste": 2}, "paste must be"),
    ],
)
def test_wrong_arguments_of_an_edit_are_refused(model, tokenizer, img, changes, message):
    given = {"model": model, "tokenizer": tokenizer, "img_B3HW": img, "keep_hw": torch.ones(5, 5)}
    with pytest.raises(ValueError, match=message):
        edit(**given | changes)


def test_a_mask_may_be_an_array_or_a_list_and_labels_names(model, tokenizer, img, monkeypatch):
    monkeypatch.setattr(model, "class_names", [*"abcdefghij"])
    keep = box_mask((0.2, 0.2, 0.8, 0.8), SIDES, inside=False)
    expected = edit(model, tokenizer, img, keep, [1, 2], seeds=0)
    for kind in (keep.numpy(), keep.int().tolist()):
        assert torch.equal(edit(model, tokenizer, img, kind, ["b", "c"], seeds=0, scales=SIDES), expected)


@pytest.mark.parametrize("shape", [(10, 11), (5, 4), (1, 5, 5), (25,), (0, 0)])
def test_a_mask_of_another_shape_is_refused(model, tokenizer, img, shape):
    with pytest.raises(ValueError, match=r"shape of the last scale, \(5, 5\), or of the image, \(10, 10\), got"):
        edit(model, tokenizer, img, torch.ones(shape))


@pytest.mark.parametrize("value", [0.5, -1, 255, float("nan")])
def test_a_mask_that_holds_more_than_two_values_is_refused(model, tokenizer, img, value):
    keep = torch.ones(5, 5)
    keep[2, 2] = value
    with pytest.raises(ValueError, match=r"keep must hold only 0 .* and 1 .* or booleans"):
        edit(model, tokenizer, img, keep)


@pytest.mark.parametrize("labels", [[1], [1, 2, 3]])
def test_another_number_of_labels_than_of_images_is_refused(model, tokenizer, img, labels):
    with pytest.raises(ValueError, match="one for each of the 2 images, got"):
        edit(model, tokenizer, img, torch.ones(5, 5), labels)


def test_an_image_of_another_size_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="img must have shape"):
        edit(model, tokenizer, torch.rand(1, 1, 12, 12), torch.ones(5, 5))


# What an edit composes with


def test_a_hook_of_ones_own_sees_the_kept_tokens_put_back_and_may_change_them(model, tokenizer, img):
    keep, idx, seen = box_mask((0, 0, 0.6, 1), model.scales, inside=True), tokenizer.encode(img), []

    def look(step):
        kept_l = keep_at_scale(keep, step.k, model.scales)
        seen.append(torch.equal(step.h_BlZ[:, kept_l], tokenizer.embed(idx[step.k])[:, kept_l]))

    plain = edit(model, tokenizer, img, keep, seeds=0)
    assert torch.equal(edit(model, tokenizer, img, keep, seeds=0, on_scale=look), plain)
    assert seen == [True] * model.scales.K

    def blank(step):
        step.h_BlZ = torch.zeros_like(step.h_BlZ)

    assert not torch.equal(edit(model, tokenizer, img, keep, seeds=0, on_scale=blank), plain)


@torch.inference_mode()
def test_other_scales_hold_for_mask_tokens_and_sampling_alike(model, tokenizer):
    scales, img = Scales.of(RECTANGULAR), tiny_images(side=10)[..., :6, :].double()
    model = lively_var(scales=RECTANGULAR).double()
    expected = (tokenizer.decode(tokenizer.encode(img, scales), scales) + 1) / 2
    keep = torch.ones(3, 5, dtype=torch.bool)
    assert torch.equal(edit(model, tokenizer, img, keep, scales=scales), expected)


# Invariants, whatever the options

OPTIONS = [{}, {"hide": True}, {"thin": True}, {"hide": True, "thin": True}]


@pytest.mark.parametrize("side", [5, 10])
@pytest.mark.parametrize("options", OPTIONS)
def test_with_everything_kept_every_option_gives_the_reconstruction(model, tokenizer, img, options, side):
    with torch.inference_mode():
        expected = (tokenizer.decode(tokenizer.encode(img)) + 1) / 2
    everything = torch.ones(side, side, dtype=torch.bool)
    assert torch.equal(edit(model, tokenizer, img, everything, seeds=0, **options), expected)
    pasted = edit(model, tokenizer, img, everything, seeds=0, paste=True, **options)
    assert torch.equal(pasted, (img + 1) / 2)


@pytest.mark.parametrize("side", [5, 10])
@pytest.mark.parametrize("options", OPTIONS)
def test_with_nothing_kept_an_edit_is_plain_sampling_after_the_first_token(model, tokenizer, img, options, side):
    first = tokenizer.embed(tokenizer.encode(img)[0])

    def give_first(step):
        if step.k == 0 and not options.get("hide"):  # hidden, the image has no say in the first token either
            step.h_BlZ = first

    nothing = torch.zeros(side, side, dtype=torch.bool)
    edited = edit(model, tokenizer, img, nothing, [3, 4], seeds=0, paste=True, **options)
    assert torch.equal(edited, generate(model, tokenizer, [3, 4], seeds=0, on_scale=give_first))


def test_a_mask_in_pixels_is_the_mask_of_tokens_where_it_follows_their_borders(model, tokenizer, img):
    keep = box_mask((0.2, 0.2, 0.8, 0.6), model.scales, inside=False)
    pixels = keep.repeat_interleave(2, 0).repeat_interleave(2, 1)
    for options in OPTIONS:
        a, b = (edit(model, tokenizer, img, m, seeds=0, **options) for m in (keep, pixels))
        assert torch.equal(a, b), options


# Hiding


def with_other_content(img, keep_HW):
    return torch.where(keep_HW, img, torch.rand_like(img) * 2 - 1)


@pytest.mark.parametrize("thin", [False, True])
@pytest.mark.parametrize("paste", [False, True])
def test_with_hide_an_edit_does_not_depend_on_what_it_replaces(model, tokenizer, img, thin, paste):
    keep = torch.ones(10, 10, dtype=torch.bool)
    keep[3:7, 2:9] = False

    def edited(img, **options):
        return edit(model, tokenizer, img, keep, seeds=0, thin=thin, paste=paste, **options)

    other = with_other_content(img, keep)
    assert torch.equal(edited(img, hide=True), edited(other, hide=True))
    assert not torch.equal(edited(img), edited(other))  # as published it does


def test_filling_keeps_what_is_kept_and_continues_it():
    img, keep = torch.zeros(1, 1, 8, 8), torch.ones(8, 8, dtype=torch.bool)
    img[..., 4:] = 1
    keep[2:6, 2:6] = False
    filled = fill(img, keep)
    assert torch.equal(filled[..., keep], img[..., keep])
    hole = filled[0, 0, 2:6, 2:6]
    assert hole.min() >= 0 and hole.max() <= 1
    assert (hole.diff(dim=1) >= 0).all() and hole[0, 0] < 0.4 and hole[0, -1] > 0.6


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 7), (28, 28), (6, 10)])
def test_a_fill_of_one_colour_is_that_colour_whatever_the_shape_and_grey_without_any(shape):
    keep = torch.zeros(shape, dtype=torch.bool)
    img = torch.full((2, 3, *shape), 0.25)
    assert torch.equal(fill(img, keep), torch.zeros_like(img))
    keep[-1, 0] = True
    torch.testing.assert_close(fill(img, keep), img)


# Thin masks


def thin_line():
    """A dotted line in pixels: a quarter of every token that it touches."""
    keep = torch.ones(10, 10, dtype=torch.bool)
    keep[::2, 4] = False
    return keep


def test_thin_frees_every_token_that_the_mask_touches_at_every_scale_but_the_coarsest():
    scales, keep = Scales.of(SIDES), thin_line()
    assert all(keep_at_scale(keep, k, scales).all() for k in range(scales.K))
    kept = [keep_at_scale(keep, k, scales, thin=True).view(shape) for k, shape in enumerate(scales.shapes)]
    assert torch.equal(kept[0], mask("#"))
    assert torch.equal(kept[1], mask(".# .#"))
    assert torch.equal(kept[2], mask("#.# #.# #.#"))
    assert torch.equal(kept[3], mask("##.## ##.## ##.## ##.## ##.##"))


def test_a_token_is_free_under_thin_wherever_it_is_free_without():
    random = torch.Generator().manual_seed(0)
    scales = Scales.of(SIDES)
    for _ in range(20):
        keep = torch.rand(10, 10, generator=random) > 0.2
        for k in range(1, scales.K):
            assert not (keep_at_scale(keep, k, scales, thin=True) & ~keep_at_scale(keep, k, scales)).any()


def test_a_mask_too_thin_to_sample_is_refused_unless_thin(model, tokenizer, img):
    with pytest.raises(ValueError, match=r"less than half of every token .*thin=True"):
        edit(model, tokenizer, img, thin_line())
    assert edit(model, tokenizer, img, thin_line(), thin=True).shape == img.shape


@torch.inference_mode()
def test_under_thin_kept_tokens_make_up_for_what_was_drawn_beside_them():
    model, tokenizer = varlite.load("fashion-var-d4")
    img = to_float(FashionMNIST("test").images(torch.arange(8)))
    keep, idx = box_mask((0, 3 / 7, 1, 4 / 7), model.scales, inside=False), tokenizer.encode(img)

    def stubborn(step):  # the image's own tokens at the same positions
        kept_l1 = keep_at_scale(keep, step.k, step.scales, thin=True)[:, None]
        step.h_BlZ = torch.where(kept_l1, tokenizer.embed(idx[step.k]), tokenizer.embed(step.idx_Bl))

    def error(edited):
        return (edited - (img + 1) / 2)[..., keep.repeat_interleave(4, 0).repeat_interleave(4, 1)].square().mean()

    made_up = edit(model, tokenizer, img, keep, thin=True, seeds=0)
    insisted = generate(model, tokenizer, [model.class_embed.null] * 8, on_scale=stubborn, seeds=0)
    assert error(made_up) < error(insisted) / 2


# Half precision


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "options", [{"paste": False}, {}, {"hide": True}, {"thin": True}, {"hide": True, "thin": True}]
)
@pytest.mark.parametrize(("inside", "labels"), [(False, None), (True, None), (False, [1, 2])])
def test_every_edit_runs_in_half_precision_and_pastes_exact_pixels(precision, options, inside, labels):
    model, tokenizer, img = lively_var(), tiny_tokenizer(), tiny_images()
    keep, options = box_mask((0.2, 0.2, 0.8, 0.8), SIDES, inside), {"paste": True} | options
    with torch.autocast("cpu", precision):
        edited = edit(model, tokenizer, img, keep, labels, seeds=0, **options)
    assert edited.shape == img.shape and edited.isfinite().all()
    if options["paste"]:
        pasted = paste_weight(keep.repeat_interleave(2, 0).repeat_interleave(2, 1), 1) == 1
        assert torch.equal(edited[..., pasted], ((img + 1) / 2)[..., pasted])


# Pasting


def test_pasted_pixels_a_little_outside_the_range_come_back_inside_it(model, tokenizer, img):
    bright = img + 0.04 * (img > 0.98)
    assert bright.max() > 1
    assert edit(model, tokenizer, bright, mask("..... ..### ..### ..... ....."), seeds=0, paste=True).max() <= 1


def test_pasted_pixels_are_the_images_own_but_for_a_border_of_half_a_token(model, tokenizer, img):
    keep = torch.ones(10, 10, dtype=torch.bool)
    keep[4:8, 4:8] = False
    edited, pasted = (edit(model, tokenizer, img, keep, seeds=0, paste=p) for p in (False, True))
    inner = keep.clone()
    inner[3:9, 3:9] = False  # a stride of 2: one pixel
    assert torch.equal(pasted[..., inner], (img[..., inner] + 1) / 2)
    assert torch.equal(pasted[..., ~keep], edited[..., ~keep])
    border = keep & ~inner
    torch.testing.assert_close(pasted[..., border], (edited[..., border] + (img[..., border] + 1) / 2) / 2)


def test_the_weight_of_pasting_rises_from_the_hole_outwards_and_never_reaches_into_it():
    keep = torch.ones(9, 9, dtype=torch.bool)
    keep[:, 0] = False
    assert torch.allclose(paste_weight(keep, 3)[4], torch.tensor([0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]))
    assert torch.equal(paste_weight(keep, 0), keep.float())
    assert paste_weight(torch.ones(3, 3, dtype=torch.bool), 2).min() == 1  # the edge of the image is no border
