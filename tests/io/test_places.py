import os
import subprocess
import sys
from pathlib import Path

import pytest

from varlite.io import places
from varlite.io.places import cache_folder, data_folder, expand_home

NOBODY = 54321


@pytest.fixture(autouse=True)
def unnamed(monkeypatch):
    for name in ("VARLITE_CACHE", "VARLITE_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places.sys, "platform", "linux")


def test_the_cache_is_where_it_is_said_or_below_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "varlite"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "varlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")  # relative ones do not count
    assert cache_folder() == tmp_path / ".cache" / "varlite"
    monkeypatch.setenv("VARLITE_CACHE", "~/elsewhere")
    assert cache_folder() == tmp_path / "elsewhere"


def test_on_macos_and_windows_the_cache_is_where_programs_keep_theirs(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(places.sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "varlite"
    monkeypatch.setattr(places.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "AppData" / "Local"))
    assert cache_folder() == tmp_path / "AppData" / "Local" / "varlite"


def test_the_data_is_inside_an_installed_package_or_at_the_top_of_the_repository(monkeypatch, tmp_path):
    repository = Path(__file__).parents[2]
    assert data_folder() == repository / "data"
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(places, "files", lambda package: tmp_path)
    assert data_folder() == tmp_path / "data"
    monkeypatch.setenv("VARLITE_DATA", "/elsewhere")
    assert data_folder() == Path("/elsewhere")


def test_without_a_home_that_can_be_written_the_cache_is_a_private_temporary_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("HOME", "/dev/null")
    assert cache_folder() == tmp_path / f"varlite-{os.getuid()}"
    monkeypatch.setenv("HOME", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(places.os, "access", lambda path, mode: False)  # a file system that is mounted read-only
        assert cache_folder() == tmp_path / f"varlite-{os.getuid()}"
    monkeypatch.setattr(places.os.path, "expanduser", lambda path: path)
    assert cache_folder().stat().st_mode & 0o777 == 0o700


def test_a_temporary_folder_of_somebody_else_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("HOME", "/dev/null")
    (tmp_path / f"varlite-{NOBODY}").mkdir()
    monkeypatch.setattr(places.os, "getuid", lambda: NOBODY)
    with pytest.raises(OSError, match=f"varlite-{NOBODY} is somebody else's; set VARLITE_CACHE"):
        cache_folder()


def test_home_is_expanded_or_named_where_it_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_home("~/photos") == tmp_path / "photos" and expand_home("a/~b") == Path("a/~b")
    with pytest.raises(ValueError, match="~nobody-at-all/x: no home folder is known for ~nobody-at-all"):
        expand_home("~nobody-at-all/x")


def test_a_user_without_a_name_or_home_can_import_everything():
    """As in containers that run under a number that /etc/passwd does not know."""
    code = (
        "import os, pwd\n"
        "def unknown(uid):\n"
        "    raise KeyError(f'getpwuid(): uid not found: {uid}')\n"
        "pwd.getpwuid = unknown\n"
        "import varlite.datasets.tokens, varlite.io.files, varlite.io.memory, varlite.sampling\n"
        "print(varlite.io.places.cache_folder())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip().endswith(f"varlite-{os.getuid()}"), done.stderr
