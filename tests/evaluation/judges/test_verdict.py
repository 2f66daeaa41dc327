"""The verdict: the worst judge decides, in units that are the same for all, and the judges of choices have no vote."""

import dataclasses
import json

import pytest

from varlite.evaluation.judges.intervals import quantile
from varlite.evaluation.judges.verdict import (
    CHOSEN_WITH,
    OF_DRAWN,
    Report,
    Score,
    duel,
    summary_line,
    verdict,
    verdict_line,
    voters_of,
)
from varlite.experiments.corruptions import CORRUPTIONS
from varlite.experiments.judge_the_judges import REAL, reports_of
from varlite.io.places import RESULTS


def score(value, half=0.1, floor=1.0, floor_half=0.1, **changes):
    return Score(value, value - half, value + half, floor, floor_half, **changes)


def report(num=100, **scores):
    return Report(num, scores)


def order(**sets):
    return [(place.name, place.rank) for place in verdict(sets)]


def test_distance_is_counted_in_the_noise_of_real_pictures_and_never_below_zero():
    assert score(1.5).away() == pytest.approx((5, 4, 6))
    assert score(0.5, floor=0.9, lower_is_better=False).away() == pytest.approx((4, 3, 5))
    assert score(0.2).away() == (0, 0, 0) and score(3.0, floor_half=0.0).away().value > 1e6


def test_squared_distances_count_by_their_root():
    plain, squared = score(4.0, floor=2.0, floor_half=0.1), score(16.0, floor=4.0, floor_half=0.4, squared=True)
    assert squared.away().value == pytest.approx(plain.away().value, rel=0.01)
    unbiased = score(3.0, floor=-0.2, floor_half=0.5, squared=True)  # a floor around zero, as an unbiased score has
    assert 0 < unbiased.away().low < unbiased.away().value < 10


def test_a_set_that_one_judge_finds_far_from_the_data_loses_whatever_the_others_say():
    even = {name: score(2.0) for name in ("tokens", "fd_second", "sw_pixels", "recall")}
    fooled = {name: score(1.1) for name in even} | {"tokens": score(4.0)}
    assert order(fooled=report(**fooled), even=report(**even)) == [("even", 1), ("fooled", 2)]
    line = verdict_line({"fooled": report(**fooled), "even": report(**even)})
    assert line == (
        "by 4 judges that had no part in any choice, how far from real pictures at worst: even 10.0 (fd_second), rank "
        "1, fooled 30.0 (tokens), rank 2; 1 of them prefer even, 3 fooled, 0 cannot tell"
    )


def test_what_the_worst_judges_cannot_tell_the_next_worst_decide():
    a, b = report(blur=score(9), tokens=score(3)), report(blur=score(9.1), tokens=score(2))
    assert duel(a, b, ["blur", "tokens"]) == 0 and duel(b, a, ["blur", "tokens"]) == 1
    assert duel(a, report(blur=score(9), tokens=score(3.1)), ["blur", "tokens"]) == 0.5
    assert order(a=a, b=b, c=a) == [("b", 1), ("a", 2.5), ("c", 2.5)]


def test_noise_of_its_own_does_not_make_a_set_better():
    quiet, noisy = report(tokens=score(3.0, 0.1)), report(tokens=score(5.0, 0.5))
    assert order(noisy=noisy, quiet=quiet)[0] == ("quiet", 1)


def test_judges_that_had_a_part_in_a_choice_have_no_vote():
    plain = report(fd_first=score(9), recall_first=score(9), tokens=score(2))
    tuned = report(fd_first=score(2), recall_first=score(2), tokens=score(3))
    assert order(tuned=tuned, plain=plain) == [("plain", 1), ("tuned", 2)] and set(plain.chosen_with) == CHOSEN_WITH
    by_tokens = dataclasses.replace(tuned, chosen_with=("tokens",))
    assert voters_of({"plain": dataclasses.replace(plain, chosen_with=()), "tuned": by_tokens}) == [
        "fd_first", "recall_first",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no judge is left that scored every set and is not among"):
        verdict({"plain": plain, "tuned": by_tokens})


def test_images_alone_are_judged_without_the_judges_of_drawn_tokens():
    sharper, plain = report(drawn_tokens=score(5), tokens=score(2)), report(drawn_tokens=score(1), tokens=score(3))
    assert order(sharper=sharper, plain=plain)[0] == ("plain", 1)
    assert verdict({"sharper": sharper, "plain": plain}, OF_DRAWN)[0].name == "sharper"


def test_only_judges_of_all_sets_vote_and_judges_of_tokens_only_where_the_tokenizer_is_one():
    a, b = report(tokens=score(2), kid=score(1), fd_second=score(2)), report(tokens=score(3), fd_second=score(1))
    assert voters_of({"a": a, "b": b}) == ["fd_second", "tokens"]
    assert voters_of({"a": a, "b": dataclasses.replace(b, tokenizer="other")}) == ["fd_second"]


def test_sets_that_were_not_scored_alike_are_refused():
    a = report(tokens=score(1))
    with pytest.raises(ValueError, match=r"and their num differs: \[100, 200\]"):
        verdict({"a": a, "b": report(200, tokens=score(2))})
    with pytest.raises(ValueError, match=r"and their reference differs: \['', 'other'\]"):
        verdict({"a": a, "b": dataclasses.replace(a, reference="other")})


def test_a_report_comes_back_from_json_and_a_damaged_one_is_refused():
    mine = report(tokens=score(2.0), fd_first=score(4.0, squared=True))
    record = json.loads(json.dumps(mine.record()))
    assert Report.read(record, "x.json") == mine and record["scores"]["tokens"]["away"] == 10
    for damage in ({"scores": 3}, {"scores": {"tokens": {"value": "high"}}}, {"more": 1}):
        with pytest.raises(ValueError, match=r"x\.json"):
            Report.read(record | damage, "x.json")


def test_one_set_is_summed_up_in_a_line():
    line = summary_line(report(tokens=score(4.0), fd_first=score(9.0), kid=score(1.05)))
    assert line == (
        "30.0 times the noise of real pictures away from them by the worst of 2 judges (tokens 30.0, kid 0.5); as good "
        "as real pictures by kid"
    )
    assert "no judge" in summary_line(report(fd_first=score(9.0)))


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_stronger_corruption_never_wins_over_a_weaker_one_or_over_real_pictures(corruption):
    found = reports_of(json.loads((RESULTS / "judges.json").read_text()), corruption)
    names = list(found)
    assert names[0] == REAL and len(names) == 4 and quantile(0.95, 3) > 3
    voters = voters_of(found)
    for i, weaker in enumerate(names):
        for stronger in names[i + 1 :]:
            assert duel(found[weaker], found[stronger], voters) >= 0.5, (weaker, stronger)
    assert duel(found[REAL], found[names[-1]], voters) == 1
