"""The exercises of notebook 09, FID tables."""

from typing import Any

from varlite.experiments.paper_tables import join, read_table
from varlite.nb.exercises import Off, function, kind, number
from varlite.presets import MODELS
from varlite.scales import Scales

CLAIM = {"model": "var-d16", "command": "somebody's", "scores": {"fid": 3.9, "is": 75.0}}
LIMIT = 0.05


def exercise_1(suspicious: Any) -> str:
    """Which numbers of a claim fit no source."""
    row = next(row for row in join(read_table("model-zoo"), [CLAIM]) if row["mark"] == "measured")
    right = set(row["disagrees"])
    if not isinstance(suspicious, list | tuple | set) or not all(isinstance(name, str) for name in suspicious):
        raise Off(f"This should be a list of columns, and is {kind(suspicious)}.")
    if strange := sorted(set(suspicious) - set(CLAIM["scores"])):
        raise Off(f"Nobody claimed anything about {', '.join(strange)}.")
    if missing := right - set(suspicious):
        more = "Another number" if set(suspicious) else "Something"
        raise Off(
            f"{more} lies outside as well. ({len(right)} of the {len(CLAIM['scores'])} do; {len(missing)} missing.)"
        )
    if set(suspicious) - right:
        raise Off("One of these lies within what the sources span.")
    return "So low an IS smells of sorted files. FID does not depend on order: think of JPEG, few or uneven images."


def exercise_2(tokens_for_one: Any) -> str:
    """Tokens of next scale for each of raster order."""
    scales = Scales.of(MODELS["var-d16"].config.scales)
    last = scales.lengths[-1]
    number(tokens_for_one, scales.total / last, 0.01, {
        scales.total: "That is the number of VAR's tokens. How many are there for each token of raster order?",
        last / scales.total: "That is the other way round.",
        scales.K / last: "Those are the steps. A step of VAR processes a whole map.",
        sum(h for h, _ in scales.shapes) / last: "Those are the sides. A map of side s has s times s tokens.",
    })  # fmt: skip
    return f"And yet it takes {scales.K} steps instead of {last}."


def exercise_3(beyond_seeds: Any) -> str:
    """Whether a step helps beyond the ranges of seeds."""
    call = seen_none(function(beyond_seeds))
    cases = [
        ([12.0, 11.8], [9.2, 8.9], True, "The two ranges are far apart, and the second is lower."),
        ([9.0, 8.0], [8.5, 7.0], False, "The ranges overlap."),
        ([9.0, 7.0], [8.5, 8.0], False, "One range lies within the other."),
        ([5.0, 5.2], [6.0, 6.1], False, "The distance rises."),
        ([5.0, 6.0], [4.0], None, "The second is a single training."),
        ([5.0], [3.0, 4.0], None, "The first is a single training."),
    ]
    for before, after, right, why in cases:
        found = call(before, after)
        if found is not right and (found is None or right is None or bool(found) is not right):
            raise Off(f"beyond_seeds({before}, {after}) returns {found}. {why}")
    return "It is a rough test: with two seeds on either side, one time in six such a thing happens by chance."


def seen_none(call: Any) -> Any:
    """A function that may return None in earnest, which `function` takes for an attempt not made or a lost `return`."""

    def careful(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Off as off:
            if "returns nothing" in str(off):
                return None
            raise

    return careful


def exercise_4(coins: Any) -> str:
    """How surprising it is to win always."""
    if not isinstance(coins, tuple | list) or len(coins) != 2:
        raise Off(f"This should be a probability and a number of seeds, and is {kind(coins)}.")
    chance, seeds = coins
    try:
        number(chance, 2 / 2**4, 1e-3, {
            1 / 2**4: "That is for one of the two settings. Whichever wins always, we would be impressed.",
        })  # fmt: skip
    except Off as off:
        raise Off(f"The probability: {off}") from None
    least = next(n for n in range(1, 99) if 2 / 2**n < LIMIT)
    one_sided = next(n for n in range(1, 99) if 1 / 2**n < LIMIT)
    try:
        number(seeds, least, 0, {one_sided: "That would do for one setting alone; both may win."})
    except Off as off:
        raise Off(f"The probability is right. The seeds: {off}") from None
    return "Four of four is a hint, then, and no proof. The size of the differences may say more than who wins."
