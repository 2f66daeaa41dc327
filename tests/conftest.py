"""What is imported here takes no time: torch is no business of the process that hands the tests out to others."""

import os
import sys
from collections import Counter
from functools import partial

import pytest
from jupyter_server import NO_BROWSER, find_chromium

from varlite import cli

QUIET = ["quic", "background-networking", "component-update", "sync"]  # else Chromium calls home
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-gpu", *(f"--disable-{feature}" for feature in QUIET)]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    # Playwright leaves an event loop running in the main thread; tests that start their own must come before. Of its
    # files the long ones come first, so that all processes end at about the same time.
    in_file = Counter(item.path for item in items)

    def place(item):
        of_browser = item.get_closest_marker("browser") is not None
        return of_browser, of_browser and -in_file[item.path]

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test finds, or leaves behind, anything in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VARLITE_CACHE", str(tmp_path_factory.mktemp("own-cache")))
        yield


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    executable = find_chromium()
    if executable is None:
        pytest.fail(NO_BROWSER) if os.environ.get("CI") else pytest.skip(NO_BROWSER)
    return browser_type_launch_args | {"executable_path": executable, "args": FLAGS}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with images and the two stages trained on them: `images`, `vq`, `var`."""
    import examples

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        examples.add_presets(patch)
        patch.setenv("VARLITE_CACHE", str(folder / "cache"))
        examples.train_both(examples.image_folder(folder / "images", per_class=30), folder)
    return folder


@pytest.fixture(scope="session")
def inception(tmp_path_factory):
    """A file of random weights for torch-fidelity's Inception."""
    import metrics

    return metrics.inception_file(tmp_path_factory.mktemp("inception") / "random.pth")


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(monkeypatch, cache_folder):
    """Features of references are kept here, over tests; those of other images must be gone after one."""
    monkeypatch.setenv("VARLITE_CACHE", str(cache_folder))
    return cache_folder


@pytest.fixture
def presets(monkeypatch, tmp_path):
    """`tiny-vq` and `tiny-var` can be trained, with a cache of tokens of the test's own."""
    import examples

    examples.add_presets(monkeypatch)
    monkeypatch.setenv("VARLITE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def varlite(monkeypatch, capsys, tmp_path):
    """Runs a command line in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["varlite", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def break_off(monkeypatch):
    """Makes some calls of a function, by number from 1, end as Ctrl-C ends them; returns the list of all its calls."""

    def at_calls(owner, name, *numbers):
        function, calls = getattr(owner, name), []

        def fragile(*arguments, **settings):
            calls.append(arguments)
            if len(calls) in numbers:
                raise KeyboardInterrupt
            return function(*arguments, **settings)

        monkeypatch.setattr(owner, name, fragile)
        return calls

    return at_calls


@pytest.fixture
def quick_bench(monkeypatch):
    """`varlite bench` without turns of seconds and rests between them, and with a smaller product to compare with."""
    import children

    from varlite.speed import side_by_side

    children.get_ready()
    monkeypatch.setattr(side_by_side, "TURN", 0.01)
    monkeypatch.setattr(side_by_side, "REST", 0.0)
    monkeypatch.setattr(side_by_side, "gemm_rate", partial(side_by_side.gemm_rate, n=256))


@pytest.fixture
def quick_panel(monkeypatch):
    """Three judges instead of all, and a reference of 300 pictures."""
    import torch

    from varlite.evaluation.judges import jury
    from varlite.evaluation.judges.diversity import WithinClass
    from varlite.evaluation.judges.sliced_wasserstein import SlicedWasserstein
    from varlite.evaluation.judges.token_histogram import TokenHistogram

    def few_judges(tokenizer, training, imagenet):
        return [SlicedWasserstein("sw_patches"), TokenHistogram(tokenizer, drawn=True), WithinClass("spread", "pixels")]

    pictures = jury.fashion_pictures

    def few_pictures(num, views):
        reference, real, training = pictures(num, views)
        few = torch.arange(300)
        return reference.part(few), real, training.part(few)

    monkeypatch.setattr(jury, "open_judges", few_judges)
    monkeypatch.setattr(jury, "fashion_pictures", few_pictures)
