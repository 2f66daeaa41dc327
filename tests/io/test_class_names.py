import numpy as np
import pytest

from varlite.io.class_names import class_indices, natural_key

ANIMALS = ("cats", "dogs", "sea lions", "birds, small")


@pytest.mark.parametrize(
    ("given", "indices"),
    [
        ("cats,dogs", [0, 1]), ("dogs, sea lions", [1, 2]), ("birds, small", [3]), ("1", [1]), ("3,cats,0", [3, 0, 0]),
        (["cats", 1, "2"], [0, 1, 2]), (2, [2]), ((np.int64(1),), [1]), ([], None), ("", None), ("cat", None),
        ("Cats", None), ("-1", None), ("4", None), ([True], None), ([1.0], None), ("cats,", None), ([None], None),
    ],
)  # fmt: skip
def test_classes_are_given_by_name_or_number(given, indices):
    if indices is None:
        with pytest.raises(ValueError, match="classes are cats, dogs, sea lions, birds, small, or numbers from 0 to 3"):
            class_indices(given, ANIMALS)
    else:
        assert class_indices(given, ANIMALS) == indices


def test_a_near_name_is_offered_and_a_long_list_cut():
    names = [f"class {i}" for i in range(100)]
    with pytest.raises(
        ValueError, match=r"there is no class 'clas 7': .*class 19 and 80 more.* Did you mean 'class 7'\?"
    ):
        class_indices("clas 7", names)


def test_a_name_made_of_digits_counts_as_a_name_and_without_names_numbers_do():
    assert class_indices("1,3", ["1", "2", "3"]) == [0, 2] and class_indices([1], ["1", "2", "3"]) == [1]
    assert class_indices("1,3", 4) == [1, 3]
    with pytest.raises(ValueError, match="there is no class 'cats': classes are numbers from 0 to 3"):
        class_indices("cats", 4)


def test_natural_order():
    names = ["10", "2", "1", "01", "a10b", "a9b", "a", "b", "A", "n01440764", "n01443537", ""]
    assert sorted(names, key=natural_key) == [
        "", "01", "1", "2", "10", "A", "a", "a9b", "a10b", "b", "n01440764", "n01443537",
    ]  # fmt: skip
    words = ["b", "a", "-", "Z", "é"]
    assert sorted(words, key=natural_key) == sorted(words)
