"""Exercises of notebook 07: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch.nn.functional as F

from varlite.nb.exercises import lesson_07 as lesson
from varlite.nb.exercises import verdict
from varlite.sampling import generate


@pytest.mark.parametrize(("tokens", "said"), [
    (15, "right."), (16, "1 x 1 token is kept"), (9, "finest scale alone"), (18, "touches"), (6, "completely"),
    (40, "too large"),
])  # fmt: skip
def test_tokens_of_a_corner_are_counted(tokens, said):
    assert said in verdict("07.1", tokens)


def first(step):
    if step.k == 0:
        step.h_BlZ = lesson.shipped()[1].embed(step.idx_Bl)


def all_of_them(step):
    step.h_BlZ = lesson.shipped()[1].embed(step.idx_Bl)


def untouched(step):
    """A hook."""
    ...


def test_only_the_first_token_is_freed():
    assert verdict("07.2", first).startswith("right.")
    assert "picture's own" in verdict("07.2", lambda step: None)
    assert "finer scale" in verdict("07.2", all_of_them)
    assert "not tried yet" in verdict("07.2", untouched) and "a int" not in verdict("07.2", 3)


def variations(off_by=0):
    def call(model, tokenizer, img, n, seed):
        idx = tokenizer.encode(img)

        def keep(step):
            if step.k < n + off_by:
                step.h_BlZ = tokenizer.embed(idx[step.k])

        return generate(model, tokenizer, [model.class_embed.null] * len(img), on_scale=keep, seeds=seed)

    return call


def test_variations_keep_as_many_maps_as_they_should():
    assert verdict("07.3", variations()).startswith("right.")
    assert "with nothing kept" in verdict("07.3", variations(off_by=1))
    assert "with 2 maps kept" in verdict("07.3", variations(off_by=-1))


def blend(kept_side=True, steps=None):
    def call(edited, original, keep_HW, width):
        grown = (~keep_HW if kept_side else keep_HW).float()[None, None]
        weight = grown.clone()
        for _ in range(width if steps is None else steps):
            grown = F.max_pool2d(grown, 3, stride=1, padding=1)
            weight = weight + grown
        weight = weight / weight.max()
        return weight * edited + (1 - weight) * original

    return call


def test_a_paste_leaves_the_hole_alone_and_falls_off_outside():
    assert verdict("07.4", blend()).startswith("right.")
    assert "belongs to the edit alone" in verdict("07.4", lambda edited, original, *_: original)
    assert "pixels away" in verdict("07.4", blend(steps=6))
    assert "no blend" in verdict("07.4", blend(steps=0)) or "should fall" in verdict("07.4", blend(steps=0))
    assert "returns a tensor of shape (2, 1, 28)" in verdict("07.4", lambda edited, *_: edited[..., 0])
