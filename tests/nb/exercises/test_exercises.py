"""Checks say what is off, and never the answer."""

import pytest
import torch

from varlite.nb import exercises
from varlite.nb.exercises import NOT_TRIED, Off, check, function, number, tensor, verdict


def say(judge, attempt):
    """What is off about an attempt, or "" if nothing is."""
    try:
        judge(attempt)
    except Off as off:
        return str(off)
    return ""


def test_an_attempt_that_was_not_made_is_no_failure(capsys):
    check("03.1", ...)
    assert capsys.readouterr().out == f"03.1: {NOT_TRIED}\n"
    assert verdict("03.1", (..., 3)) == NOT_TRIED


def untouched(model, tokenizer, idx):
    """What it should do."""
    ...


def forgotten(model, tokenizer, idx):
    idx = idx[0]


def test_a_function_of_three_dots_was_not_tried_and_one_without_return_is_off():
    with pytest.raises(exercises.NotTried):
        function(untouched)(1, 2, [3])
    assert say(lambda f: function(f)(1, 2, [3]), forgotten) == "Your function returns nothing: does it end in `return`?"


def test_what_a_function_raises_is_told_and_goes_no_further():
    said = say(lambda f: function(f)(2), lambda x: x / 0)
    assert said == "Your function raised ZeroDivisionError: division by zero"
    assert say(lambda f: function(f)(2), 7) == "This should be a function, and is an int."
    assert function(lambda x: x + 1)(2) == 3


def test_a_wrong_number_is_too_large_or_too_small_unless_it_is_a_known_slip():
    assert say(lambda x: number(x, 10), 11) == "11 is too large."
    assert say(lambda x: number(x, 10), 9.5) == "9.5 is too small."
    assert say(lambda x: number(x, 10, slips={5: "Count both sides."}), 5) == "Count both sides."
    assert say(lambda x: number(x, 10, within=0.5), torch.tensor([10.4])) == ""
    for what in ("10", True, None, torch.zeros(2)):
        assert say(lambda x: number(x, 10), what).startswith("This should be a number, and is ")


def test_a_tensor_is_compared_by_kind_shape_and_values():
    right = torch.arange(4.0)
    assert say(lambda x: tensor(x, right), [0, 1, 2, 3]) == "The result should be a tensor, and is a list."
    assert "should have the shape (4,), and has (2, 2)" in say(lambda x: tensor(x, right), right.view(2, 2))
    assert "1 of its 4 values are off" in say(lambda x: tensor(x, right), torch.tensor([0, 1, 2, 4]))
    assert say(lambda x: tensor(x, right, within=0.1), right + 0.05) == ""


@pytest.mark.parametrize("name", ["03.9", "3.1", "99.1", "03", "", "03.1; import os"])
def test_an_exercise_that_there_is_not_is_named(name):
    with pytest.raises(ValueError, match="there is no exercise"):
        check(name, 1)
