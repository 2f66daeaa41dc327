"""The exercises of appendix A1, what sampling costs."""

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
