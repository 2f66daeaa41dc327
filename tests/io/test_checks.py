import numpy as np
import pytest
import torch

from varlite.checkpoints.assemble import twin
from varlite.checkpoints.load import load
from varlite.io.checks import brief, check_switches, integer, value_range


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (0.5, "0.5"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, ...]"),
        (torch.zeros(2, 3), "Tensor of shape (2, 3) and torch.float32"),
        (np.zeros(2), "ndarray of shape (2,) and float64"),
        (torch.nn.Linear(1, 1), "Linear"),
    ],
)
def test_a_wrong_value_is_told_in_a_few_words(value, expected):
    assert brief(value) == expected


def test_whole_numbers_and_switches_of_any_library_are_taken_and_nothing_else():
    assert [integer("n", n, 2) for n in (2, np.uint8(3), torch.tensor(4))] == [2, 3, 4]
    for wrong in (1, True, 2.0, "2", None, int, np.array(None)):
        with pytest.raises(ValueError, match=r"^n must be an integer from 2, got "):
            integer("n", wrong, 2)
    check_switches(a=True, b=np.False_)
    with pytest.raises(ValueError, match=r"^b must be True or False, got 1$"):
        check_switches(a=False, b=1)


def test_the_range_of_values_is_none_where_there_are_none():
    assert value_range(torch.tensor([[3, -1], [0, 2]])) == (-1, 3)
    assert np.isnan(value_range(torch.tensor([1.0, torch.nan]))).all()
    assert value_range(torch.empty(0)) is value_range(torch.empty(3, device="meta")) is None


def test_a_loaded_model_and_its_twin_know_the_names_of_their_classes():
    model, _ = load("fashion-var-d4")
    assert twin(model).class_names == model.class_names and len(model.class_names) == model.config.classes
