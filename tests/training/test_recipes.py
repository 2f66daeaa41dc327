import math

import pytest

from varlite.presets import MODELS, TOKENIZERS
from varlite.training.options import Options
from varlite.training.recipes import override, warmup_cosine
from varlite.training.train_classifier import ClassifierRecipe

VQ, VAR = TOKENIZERS["fashion-vq"].recipe, MODELS["fashion-var-d4"].recipe


def test_the_learning_rate_rises_linearly_and_falls_like_a_cosine():
    rates = [warmup_cosine(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1 and rates[55] == pytest.approx(0.5) and 0 < rates[99] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert all(math.isfinite(warmup_cosine(step, 5, 10)) for step in range(5))


def test_what_is_given_overrides_the_recipe_and_must_be_positive():
    assert override(VAR, Options()) == VAR
    assert override(VAR, Options(steps=7)).steps == 7
    for wrong in ({"steps": 0}, {"batch": -1}, {"lr": 0.0}, {"lr": math.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be positive, got"):
            override(VAR, Options(**wrong))


def test_every_entry_of_a_recipe_can_be_given_as_text_of_its_kind():
    given = ("gan=0.4", "perceptual=fashion", "reseed=false", "warmup=7", "betas=0.5,0.9")
    changed = override(VQ, Options(recipe=given))
    assert (changed.gan, changed.perceptual, changed.reseed, changed.warmup) == (0.4, "fashion", False, 7)
    assert changed.betas == (0.5, 0.9)


@pytest.mark.parametrize(
    "recipe, text, message",
    [
        (VQ, "gam=1", r"there is no entry 'gam'; there are: steps, batch, .*gan"),
        (VQ, "gan=much", "gan must be of type float, got 'much'"),
        (VQ, "perceptual=vgg", "perceptual must be one of none, lpips, fashion, still, got 'vgg'"),
        (VQ, "reseed=1", "reseed must be one of true, false, got '1'"),
        (VQ, "l1=-1", "l1 must be 0 or more, got -1.0"),
        (VQ, "l1=nan", "l1 must be 0 or more, got nan"),
        (VQ, "ema=1", "ema must be 0 or more and less than 1, got 1.0"),
        (VQ, "ema=2", "ema must be 0 or more and less than 1"),
        (VQ, "gan_from=5", "gan_from must be 0 or more and less than 1"),
        (VQ, "betas=0.5", "betas must be 2 numbers, got 1"),
        (VQ, "betas=0.5,1", "betas must be 0 or more and less than 1, got 1.0"),
        (VQ, "warmup=-1", "warmup must be 0 or more"),
        (VAR, "clip=0", "clip must be positive, got 0.0"),
        (VAR, "lr=inf", "lr must be positive, got inf"),
        (VAR, "final=2", "final must be 0 or more and less than 1"),
        (VAR, "weight_decay=-1", "weight_decay must be 0 or more"),
        (ClassifierRecipe(), "weight_decay=-1", "weight_decay must be 0 or more"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(recipe, text, message):
    with pytest.raises(ValueError, match=message):
        override(recipe, Options(recipe=(text,)))


def test_every_preset_is_within_the_ranges_of_its_recipe():
    for row in [*MODELS.values(), *TOKENIZERS.values()]:
        assert override(row.recipe, Options()) == row.recipe


def test_an_entry_that_is_given_twice_is_refused():
    with pytest.raises(ValueError, match="recipe: steps is given twice, 1 and 2"):
        override(VAR, Options(steps=1, recipe=("steps=2",)))
    with pytest.raises(ValueError, match=r"recipe: ema is given twice, 0\.5 and 0\.9"):
        override(VAR, Options(recipe=("ema=0.5", "ema=0.9")))
