from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from examples import tiny_images, tiny_tokenizer

from varlite.nb.system_picture import system_picture


def test_the_picture_shows_the_token_maps_of_the_image_that_it_is_given(tokenizer):
    img = (tiny_images(1)[0] + 1) / 2
    idx = system_picture(tokenizer, img, "boot")
    assert all(torch.equal(a.flatten(), b[0]) for a, b in zip(idx, tokenizer.encode(img[None] * 2 - 1), strict=True))
    assert [tuple(idx_hw.shape) for idx_hw in idx] == list(tokenizer.scales.shapes)
    (axis,) = plt.gcf().axes
    words = [text.get_text() for text in axis.texts]
    assert sum(word == "predict" for word in words) == tokenizer.scales.K
    assert "class boot" in words
    assert len(axis.images) == 2 + tokenizer.scales.K - 1  # the image twice, and what all but the last map stand for


def test_the_picture_reads_on_a_dark_page(tokenizer):
    system_picture(tokenizer, (tiny_images(1)[0] + 1) / 2)
    assert plt.gcf().get_facecolor() == (1, 1, 1, 1)
    (axis,) = plt.gcf().axes
    assert all(text.get_color() not in ("white", "w") for text in axis.texts)


def test_ten_scales_find_room():
    system_picture(tiny_tokenizer(scales=list(range(1, 11))), torch.rand(1, 20, 20), "Siberian husky")
    figure = plt.gcf()
    figure.canvas.draw()
    titles = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text().startswith("$r_")]
    assert len(titles) == 10
    assert all(a.x1 < b.x0 for a, b in pairwise(titles))
