"""The verdict between sets of samples, by judges that had no part in any choice: the rule stands in `verdict`."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

CHOSEN_WITH = frozenset({"fd_first", "recall_first"})  # the judges that models and settings here were chosen by


@dataclass(frozen=True)
class Score:
    """What one judge says: the value, its 95 % interval, and the value of as many real pictures."""

    value: float
    low: float
    high: float
    floor: float | None
    lower_is_better: bool

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    @property
    def counted(self) -> float:
        """The value, but no better than the floor: to score better than real pictures is no merit."""
        if self.floor is None:
            return self.value
        return max(self.value, self.floor) if self.lower_is_better else min(self.value, self.floor)


@dataclass(frozen=True)
class Report:
    """Scores by judge, and why a judge said nothing."""

    num: int
    scores: dict[str, Score]
    left_out: dict[str, str]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def beats(a: Score, b: Score) -> float:
    """1 if a is better by more than both intervals together allow for, 0 if b is, 1/2 if neither."""
    ahead = (b.counted - a.counted) if a.lower_is_better else (a.counted - b.counted)
    return 0.5 if abs(ahead) <= (a.half**2 + b.half**2) ** 0.5 else float(ahead > 0)


def verdict(reports: Mapping[str, Report], chosen_with: Collection[str] = CHOSEN_WITH) -> list[tuple[str, float]]:
    """Sets of samples from best to worst, with their mean ranks (1 is best).

    The rule: a judge that had a part in any choice does not vote. Each other judge ranks the sets; two sets that it
    cannot tell apart within their intervals, or that are both as good as real pictures, share the rank. The sets are
    ordered by the mean of their ranks over judges. Only judges that scored every set vote. Raises ValueError if none is
    left, or sets have different numbers of images.
    """
    if len(sizes := {report.num for report in reports.values()}) > 1:
        raise ValueError(f"reports: scores depend on the number of images; the sets have {sorted(sizes)}")
    names = [set(report.scores) for report in reports.values()]
    voters = sorted(set.intersection(*names) - set(chosen_with)) if names else []
    if not voters:
        raise ValueError(f"reports: no judge is left that scored every set and is not among {sorted(chosen_with)}")
    ranks = {
        name: sum(
            1 + sum(beats(other.scores[j], report.scores[j]) for key, other in reports.items() if key != name)
            for j in voters
        ) / len(voters)
        for name, report in reports.items()
    }  # fmt: skip
    return sorted(ranks.items(), key=lambda item: item[1])
