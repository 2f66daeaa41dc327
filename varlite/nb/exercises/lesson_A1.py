"""The exercises of appendix A1, what sampling costs."""

from statistics import mean, median
from typing import Any

from varlite.models import VARConfig
from varlite.nb.exercises import Off, function, number
from varlite.presets import MODELS
from varlite.scales import Scales


def exercise_1(attention_share: Any) -> str:
    """Attention's share of a block's arithmetic at the last scale."""
    config = MODELS["var-d16"].config
    scales, C = Scales.of(config.scales), config.width
    linears, attention = 24 * C**2, 4 * scales.total * C
    own = 4 * scales.lengths[-1] * C
    number(attention_share, attention / (linears + attention), 0.002, {
        attention / linears: "That is its size beside the linear layers, not its share of both together.",
        own / (linears + own): "A token looks at all 680, not only at the tokens of its own scale.",
        100 * attention / (linears + attention): "That is in per cent. A share lies between 0 and 1.",
    })  # fmt: skip
    return "It grows with the number of tokens: at 1024 x 1024, with 9,451 of them, it is more than half."


def exercise_2(whole_speedup: Any) -> str:
    """What a faster part does to the whole."""
    part, factor = 0.6, 3
    left = 1 - part + part / factor
    number(whole_speedup, 1 / left, 0.01, {
        factor: "Only the transformer got so much faster.",
        left: "That is the time of the run now, if it was 1 before.",
        1 + part * (factor - 1): "Speed-ups are not averaged. Add up times.",
        1 / (part + (1 - part) / factor): "That is for a faster decoder.",
    })  # fmt: skip
    return f"With a transformer that takes no time at all, it would be {1 / (1 - part):g}."


def raster(config: VARConfig, tokens: int, ada_ln: bool = False, cached: bool = True) -> int:
    """Operations of a guided image; with AdaLN at every step, or without a cache."""
    C, total = config.width, 0
    for i in range(tokens):
        rows, first = (1 if cached else i + 1), i == 0
        block = 24 * rows * C**2 + 4 * rows * (i + 1) * C + 12 * C**2 * (ada_ln or first)
        head = 2 * rows * C * config.vocab + 4 * C**2 * (ada_ln or first)
        total += 2 * (config.depth * block + head + 2 * rows * config.z * C * (not first))
    return total


def exercise_3(raster_flops: Any) -> str:
    """Operations of raster order."""
    call = function(raster_flops)
    for name, tokens in (("fashion-var-d4", 5), ("fashion-var-d4", 49), ("var-d16", 256)):
        config = MODELS[name].config
        found, right = call(config, tokens), raster(config, tokens)
        slips = {
            raster(config, tokens, ada_ln=True): "AdaLN is computed once, at the first token.",
            raster(config, tokens, cached=False): "With a cache, a step computes its own token and no other.",
            right / 2: "Guidance asks everything twice.",
        }
        try:
            number(found, right, 1e-4 * right, slips)
        except Off as off:
            raise Off(f"For {name} and {tokens} tokens: {off}") from None
    share = raster(MODELS["var-d16"].config, 256) / raster(MODELS["var-d16"].config, 680)
    return f"About {share:.0%} of what 680 tokens cost. But it takes 256 steps, and each reads all weights."


class SlowStart:
    """A clock, and a run on it that takes `SECONDS`: longer at its first call, and when it is interrupted."""

    COLD, SECONDS, INTERRUPTED = 5.0, 0.8, 3.0

    def __init__(self) -> None:
        self.now, self.calls = 100.0, 0

    def clock(self) -> float:
        return self.now

    def run(self) -> None:
        self.now += self.COLD if self.calls == 0 else self.INTERRUPTED if self.calls == 3 else self.SECONDS
        self.calls += 1


def exercise_4(milliseconds: Any) -> str:
    """A stopwatch that neither a cold start nor an interruption can fool."""
    call = function(milliseconds)
    cold, usual, late = SlowStart.COLD, SlowStart.SECONDS, SlowStart.INTERRUPTED
    for rounds, batch in ((1, 1), (3, 1), (5, 1), (5, 64)):
        watch = SlowStart()
        found = call(watch.run, batch, clock=watch.clock, rounds=rounds)
        all_calls = [cold, usual, usual, late, usual, usual]
        first, warm = all_calls[:rounds], all_calls[1 : rounds + 1]
        slips = {
            1000 * mean(first) / batch: "The first call is slow, and it is in the result.",
            1000 * median(first) / batch: "The first call is slow, and it is in the result.",
            1000 * mean(warm) / batch: "One call was interrupted, and it moves the result.",
            1000 * usual: "That is for a whole batch.",
            usual / batch: "Those are seconds.",
        }
        right = 1000 * usual / batch
        try:
            number(found, right, 1e-6, {slip: said for slip, said in slips.items() if abs(slip - right) > 1e-6})
        except Off as off:
            raise Off(f"{rounds} round{'s' * (rounds > 1)}, batch {batch}: {off}") from None
    return "On a GPU there is a fourth mistake: calls return before the work is done. Wait for it before you look."
