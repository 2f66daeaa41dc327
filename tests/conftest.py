import os

import pytest
from lab import NO_BROWSER, find_chromium

QUIET = ["quic", "background-networking", "component-update", "sync"]  # else Chromium calls home
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-gpu", *(f"--disable-{feature}" for feature in QUIET)]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    # Playwright leaves an event loop running in the main thread; tests that start their own must come before.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    executable = find_chromium()
    if executable is None:
        pytest.fail(NO_BROWSER) if os.environ.get("CI") else pytest.skip(NO_BROWSER)
    return browser_type_launch_args | {"executable_path": executable, "args": FLAGS}
