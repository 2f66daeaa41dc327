"""Exercises of notebook 06: wrong attempts are told from right ones. The solutions are run by nbval."""

import pytest
import torch

from varlite.nb.exercises import lesson_06 as lesson
from varlite.nb.exercises import verdict


@pytest.mark.parametrize(("guided", "said"), [
    (0.771, "right."), (0.864, "sum of one"), (0.692, "other convention"), (0.6, "without guidance"),
    (0.8, "on probabilities"), (0.9, "too large"),
])  # fmt: skip
def test_guidance_multiplies_by_the_ratio_and_divides_by_the_sum(guided, said):
    assert said in verdict("06.1", guided)


def test_two_filters_keep_fewer_than_each():
    assert verdict("06.2", 2).startswith("right.")
    assert "alone" in verdict("06.2", 3) and "too large" in verdict("06.2", 5)


def nucleus(ascending=False, too_few=False):
    def call(logits_V, p):
        sorted_V, order_V = logits_V.softmax(-1).sort(descending=not ascending)
        keep_V = sorted_V.cumsum(-1) - (0 if too_few else sorted_V) < p
        kept_V = torch.zeros_like(keep_V)
        kept_V[order_V] = keep_V
        return logits_V.masked_fill(~kept_V, -torch.inf)

    return call


def test_a_nucleus_keeps_the_code_that_crosses_p_and_begins_with_the_likeliest():
    assert verdict("06.3", nucleus()).startswith("right.")
    assert "no code at all" in verdict("06.3", nucleus(too_few=True))
    assert "likeliest" in verdict("06.3", nucleus(ascending=True))
    assert "returns a tensor of shape (1,)" in verdict("06.3", lambda logits_V, p: logits_V[:1])
    assert "keeps 50 codes" in verdict("06.3", lambda logits_V, p: logits_V)


def test_the_finest_scale_suffers_most_and_another_answer_is_told_what_it_costs(monkeypatch):
    monkeypatch.setattr(lesson, "hurt", lambda: [3.0, 4.0, 5.0, 6.0, 9.0])
    assert verdict("06.4", 4).startswith("right.")
    assert "Shuffling 2 x 2 takes FD to 4.0" in verdict("06.4", 1)
    assert "too large" in verdict("06.4", 7)


def test_shuffling_the_finest_scale_costs_most():
    hurt = lesson.hurt()
    assert len(hurt) == 5 and max(hurt) == hurt[-1]


def test_guidance_leads_away_from_the_class_that_belongs_to_each_image():
    def away(_model, _tokenizer, labels, others, cfg):
        return lesson.guided_away(labels, others, cfg)

    null = lesson.shipped()[0].class_embed.null
    assert verdict("06.5", away).startswith("right.")
    assert "null class" in verdict("06.5", lambda m, t, labels, *_: lesson.guided_away(labels, [null] * 4, 3.0))
    assert "no guidance" in verdict("06.5", lambda m, t, labels, others, _: lesson.guided_away(labels, others, 0))
    assert "Each has its own" in verdict("06.5", lambda m, t, labels, *_: lesson.guided_away(labels, [7] * 4, 3.0))
    assert "differ" in verdict("06.5", lambda m, t, labels, others, _: lesson.guided_away(labels, others, 2.0))
