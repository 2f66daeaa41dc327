import pytest
from examples import tiny_tokenizer, tiny_var

from varlite.speed.timing import seconds_per_image


def test_a_deeper_model_takes_longer_and_the_order_is_kept():
    tokenizer = tiny_tokenizer()
    small, large = (tiny_var(depth=d) for d in (1, 12))
    times = seconds_per_image([(large, tokenizer, {"cfg": 1.0}), (small, tokenizer, {"cfg": 1.0})], batch=8, rounds=5)
    assert times[0] > times[1] > 0


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="batch and rounds must be at least 1, got 64 and 0"):
        seconds_per_image([], rounds=0)
