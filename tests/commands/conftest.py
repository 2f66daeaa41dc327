import pytest


@pytest.fixture
def refused(varlite, tmp_path):
    """Asserts that a command line, in a folder with `a-file`, is answered with one line and leaves nothing behind."""
    (tmp_path / "a-file").write_text("not a folder, and no checkpoint")

    def check(words, message):
        before = sorted(tmp_path.rglob("*"))
        status, out, err = varlite(*words)
        assert (status, out) == (1, ""), err
        assert err.startswith("varlite: error: ") and message in err and err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before

    return check
