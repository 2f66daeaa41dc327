import pytest

from varlite.io.launcher import RANKS, SIZES, announced_processes


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in (*SIZES, *RANKS, "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", SIZES)
def test_a_size_left_over_from_a_launcher_is_named_with_how_to_start(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    with pytest.raises(ValueError, match=f"^{name}=4 .*MASTER_ADDR and RANK is not set: .*unset {name}.*torchrun"):
        announced_processes()


def test_a_process_without_a_rank_would_wait_for_itself(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(ValueError, match="but RANK is not set"):
        announced_processes()
    monkeypatch.setenv("RANK", "0")
    assert announced_processes() == 2


@pytest.mark.parametrize("value", ["two", "", "-1", "0"])
def test_a_size_that_is_no_number_is_refused(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(ValueError, match="not a number of processes"):
        announced_processes()


def test_one_process_needs_nothing(monkeypatch):
    assert announced_processes() == 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    announced_processes()
