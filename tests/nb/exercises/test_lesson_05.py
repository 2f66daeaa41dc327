"""Exercises of notebook 05: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch
import torch.nn.functional as F

from varlite.nb.exercises import lesson_05 as lesson
from varlite.nb.exercises import verdict


def test_the_gap_is_in_per_cent_of_the_training_loss():
    line = lesson.last_line()
    loss, val = line["loss"], line["val_loss"]
    assert verdict("05.1", 100 * (val / loss - 1)).startswith("right.")
    assert "per cent of the other one" in verdict("05.1", 100 * val / loss)
    assert "too large" in verdict("05.1", 50)


@pytest.mark.parametrize(("factor", "said"), [
    (0.25, "right."), (1, "four times"), (4, "sixteen"), (1 / 32, "mean over its eight"), (0.5, "too large"),
])  # fmt: skip
def test_micro_batches_are_weighted(factor, said):
    assert said in verdict("05.2", factor)


def one_step(target=lambda img: img, forget=False, late=False, idle=False):
    def call(model, optimizer, img):
        x = model(img)
        loss = F.mse_loss(x.reconstruction, target(img)) + 0.2 * x.quantizer_loss
        if not (forget or late):
            optimizer.zero_grad()
        loss.backward()
        if late:
            optimizer.zero_grad()
        if not idle:
            optimizer.step()
        return loss.item()

    return call


def test_a_step_that_learns_nothing_or_the_wrong_thing_is_found():
    assert verdict("05.3", one_step()).startswith("right.")
    assert "there is no gradient" in verdict("05.3", one_step(late=True))
    assert "that of the first in it" in verdict("05.3", one_step(forget=True))
    assert "comes out as 0" in verdict("05.3", one_step(target=lambda img: img / 2 + 0.5))
    assert "never called" in verdict("05.3", one_step(idle=True))


def test_an_angle_is_neither_a_distance_nor_a_product():
    def angles(f_NZ, codes_VZ):
        return F.normalize(f_NZ, dim=-1) @ F.normalize(codes_VZ, dim=-1).T

    assert verdict("05.4", lambda f, codes: angles(f, codes).argmax(1)).startswith("right.")
    assert "largest angle" in verdict("05.4", lambda f, codes: angles(f, codes).argmin(1))
    assert "by distance" in verdict("05.4", lambda f, codes: torch.cdist(f, codes).argmin(1))
    assert "a long code wins" in verdict("05.4", lambda f, codes: (f @ codes.T).argmax(1))
    assert "shape (200,)" in verdict("05.4", lambda f, codes: angles(f, codes))


def reseeded(rows=None, everything=False, in_place=False):
    def call(codes_VZ, used_V, residual_NZ, generator):
        order = torch.randperm(len(residual_NZ), generator=generator)
        out = codes_VZ if in_place else codes_VZ.clone()
        dead_V = torch.ones_like(used_V) if everything else ~used_V
        chosen = order[: dead_V.sum()] if rows is None else rows(int(dead_V.sum()))
        out[dead_V] = residual_NZ[chosen]
        return out

    return call


def test_dead_codes_move_each_onto_another_residual():
    assert verdict("05.5", reseeded()).startswith("right.")
    assert "in use has moved" in verdict("05.5", reseeded(everything=True))
    assert "Work on a copy" in verdict("05.5", reseeded(in_place=True))
    assert "the same residual" in verdict("05.5", reseeded(rows=lambda n: [0] * n))
    assert "Choose at random" in verdict("05.5", reseeded(rows=lambda n: list(range(n))))
    assert "where it was" in verdict("05.5", lambda codes, *_: codes)
    assert "no residual is" in verdict("05.5", lambda codes, used, *_: codes.where(used[:, None], codes + 1))
