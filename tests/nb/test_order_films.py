import io

import numpy as np
import torch
from examples import SIDES, lively_raster, lively_var, one_scale_tokenizer, tiny_tokenizer
from PIL import Image

from varlite.nb import order_films as films
from varlite.sampling import generate
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def decoded(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


def test_each_paradigm_draws_every_token_once_and_in_its_order():
    text, raster, by_scale = films.orders(SCALES).values()
    assert text[0].tolist() == [list(range(len(films.WORDS)))]
    assert len(raster) == 1 and raster[0].flatten().tolist() == list(range(25))
    assert [set(at_hw.flatten()) for at_hw in by_scale] == [{0}, {1}, {2}, {3}]
    assert [at_hw.shape for at_hw in by_scale] == list(SCALES.shapes)
    assert [films.steps_of(maps) for maps in (text, raster, by_scale)] == [7, 25, 4]


def test_the_state_after_a_step_tells_what_is_new_from_what_was_before_and_what_is_to_come():
    raster = films.orders(SCALES)["next image token"]
    assert films.state(raster, 6)[0].flatten().tolist() == [1] * 6 + [2] + [0] * 18
    by_scale = films.orders(SCALES)["next scale"]
    assert [set(state_hw.flatten()) for state_hw in films.state(by_scale, 2)] == [{1}, {1}, {2}, {0}]


def test_the_film_has_a_picture_a_step_and_what_ends_early_waits():
    frames = films.film(SCALES)
    pages = [decoded(frame) for frame in frames]
    assert len(pages) == 25 and len({page.shape for page in pages}) == 1
    # Next scale fills the lower part; its words on the left change to "done" after the fourth step.
    assert not np.array_equal(pages[2][170:, 150:], pages[3][170:, 150:])
    assert np.array_equal(pages[3][170:, 150:], pages[24][170:, 150:])
    assert not np.array_equal(pages[23], pages[24])


def test_stages_end_in_the_picture_that_generate_returns():
    for model, tokenizer, steps in ((lively_raster(), one_scale_tokenizer(), 25), (lively_var(), tiny_tokenizer(), 4)):
        stages = films.stages(model, tokenizer, [1, 2], 3, cfg=1.0)
        finished = generate(model, tokenizer, [1, 2], seeds=3, cfg=1.0)
        assert len(stages) == steps
        torch.testing.assert_close(stages[-1], finished)


def test_what_a_raster_model_has_not_drawn_yet_is_veiled():
    stages = films.stages(lively_raster(), one_scale_tokenizer(), [1], 3)
    grey = (stages == 0.5).squeeze(1).squeeze(1)  # 25 tokens of 2 x 2 pixels
    assert grey[0, 2:].all() and grey[0, :, 2:].all() and not grey[0, :2, :2].all()
    assert grey[11, 6:].all() and grey[11, 4:6, 4:].all() and not grey[11, :4].any()


def test_in_the_film_of_both_the_shorter_one_waits_at_its_end():
    raster, by_scale = torch.rand(5, 2, 1, 8, 8), torch.rand(3, 2, 1, 8, 8)
    pages = [decoded(frame) for frame in films.side_by_side(raster, by_scale, zoom=1)]
    assert len(pages) == 5 and pages[0].shape[:2] == (24, 24)
    for step, page in enumerate(pages):
        for top, stages in ((2, raster[step]), (14, by_scale[min(step, 2)])):
            shown = torch.tensor(page[top : top + 8, 14:22, 0]) / 255
            torch.testing.assert_close(shown, stages[1, 0], atol=0.003, rtol=0)
