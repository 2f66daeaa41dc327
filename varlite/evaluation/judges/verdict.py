"""The verdict on sets of samples: how far each is from real pictures by its worst judge, and who is nearer.

Judges count in different units: shares, distances, squared distances. What they have in common is the floor, the score
of other real pictures, and its interval, which is what chance alone moves it by. So a set's distance by one judge is

    away = (score - floor) / half the interval of the floor       at least zero; real pictures score about one

with roots taken first of what is a squared distance (Fréchet, W2 squared, MMD squared). A small change of the data
moves those by its square, so that without the root they would be the smallest for good samples and the largest for bad
ones, whatever the change.

A set is as far from the data as its worst judge says, and of two sets the one whose worst judge says less is nearer.
Why the worst, and not a mean of scores or ranks: samples from the distribution of the data pass every test, so one
test that fails clearly is proof, and passing the others takes nothing of it back. Under a mean, what is lost before one
judge can be bought back before others, and the cheapest to please is the one that decides; whoever tunes against some
judges of the panel then wins by them. Under the worst, pleasing a judge helps only while it is the worst one. And a set
cannot hide behind noise: the unit is the interval of real pictures, not its own.

What this does not say: how much a person would mind. `away` grows with the number of images, as any test gets sharper
with more of them, so only equal numbers can be compared; and a judge with little noise, such as a histogram of a
million tokens, finds more than one with much. Where the worst judges of two sets say the same within their intervals,
the next worst decide, and so on; so a shortcoming that both share, such as a decoder's blur, does not hide the rest.

Two judges look at the tokens that a model drew, all others at images. They vote, because a sampler of tokens claims to
draw them as the data has them. One that does not, and whose images score better for it, makes up for something else,
such as the decoder's blur, and would spoil a better decoder's images. For images alone they are left out (`OF_DRAWN`):
scaled spatial guidance loses by them and wins without them (`varlite reproduce additions`).

A judge that had a part in a choice has no vote: those of `CHOSEN_WITH`, by which models and settings here were chosen,
and those that a report names itself. Nor have judges that did not score every set, and judges of tokens where the
tokenizers differ.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from varlite.evaluation.judges.intervals import Interval
from varlite.io.records import read_record

CHOSEN_WITH = frozenset({"fd_first", "recall_first"})  # the judges that models and settings here were chosen by
OF_DRAWN = frozenset({"drawn_tokens", "drawn_pairs"})  # judges of what the sampler did, rather than of images
OF_TOKENS = OF_DRAWN | {"tokens", "token_pairs"}


@dataclass(frozen=True)
class Score:
    """What one judge says of a set: the value with its 95 % interval, and what as many real pictures get, with half of
    that one's interval. squared: it is the square of a distance."""

    value: float
    low: float
    high: float
    floor: float
    floor_half: float
    lower_is_better: bool = True
    squared: bool = False

    def away(self) -> Interval:
        """How far from real pictures, in halves of their own interval: see above."""

        def place(x: float) -> float:
            x = x if self.lower_is_better else -x
            return math.copysign(math.sqrt(abs(x)), x) if self.squared else x

        unit = (place(self.floor + self.floor_half) - place(self.floor - self.floor_half)) / 2
        unit = abs(unit) or 1e-9  # no noise at all: whatever differs is far away
        value, *ends = (max(0.0, (place(x) - place(self.floor)) / unit) for x in (self.value, self.low, self.high))
        return Interval(value, min(ends), max(ends))


@dataclass(frozen=True)
class Report:
    """The panel on one set of samples. left_out: judges that said nothing, and why. chosen_with: judges by which these
    samples, or the settings behind them, were chosen. tokenizer, reference: checksums of what judges looked with."""

    num: int
    scores: dict[str, Score]
    left_out: dict[str, str] = field(default_factory=dict)
    chosen_with: tuple[str, ...] = tuple(sorted(CHOSEN_WITH))
    tokenizer: str = ""
    reference: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON: numbers to six digits, with `away` of each judge."""
        scores = {name: short(asdict(score)) | {"away": short(score.away().value)} for name, score in
                  self.scores.items()}  # fmt: skip
        return asdict(self) | {"scores": scores, "chosen_with": list(self.chosen_with)}

    @classmethod
    def read(cls, record: Mapping[str, Any], source: Path | str) -> "Report":
        """The report in a record. Raises ValueError, naming the source, for one that is damaged."""
        try:
            scores = {name: {k: v for k, v in score.items() if k != "away"} for name, score in record["scores"].items()}
            read = {name: read_record(Score, score, f"{source}: {name}") for name, score in scores.items()}
            given = {key: value for key, value in record.items() if key != "chosen_with"} | {"scores": read}
            return cls(**given, chosen_with=tuple(record["chosen_with"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{source}: not a report of the panel ({error})") from None

    def worst_first(self, voters: Collection[str] | None = None) -> list[tuple[str, Interval]]:
        """(judge, how far away), the worst judge first; of the voters, by default all but `chosen_with`."""
        names = self.scores.keys() - set(self.chosen_with) if voters is None else voters
        return sorted(((name, self.scores[name].away()) for name in names), key=lambda x: (-x[1].value, x[0]))


class Place(NamedTuple):
    """One set in the verdict: its rank (1 is best, 1.5 is shared by two), its worst judge, and what that one says."""

    name: str
    rank: float
    judge: str
    away: Interval


def short(x: Any) -> Any:
    """Numbers to six digits, in dictionaries as well."""
    if isinstance(x, dict):
        return {key: short(value) for key, value in x.items()}
    return float(f"{x:.6g}") if isinstance(x, float) else x


def voters_of(reports: Mapping[str, Report], without: Collection[str] = ()) -> list[str]:
    """The judges that vote on all the sets, `without` some.

    Raises ValueError if there are none, or if scores cannot be compared.
    """
    for what in ("num", "reference"):
        if len(found := {getattr(report, what) for report in reports.values()}) > 1:
            raise ValueError(f"reports: sets must be scored alike, and their {what} differs: {sorted(found)}")
    names = [set(report.scores) for report in reports.values()]
    chosen = set(without).union(*(report.chosen_with for report in reports.values()))
    if len({report.tokenizer for report in reports.values()}) > 1:
        chosen |= OF_TOKENS
    voters = sorted(set.intersection(*names) - chosen) if names else []
    if not voters:
        raise ValueError(f"reports: no judge is left that scored every set and is not among {sorted(chosen)}")
    return voters


def duel(a: Report, b: Report, voters: Collection[str]) -> float:
    """1 if a is nearer to the data, 0 if b is, 1/2 if no judge can tell: the worst of each decide, if they are further
    apart than both intervals together allow for, otherwise the next worst."""
    for (_, ours), (_, theirs) in zip(a.worst_first(voters), b.worst_first(voters), strict=True):
        ahead = theirs.value - ours.value
        if abs(ahead) > math.hypot(ours.half, theirs.half):
            return float(ahead > 0)
    return 0.5


def verdict(reports: Mapping[str, Report], without: Collection[str] = ()) -> list[Place]:
    """The sets, the nearest to the data first, each ranked by its duels with all the others.

    Raises ValueError for sets of different numbers of images or another reference, and where no judge is left.
    """
    voters = voters_of(reports, without)
    places = []
    for name, report in reports.items():
        lost = sum(duel(other, report, voters) for key, other in reports.items() if key != name)
        judge, away = report.worst_first(voters)[0]
        places.append(Place(name, 1 + lost, judge, away))
    return sorted(places, key=lambda place: (place.rank, place.away.value))


def prefer(a: Report, b: Report, voters: Collection[str]) -> tuple[list[str], list[str]]:
    """The judges by which a is nearer to the data, and those by which b is, each beyond its intervals."""
    nearer: tuple[list[str], list[str]] = ([], [])
    for name in voters:
        ours, theirs = a.scores[name].away(), b.scores[name].away()
        if abs(ours.value - theirs.value) > math.hypot(ours.half, theirs.half):
            nearer[ours.value > theirs.value].append(name)
    return nearer


def verdict_line(reports: Mapping[str, Report], without: Collection[str] = ()) -> str:
    """The verdict in one line; of two sets with the number of judges that prefer each."""
    places, voters = verdict(reports, without), voters_of(reports, without)
    shown = ", ".join(f"{p.name} {p.away.value:.1f} ({p.judge}), rank {p.rank:g}" for p in places)
    line = f"by {len(voters)} judges that had no part in any choice, how far from real pictures at worst: {shown}"
    if len(places) == 2:
        (a, _, *_), (b, _, *_) = places
        ours, theirs = prefer(reports[a], reports[b], voters)
        line += (
            f"; {len(ours)} of them prefer {a}, {len(theirs)} {b}, {len(voters) - len(ours) - len(theirs)} cannot tell"
        )
    return line


def summary_line(report: Report) -> str:
    """One set in one line: how far from real pictures its worst judges find it, and which judges cannot tell it."""
    found = report.worst_first()
    if not found:
        return "no judge that had no part in any choice could score these images"
    worst = ", ".join(f"{name} {away.value:.1f}" for name, away in found[:3])
    at_floor = [name for name, away in found if away.low <= 1]
    line = (
        f"{found[0][1].value:.1f} times the noise of real pictures away from them by the worst of {len(found)} judges"
    )
    return f"{line} ({worst}); as good as real pictures by {', '.join(at_floor) or 'none'}"
