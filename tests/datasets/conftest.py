import pytest


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache of the test's own, which is empty."""
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path):
    """A folder with 54 pictures to train on."""
    import examples

    return str(examples.image_folder(tmp_path / "images", per_class=30))
