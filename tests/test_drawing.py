"""Random numbers are those of the recipe, good ones, and every draw follows its distribution."""

import itertools
import math
from functools import cache

import pytest
import torch

from varlite.drawing import (
    ANGLE,
    DRAW,
    GUMBEL,
    Rules,
    draw,
    gumbel_noise,
    image_seed,
    image_seeds,
    invert,
    normal_noise,
    random_words,
    signed,
    smooth_weights,
    uniform,
)

N = 100_000
RANDOM = torch.randint(-(2**63), 2**63 - 1, (N,), generator=torch.Generator().manual_seed(0))
# One number each of: consecutive seeds, seeds that differ in their high words, random seeds, steps of one seed, places.
SERIES = {
    "consecutive seeds": lambda: random_words(torch.arange(N), DRAW, 3, (1,)),
    "high words": lambda: random_words(torch.arange(N) << 32, DRAW, 3, (1,)),
    "every 2^20th seed": lambda: random_words(torch.arange(N) << 20, DRAW, 3, (1,)),
    "random seeds": lambda: random_words(RANDOM, DRAW, 3, (1,)),
    "steps": lambda: torch.cat([random_words(torch.tensor([7]), DRAW, k, (1,)) for k in range(N // 40)]),
    "places": lambda: random_words(torch.tensor([7]), DRAW, 3, (N,)),
    "codes": lambda: random_words(torch.tensor([7]), GUMBEL, 3, (N // 400, 400)),
    "images of a command": lambda: random_words(image_seeds(0, torch.arange(N) % 10), DRAW, 0, (1,)),
}


@cache
def series_of(name):
    return SERIES[name]().flatten()


@pytest.fixture(params=SERIES)
def series(request):
    return series_of(request.param)


def chi_square(counts, expected):
    """In standard deviations from what chance gives, which is 0 and 1."""
    freedom = counts.numel() - 1
    return (((counts - expected) ** 2 / expected).sum().item() - freedom) / math.sqrt(2 * freedom)


# The recipe


def plain_words(*absorbed):
    """(a, b) as the docstring of `random_words` has it, with whole numbers of any size."""

    def mix(x):
        x ^= x >> 16
        x = x * 0x21F0AAAD % 2**32
        x ^= x >> 15
        x = x * 0x735A2D97 % 2**32
        return x ^ x >> 15

    a, b = 0x243F6A88, 0x85A308D3
    for word in absorbed:
        a = mix(a ^ word)
        b = mix(b ^ a)
    return a, b


@pytest.mark.parametrize("seed", [0, 1, -1, 2**31, 2**32 - 1, 5 << 32, 2**63 - 1, -(2**63), 1234567890123456789])
def test_the_numbers_are_those_of_the_recipe(seed):
    low, high = seed % 2**32, (seed >> 32) % 2**32
    found = random_words(torch.tensor([seed]), 1, 4, (3, 5))[0]
    assert found.tolist() == [[plain_words(low, high, 1, 4, i, j)[1] for j in range(5)] for i in range(3)]
    a, b = plain_words(low, high, 4, 9, 8)
    assert image_seed(seed, 9, 8) == (a >> 1) * 2**32 + b < 2**63


def test_the_numbers_never_change():
    """If they do, no picture ever made from a seed can be made again, and the twin in the browser draws others."""
    assert random_words(torch.tensor([0, 1, 2**40 + 7, -1]), DRAW, 0, (3,)).tolist() == [
        [637446300, 1537300425, 2878544854],
        [3077707248, 634210604, 2404359385],
        [2230208400, 3065650622, 731943593],
        [831752802, 1635781904, 1874617512],
    ]
    assert random_words(torch.tensor([1]), GUMBEL, 5, (2, 2)).tolist() == [
        [[1987842898, 718026421], [3166712896, 3428764697]]
    ]
    assert [image_seed(*key) for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2**64 - 1, 999, 49))] == [
        7115522482572107432, 5015193232386284473, 2650730772998871821, 5803702059924506057, 5057138204263833668
    ]  # fmt: skip
    logits = torch.linspace(-2, 2, 7).expand(2, 6, 7)
    assert draw(logits, torch.tensor([0, 1]), 2).tolist() == [[6, 6, 4, 5, 5, 6], [5, 6, 6, 6, 6, 6]]


def test_a_number_is_the_same_in_any_batch_order_and_shape():
    seeds = RANDOM[:50]
    words = random_words(seeds, DRAW, 2, (30,))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    assert torch.equal(random_words(seeds[order], DRAW, 2, (30,)), words[order])
    parts = [random_words(part, DRAW, 2, (30,)) for part in seeds.split([1, 19, 30])]
    assert torch.equal(torch.cat(parts), words)
    assert torch.equal(random_words(seeds, DRAW, 2, (7,)), words[:, :7])
    logits = torch.randn(50, 30, 9, generator=torch.Generator().manual_seed(2))
    idx = draw(logits, seeds, 2)
    assert torch.equal(draw(logits[order], seeds[order], 2), idx[order])
    assert torch.equal(torch.cat([draw(x, s, 2) for x, s in zip(logits.split(7), seeds.split(7), strict=True)]), idx)
    noise = gumbel_noise(logits, seeds, 2)
    assert torch.equal(gumbel_noise(logits[order], seeds[order], 2), noise[order])


# Their quality


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_numbers_are_uniform_in_their_high_bits_as_in_their_low(series, shift):
    counts = torch.bincount((series >> shift) & 255, minlength=256).double()
    assert series.min() >= 0 and series.max() < 2**32
    assert abs(chi_square(counts, len(series) / 256)) < 5


@pytest.mark.parametrize("lag", [1, 2, 10, 256])
def test_one_number_tells_nothing_of_those_around_it(series, lag):
    a, b = series[:-lag], series[lag:]
    x, y = (n.double() / 2**32 - 0.5 for n in (a, b))
    assert abs((x * y).mean() * 12) * math.sqrt(len(x)) < 5
    pairs = torch.bincount((a >> 28) * 16 + (b >> 28), minlength=256).double()
    assert abs(chi_square(pairs, len(a) / 256)) < 5
    last_bits = torch.bincount((a & 15) * 16 + (b & 15), minlength=256).double()
    assert abs(chi_square(last_bits, len(a) / 256)) < 5


def test_streams_steps_places_and_seeds_are_independent_of_each_other():
    seeds = torch.arange(20_000)
    numbers = [random_words(seeds, stream, step, (2,)) for stream in range(4) for step in range(4)]
    columns = torch.cat(numbers, 1).double().T / 2**32 - 0.5  # 32 x 20,000
    correlation = torch.corrcoef(columns) - torch.eye(32)
    assert correlation.abs().max() * math.sqrt(20_000) < 5
    assert len(torch.cat(numbers).unique(dim=0)) == 16 * 20_000


def test_every_bit_of_seed_step_and_place_turns_half_the_bits_of_the_number():
    def bits(words):
        return (words[..., None] >> torch.arange(32)) & 1

    seeds = RANDOM[:1000]
    plain = bits(random_words(seeds, DRAW, 0, (1,)))
    turned = [bits(random_words(seeds ^ signed(1 << bit), DRAW, 0, (1,))) for bit in range(64)]
    turned += [bits(random_words(seeds, DRAW, 1 << bit, (1,))) for bit in range(10)]
    turned += [bits(random_words(seeds, DRAW, 0, (1025,))[:, 1 << bit, None]) for bit in range(10)]
    share = torch.stack([(plain != other).double().mean((0, 1)) for other in turned])  # 84 x 32
    assert (share - 0.5).abs().max() * 2 * math.sqrt(1000) < 5


def test_uniform_numbers_lie_between_zero_and_one_and_fill_the_gap():
    u = uniform(torch.arange(2000), ANGLE, 0, (500,))
    assert 0 < u.min() < 1e-5 and 1 - 1e-5 < u.max() < 1 and abs(u.mean() - 0.5) < 0.002
    ends = torch.tensor([0, 2**32 - 1]) >> 9  # the least and the largest word
    assert ((ends.float() + 0.5) / 2**23).tolist() == [2**-24, 1 - 2**-24]


def test_noise_has_the_moments_of_its_distribution():
    like = torch.empty(100, 50, 40)
    gumbel, normal = gumbel_noise(like, torch.arange(100), 1), normal_noise(like, torch.arange(100), 1)
    assert gumbel.shape == normal.shape == like.shape and gumbel.isfinite().all() and normal.isfinite().all()
    assert abs(gumbel.mean() - 0.5772) < 0.01 and abs(gumbel.var() - math.pi**2 / 6) < 0.03
    for power, moment, tolerance in ((1, 0, 0.01), (2, 1, 0.01), (3, 0, 0.03), (4, 3, 0.1)):
        assert abs((normal**power).mean() - moment) < tolerance
    u = 0.5 * (1 + torch.erf(normal / math.sqrt(2)))
    assert abs(chi_square(torch.histc(u, 100, 0, 1).double(), like.numel() / 100)) < 5
    steps = [normal_noise(like, torch.arange(100), step).flatten() for step in (1, 2)]
    assert abs(torch.corrcoef(torch.stack(steps))[0, 1]) * math.sqrt(like.numel()) < 5
    assert normal_noise(like.double(), torch.arange(100)).dtype == torch.float64


def test_rules_give_noise_of_seeds_or_of_a_generator_alike():
    like, seeds = torch.empty(3, 5), torch.tensor([4, 5, 6])
    of_seeds = Rules(seeds=seeds)
    assert torch.equal(of_seeds.normal(like, 2), normal_noise(like, seeds, 2))
    assert torch.equal(of_seeds.gumbel(like, 2), gumbel_noise(like, seeds, 2))
    of_generator = Rules(generator=torch.Generator().manual_seed(0))
    assert torch.equal(of_generator.normal(like, 2), torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))
    assert Rules().gumbel(like, 0).shape == (3, 5)


# Draws


@pytest.mark.parametrize("source", ["consecutive", "random", "places", "steps"])
def test_draws_follow_the_distribution(source):
    logits_V = 2 * torch.randn(50, generator=torch.Generator().manual_seed(3))
    p_V = logits_V.double().softmax(0)
    idx = {
        "consecutive": lambda: draw(logits_V.expand(N, 1, 50), torch.arange(N), 1),
        "random": lambda: draw(logits_V.expand(N, 1, 50), RANDOM, 1),
        "places": lambda: draw(logits_V.expand(10, N // 10, 50), torch.arange(10), 1),
        "steps": lambda: torch.cat(
            [draw(logits_V.expand(N // 20, 1, 50), torch.arange(N // 20), k) for k in range(20)]
        ),
    }[source]()
    assert abs(chi_square(idx.flatten().bincount(minlength=50).double(), N * p_V)) < 5


def test_a_code_of_no_probability_is_never_drawn_and_none_past_the_end():
    p = torch.tensor([0, 0, 0.3, 0, 0.7, 0, 0]).view(1, 1, 7)
    for word, code in ((0, 2), (2**32 - 1, 4), (round(0.299 * 2**32), 2), (round(0.301 * 2**32), 4)):
        assert invert(p, torch.tensor([[word]])).item() == code
    for V in (1, 2, 4096, 2**16):
        equal = torch.full((1, 1, V), 1 / V)
        assert invert(equal, torch.tensor([[0]])).item() == 0
        assert invert(equal, torch.tensor([[2**32 - 1]])).item() == V - 1
    logits = torch.randn(500, 20, 64, generator=torch.Generator().manual_seed(0)) * 30
    logits = logits.masked_fill(torch.rand(500, 20, 64, generator=torch.Generator().manual_seed(1)) < 0.9, -torch.inf)
    logits[..., 5] = 0.0
    assert logits.gather(-1, draw(logits, torch.arange(500))[..., None]).isfinite().all()


def test_codes_of_the_last_scale_of_the_largest_codebook_are_drawn_with_their_shares():
    """Whole numbers of 28 bits are fine enough for 4096 codes: the share of the unlikely half is right."""
    p_V = torch.cat((torch.zeros(2048), torch.full((2048,), -8.0))).softmax(0)
    low, high = 0, 2**32  # the word from which on an unlikely code is drawn
    while high - low > 1:
        middle = (low + high) // 2
        unlikely = invert(p_V.view(1, 1, -1), torch.tensor([[middle]])).item() >= 2048
        low, high = (low, middle) if unlikely else (middle, high)
    assert high / 2**32 == pytest.approx(p_V[:2048].double().sum().item(), abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nothing_to_draw_is_said_in_a_sentence(value):
    logits = torch.zeros(2, 3, 5)
    logits[1, 2] = value
    for source in (torch.tensor([0, 1]), torch.Generator(), None):
        with pytest.raises(ValueError, match="logits: NaN or infinite, or every code is ruled out"):
            draw(logits, source)


def test_smooth_weights_are_a_gumbel_softmax_that_sharpens_over_the_scales():
    logits, generator, seeds = torch.randn(2, 3, 5), torch.Generator(), torch.tensor([8, 9])
    for progress, tau in ((0.0, 0.27), (0.5, 0.14175), (1.0, 0.0135)):
        noise = -torch.empty(2, 3, 5).exponential_(generator=generator.manual_seed(3)).log()
        expected = ((logits * (1 + progress) + noise) / tau).softmax(-1)
        torch.testing.assert_close(smooth_weights(logits, progress, generator.manual_seed(3)), expected)
        expected = ((logits * (1 + progress) + gumbel_noise(logits, seeds, 4)) / tau).softmax(-1)
        torch.testing.assert_close(smooth_weights(logits, progress, seeds, 4), expected)


# Seeds of images


def test_every_image_has_a_seed_of_its_own():
    keys = list(itertools.product((0, 1, 2**32, 2**64 - 1), range(10), range(50)))
    seeds = [image_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys) and all(0 <= seed < 2**63 for seed in seeds)
    assert image_seed(-1, 3, 4) == image_seed(2**64 - 1, 3, 4)  # the low 64 bits count
    whole = image_seeds(7, torch.arange(50_000) % 1000)
    assert len(whole.unique()) == 50_000


def test_seeds_count_the_images_of_each_class():
    labels = torch.tensor([3, 3, 0, 3, 1, 0])
    expected = [image_seed(7, c, i) for c, i in ((3, 0), (3, 1), (0, 0), (3, 2), (1, 0), (0, 1))]
    assert image_seeds(7, labels).tolist() == expected
    assert image_seeds(7, labels, torch.tensor([0, 1, 0, 2, 0, 1])).tolist() == expected
    assert image_seeds(7, labels[:2]).tolist() == expected[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 0, 0), "seed must be an integer, got None"),
        ((0, "cats", 0), "label must be an integer, got 'cats'"),
        ((0, 0, 1.5), "index must be an integer, got 1.5"),
    ],
)
def test_the_seed_of_an_image_needs_whole_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        image_seed(*arguments)


def test_rules_of_ones_own_are_checked_as_those_of_generate():
    for wrong in ({"generator": 0}, {"seeds": 3}, {"on_scale": 1}, {"on_logits": "print"}, {"smooth": 2}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
            Rules(**wrong)
    with pytest.raises(ValueError, match="seeds or a generator: random numbers come from one of them"):
        Rules(seeds=torch.tensor([1]), generator=torch.Generator())
