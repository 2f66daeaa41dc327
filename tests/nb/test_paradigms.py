import io

import matplotlib
import numpy as np
import torch
from PIL import Image
from tiny import SIDES, lively_raster, lively_var, one_scale_tokenizer, tiny_tokenizer

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from varlite.nb import paradigms
from varlite.nb.plots import scale_colours
from varlite.sampling import generate
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def decoded(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


def test_each_paradigm_draws_every_token_once_and_in_its_order():
    text, raster, by_scale = paradigms.orders(SCALES).values()
    assert text[0].tolist() == [list(range(len(paradigms.WORDS)))]
    assert len(raster) == 1 and raster[0].flatten().tolist() == list(range(25))
    assert [set(at_hw.flatten()) for at_hw in by_scale] == [{0}, {1}, {2}, {3}]
    assert [at_hw.shape for at_hw in by_scale] == list(SCALES.shapes)
    assert [paradigms.steps_of(maps) for maps in (text, raster, by_scale)] == [7, 25, 4]


def test_the_state_after_a_step_tells_what_is_new_from_what_was_before_and_what_is_to_come():
    raster = paradigms.orders(SCALES)["next image token"]
    assert paradigms.state(raster, 6)[0].flatten().tolist() == [1] * 6 + [2] + [0] * 18
    by_scale = paradigms.orders(SCALES)["next scale"]
    assert [set(state_hw.flatten()) for state_hw in paradigms.state(by_scale, 2)] == [{1}, {1}, {2}, {0}]


def test_the_overview_counts_the_tokens_of_the_steps_it_shows():
    shown = paradigms.overview(SCALES)
    assert shown["next scale"] == {1: 1, 2: 4, 3: 9, 4: 25}
    assert shown["next image token"] == {1: 1, 9: 1, 17: 1, 25: 1}
    axes = plt.gcf().axes
    assert len(axes) == 1 + 2 * SCALES.K and axes[-1].get_title() == "step 4 of 4: 25 new"
    assert axes[2].collections[0].get_array().flatten().tolist() == [1] * 8 + [2] + [0] * 16


def test_the_film_has_a_picture_a_step_and_what_ends_early_waits():
    frames = paradigms.film(SCALES)
    pages = [decoded(frame) for frame in frames]
    assert len(pages) == 25 and len({page.shape for page in pages}) == 1
    # Next scale fills the lower part; its words on the left change to "done" after the fourth step.
    assert not np.array_equal(pages[2][170:, 150:], pages[3][170:, 150:])
    assert np.array_equal(pages[3][170:, 150:], pages[24][170:, 150:])
    assert not np.array_equal(pages[23], pages[24])


def test_an_animation_is_one_png_with_all_frames_in_nearly_their_colours():
    frames = paradigms.film(SCALES)
    with Image.open(io.BytesIO(paradigms.animation(frames, milliseconds=40, hold=900))) as moving:
        assert moving.format == "PNG" and moving.n_frames == 25
        for i in (0, 7, 24):
            moving.seek(i)
            difference = np.abs(np.asarray(moving.convert("RGB")).astype(int) - decoded(frames[i]))
            assert difference.mean() < 0.5
        assert moving.info["duration"] == 900


def test_the_player_shows_the_picture_that_the_slider_is_at():
    frames = paradigms.film(SCALES)
    box = paradigms.player(frames)
    (play, slider), screen = box.children[0].children, box.children[1]
    assert (slider.min, slider.max, play.max) == (0, 24, 24) and screen.value == frames[0]
    slider.value = 12
    assert screen.value == frames[12]


def test_masks_show_and_count_the_pairs_that_see_each_other():
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    spans = Scales.of([1, 2]).spans
    blocks = Scales.of([1, 2]).block_causal_mask()
    panels = {"a": (causal, [(0, 1), (1, 2), (2, 3)], ["red"] * 3), "b": (blocks, spans, scale_colours(2))}
    assert paradigms.masks(panels) == {"a": 6, "b": 1 + 4 * 5}
    left, right = plt.gcf().axes
    assert left.images[0].get_array().tolist() == [[1, 0, 0], [2, 2, 0], [3, 3, 3]]
    assert right.images[0].get_array().tolist() == [[1, 0, 0, 0, 0], *[[2] * 5] * 4]


def test_stages_end_in_the_picture_that_generate_returns():
    for model, tokenizer, steps in ((lively_raster(), one_scale_tokenizer(), 25), (lively_var(), tiny_tokenizer(), 4)):
        stages = paradigms.stages(model, tokenizer, [1, 2], torch.Generator().manual_seed(3), cfg=1.0)
        finished = generate(model, tokenizer, [1, 2], generator=torch.Generator().manual_seed(3), cfg=1.0)
        assert len(stages) == steps
        torch.testing.assert_close(stages[-1], finished)


def test_what_a_raster_model_has_not_drawn_yet_is_veiled():
    stages = paradigms.stages(lively_raster(), one_scale_tokenizer(), [1], torch.Generator().manual_seed(3))
    grey = (stages == 0.5).squeeze(1).squeeze(1)  # 25 tokens of 2 x 2 pixels
    assert grey[0, 2:].all() and grey[0, :, 2:].all() and not grey[0, :2, :2].all()
    assert grey[11, 6:].all() and grey[11, 4:6, 4:].all() and not grey[11, :4].any()


def test_the_race_shows_as_many_stages_of_both_and_both_to_the_end():
    raster, by_scale = torch.rand(25, 2, 1, 8, 8), torch.rand(4, 2, 1, 8, 8)
    assert paradigms.race(raster, by_scale, columns=4) == {"raster": [1, 9, 17, 25], "next scale": [1, 2, 3, 4]}
    axes = plt.gcf().axes
    assert [axes[j].get_title() for j in (1, 6)] == ["token 9", "scale 2"]
    assert torch.equal(torch.as_tensor(axes[9 + 3].images[0].get_array().data), raster[24, 1, 0])
    assert torch.equal(torch.as_tensor(axes[9 + 8].images[0].get_array().data), by_scale[3, 1, 0])


def test_in_the_film_of_both_the_shorter_one_waits_at_its_end():
    raster, by_scale = torch.rand(5, 2, 1, 8, 8), torch.rand(3, 2, 1, 8, 8)
    pages = [decoded(frame) for frame in paradigms.side_by_side(raster, by_scale, zoom=1)]
    assert len(pages) == 5 and pages[0].shape[:2] == (24, 24)
    for step, page in enumerate(pages):
        for top, stages in ((2, raster[step]), (14, by_scale[min(step, 2)])):
            shown = torch.tensor(page[top : top + 8, 14:22, 0]) / 255
            torch.testing.assert_close(shown, stages[1, 0], atol=0.003, rtol=0)
