"""How long the trainings of `varlite fit` take on this machine, and how the minutes are shared out among them."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from varlite.datasets import Dataset
from varlite.datasets.pixels import to_float
from varlite.presets import MODELS, TOKENIZERS, TokenizerRecipe
from varlite.tokenizer import VQVAE, TokenizerConfig
from varlite.training.engine import Engine
from varlite.training.loop import Training, checked_step
from varlite.training.options import Options
from varlite.training.perceptual import perceptual_loss
from varlite.training.run import Run
from varlite.training.starting import random_model
from varlite.training.train_tokenizer import TokenizerTraining
from varlite.training.train_transformer import TransformerTraining
from varlite.training.tune_decoder import RECIPE as DECODER

SHARE = {"decoder": 0.3, "continued": 0.4, "new": 0.5}  # of the time to train, for the tokenizer
FEWEST, MOST = 20, 4500  # steps of a training; of a tokenizer's
ENOUGH, SMALLEST = 200, 16  # steps; the batch that is not made smaller for their sake
# Of the transformer over the pictures, at most: then it learns them by heart. Of 270 dyed clothes, from an earlier
# still-var-d6, the test loss is 4.48 after 9.5 passes, 4.82 after 19 and 11.06 after 71, when 47 % of the samples are
# copies (one training each); of 3,426 emoji, from nothing, it turns up after 11.
PASSES = 12
AT_LEAST = 40  # steps for which the batch is made smaller where pictures are few
HELD_OUT = 2000  # pictures, at most, where there are more than the time allows to look at
SAMPLES, SHOWN = 300, 64  # that are scored, at most; that are shown
TIMED = 3  # steps


@dataclass(frozen=True)
class Timed:
    """Seconds of a step of each training, with its batch, and to encode a picture."""

    tokenizer_step: float
    tokenizer_batch: int
    model_step: float
    model_batch: int
    encode: float

    @property
    def sample(self) -> float:
        """To make a picture: with guidance two passes without gradients, together at most what learning from one takes,
        and a decoder as slow as the encoder."""
        return self.model_step / self.model_batch + self.encode


class Shared(NamedTuple):
    """What fits into the time. `seen`: how many of the pictures there is time to look at; 0 is all of them."""

    tokenizer_steps: int
    tokenizer_batch: int
    model_steps: int
    model_batch: int
    views: int
    seen: int
    seconds: list[float]  # of the tokenizer, of the transformer with its tokens, of pictures and scores


def share_out(timed: Timed, left: float, way: str, n: int, n_test: int, exact: bool) -> Shared:
    """What is done in `left` seconds with n pictures to train on, and n_test that are held out.

    exact: the pictures have the model's size already, and are learned as they are; others are seen in several cuts.
    """
    encode, tests = timed.encode, min(n_test, HELD_OUT)
    batch, steps, second = many_steps(SHARE[way] * left, timed.tokenizer_step, timed.tokenizer_batch)
    tokenizer = min(MOST, steps), batch
    of_tokenizer = tokenizer[0] * second
    left = max(0.0, left - of_tokenizer - tests * encode)
    # Each picture is encoded once before the first step; where there is no time for all, as many as are looked at.
    batch, steps, second = many_steps(left - n * encode, timed.model_step, timed.model_batch)
    if steps * batch < n:
        each = timed.model_step + timed.model_batch * encode
        batch, steps, second = many_steps(left, each, timed.model_batch)
        second *= timed.model_step / each
    if steps * batch > PASSES * n:
        while PASSES * n < AT_LEAST * batch and batch >= 2 * SMALLEST:
            second, batch = second * (batch // 2) / batch, batch // 2
        steps = max(FEWEST, PASSES * n // batch)
    model = steps, batch
    looks = model[0] * batch
    seen = max(looks, tokenizer[0] * tokenizer[1])
    seen = 0 if seen >= 0.8 * n else seen
    encoded = seen or n
    views = 1 if exact else int(max(1, min(8, looks / encoded / 2, 0.2 * left / (encoded * encode))))
    of_model = model[0] * second + (encoded * views + tests) * encode
    of_scores = (min(n_test, SAMPLES) + SHOWN) * timed.sample + 3 * tests * encode
    return Shared(*tokenizer, *model, views, seen, [round(x, 1) for x in (of_tokenizer, of_model, of_scores)])


def many_steps(seconds: float, step: float, batch: int) -> tuple[int, int, float]:
    """(batch, steps, seconds a step) for a time: smaller batches, down to SMALLEST, where there would be few steps."""
    while seconds < ENOUGH * step and batch >= 2 * SMALLEST:
        step, batch = step * (batch // 2) / batch, batch // 2
    return batch, int(max(FEWEST, seconds / step)), step


def tokenizer_recipe(way: str, name: str) -> TokenizerRecipe:
    """The recipe before its steps, batch, warm-up and average are fitted to the time."""
    if way == "decoder":
        return DECODER
    recipe = TOKENIZERS[name].recipe
    # The transformer goes on too, and knows codes by their numbers. Where dead ones are moved to other pictures, they
    # mean something else: of 270 dyed clothes its test loss is then 6.46, and 4.49 where all stay (one training each).
    return replace(recipe, start="kept", reseed=False, lr=recipe.lr / 2) if way == "continued" else recipe


def time_steps(config: TokenizerConfig, way: str, name: str, model: str, data: Dataset, options: Options) -> Timed:
    """Take some steps of both trainings, which are thrown away, and encode a batch.

    name: the preset whose recipe the tokenizer gets; model: the transformer's. data: of the size of `config`.
    """
    engine, n = Engine(options), len(data.labels)
    torch.manual_seed(options.seed)
    vq = VQVAE(config)
    batch = min(n, 64 if max(vq.image_size()) < 64 else 32)
    # Codes at random, the discriminator from the start.
    recipe = replace(tokenizer_recipe(way, name), batch=batch, steps=1000, gan_from=0.0, start="noise", warmup=1)
    parts = (vq.post_quant, vq.decoder) if way == "decoder" else (vq,)
    row = MODELS[model]
    shape = replace(row.config, classes=len(data.classes), vocab=config.vocab, z=config.z, scales=vq.scales.sides)
    fitted = replace(row.recipe, batch=min(n, row.recipe.batch), steps=1000, views=1)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "timed", {}, "")
        training: Training = TokenizerTraining(
            run, engine, options, recipe, vq, [p for part in parts for p in part.parameters()],
            perceptual_loss(recipe.perceptual), (data, data),
        )  # fmt: skip
        tokenizer_step = seconds_a_step(training)
        vq = vq.requires_grad_(False).eval().to(engine.device)
        tokens: Any = RandomTokens(n, vq, len(data.classes))
        net = random_model(shape, options.seed)
        training = TransformerTraining(run, engine, options, fitted, net, vq, (tokens, tokens))
        model_step = seconds_a_step(training)
    with torch.inference_mode():
        began, img = time.monotonic(), data.images(torch.arange(min(32, n)))
        vq.encode(to_float(img.to(engine.device)))
        encode = (time.monotonic() - began) / len(img)
    return Timed(tokenizer_step, batch, model_step, fitted.batch, encode)


def seconds_a_step(training: Training) -> float:
    """The median of some steps after the first, which is slower than all others."""
    seconds = []
    for step in range(1, 2 + TIMED):  # not step 0, at which codes are placed
        began = time.monotonic()
        checked_step(training, step)
        seconds.append(time.monotonic() - began)
    return sorted(seconds[1:])[TIMED // 2]


class RandomTokens:
    """Examples for timing: as many as there are pictures."""

    def __init__(self, n: int, vq: VQVAE, classes: int):
        self.n, self.vq, self.classes = n, vq, classes

    def __len__(self) -> int:
        return self.n

    def batch(self, indices: torch.Tensor, passes: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        tokens_BL = torch.randint(self.vq.config.vocab, (len(indices), self.vq.scales.total))
        return tokens_BL, torch.randint(self.classes, (len(indices),))

    def example(self, scales: Any, rows: torch.Tensor) -> Any:
        return scales.split(rows)


def options_of(steps: int, batch: int, base: Options, **recipe: Any) -> Options:
    """Options for so many steps, with a warm-up and an average of the weights that suit them."""
    fitted = {"warmup": max(1, min(100, steps // 10)), "ema": round(min(0.998, 1 - 10 / max(steps, 20)), 4)} | recipe
    return replace(base, steps=steps, batch=batch, recipe=tuple(f"{name}={value}" for name, value in fitted.items()))
