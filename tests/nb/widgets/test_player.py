import io

import numpy as np
import pytest
from examples import SIDES
from PIL import Image

from varlite.nb.order_films import film
from varlite.nb.widgets.player import animation, player
from varlite.scales import Scales


@pytest.fixture(scope="module")
def frames():
    return film(Scales.of(SIDES))


def decoded(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


def test_an_animation_is_one_png_with_all_frames_in_nearly_their_colours(frames):
    with Image.open(io.BytesIO(animation(frames, milliseconds=40, hold=900))) as moving:
        assert moving.format == "PNG" and moving.n_frames == 25
        for i in (0, 7, 24):
            moving.seek(i)
            difference = np.abs(np.asarray(moving.convert("RGB")).astype(int) - decoded(frames[i]))
            assert difference.mean() < 0.5
        assert moving.info["duration"] == 900


def test_the_player_shows_the_picture_that_the_slider_is_at(frames):
    box = player(frames)
    (play, replay, slider), screen = box.children[0].children, box.children[1]
    assert (slider.min, slider.max, play.max) == (0, 24, 24) and screen.value == frames[0]
    slider.value = 12
    assert screen.value == frames[12]
    replay.click()
    assert play.playing and play.value == 0


def test_the_screen_has_the_size_of_its_picture_unless_that_is_too_large_to_see_two(frames):
    layout = player(frames).children[1].layout
    assert (layout.align_self, layout.max_height) == ("flex-start", "420px")
