"""The book around the live page: made of README, notebooks and docstrings, it loads nothing from another host."""

import importlib
import inspect
import io
import json
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import book_pages
import live_page
import npm_packages
import pytest
from docutils.core import publish_doctree

import varlite

ROOT = Path(__file__).parents[1]
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
NOT_LOADED = {"canonical", "next", "prev", "search", "index", "genindex", "author", "copyright"}  # of <link>


class Loads(HTMLParser):
    """The addresses that a page loads by itself, and its ids."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids.add(named.get("id"))
        if tag in LOADS and named.get(LOADS[tag]) and named.get("rel") not in NOT_LOADED:
            self.addresses.append(named[LOADS[tag]])


def foreign(folder):
    """What the pages, styles and modules in a folder load from another host."""
    found = []
    for path in folder.rglob("*"):
        if path.suffix == ".html":
            addresses = Loads(path.read_text()).addresses
        elif path.suffix == ".css":
            addresses = re.findall(r"""(?:@import\s+|url\()["']?([^"')]+)""", path.read_text())
        elif path.parent == folder / "live" and path.suffix == ".js":
            addresses = re.findall(r"""(?:from|import|fetch\w*\()\s*["'`]([^"'`]+)""", path.read_text())
        else:
            continue
        found += [f"{path.name}: {address}" for address in addresses if re.match(r"(https?:)?//", address)]
    return found


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A small book: the front, a notebook with a widget, formulas and solutions, and a page of the reference."""
    pages, out = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("book")
    book_pages.write_book(pages, notebooks=[ROOT / "notebooks/06_sampling.ipynb"], rooms={"hooks": "Hooks of sampling"})
    command = [sys.executable, "-m", "sphinx", "-q", "-c", str(ROOT / "site"), str(pages), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_no_page_of_the_book_loads_anything_from_another_host(book):
    assert foreign(book) == []
    assert (book / "index.html").exists() and (book / "searchindex.js").exists()


@pytest.mark.slow
def test_the_front_leads_to_the_live_page_first_and_shows_its_pictures(book):
    text = (book / "index.html").read_text().partition("<body")[2]
    assert text.index('href="live/index.html"') < text.index('href="notebooks/06_sampling.html"')
    local = [address for address in Loads(text).addresses if not address.startswith("data:")]
    missing = [a for a in local if not (book / a.partition("?")[0]).exists() and "tex-svg.js" not in a]
    assert missing == []


@pytest.mark.slow
def test_a_notebook_keeps_its_pictures_and_has_a_line_in_place_of_widgets(book):
    text = (book / "notebooks/06_sampling.html").read_text()
    notebook = json.loads((ROOT / "notebooks/06_sampling.ipynb").read_text())
    pictures = sum("image/png" in o.get("data", {}) for c in notebook["cells"] for o in c.get("outputs", []))
    assert text.count("_images/") >= pictures > 5
    assert "alive in JupyterLab" in text
    assert [word for word in ("widget-view", "require.js", "SamplingPanel(7") if word in text] == []


@pytest.mark.slow
def test_the_reference_has_what_the_docstrings_say(book):
    text = (book / "reference/hooks.html").read_text()
    names = [path.stem for path in (ROOT / "varlite/hooks").glob("*.py") if path.stem != "__init__"]
    assert names and all(f"varlite.hooks.{name}" in text for name in names)


def test_a_page_that_loads_from_another_host_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<script src="https://cdn.example/x.js"></script><a href="https://ok.example">a</a>'
    )
    (tmp_path / "b.css").write_text('@font-face { src: url("//fonts.example/a.woff"); } a { background: url(b.png); }')
    assert sorted(foreign(tmp_path)) == ["a.html: https://cdn.example/x.js", "b.css: //fonts.example/a.woff"]


def test_the_live_page_forbids_other_hosts_and_names_none():
    page = (ROOT / "site/live/index.html").read_text()
    assert "default-src 'self'" in page and not re.search(
        r"unsafe-(inline|eval')", page.replace("wasm-unsafe-eval", "")
    )
    loads = Loads(page)
    assert loads.addresses == ["data:,", "style.css", "page.js"]
    code = "".join(path.read_text() for path in (ROOT / "site/live").glob("*.js"))
    assert "://" not in code
    assert set(re.findall(r'find\("(\w+)"\)', code)) <= loads.ids


def test_links_of_the_readme_lead_to_the_book_or_to_the_repository(tmp_path, monkeypatch):
    text = (
        "# T\n![p](data/p.png) [n](notebooks/a.ipynb) [c](CONTRIBUTING.md#x) [d](data) [h](#h) [w](https://w.example)\n"
    )
    (tmp_path / "README.md").write_text(text)
    for name in ("data/p.png", "notebooks/a.ipynb", "CONTRIBUTING.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(book_pages, "ROOT", tmp_path)
    front, repository = book_pages.front(tmp_path / "out"), book_pages.REPOSITORY
    for link in ("(data/p.png)", "(notebooks/a.ipynb)", "(#h)", "(https://w.example)",
                 f"({repository}/blob/main/CONTRIBUTING.md#x)", f"({repository}/tree/main/data)"):  # fmt: skip
        assert link in front
    assert (tmp_path / "out/data/p.png").exists()


@pytest.mark.parametrize(("docstring", "expected"), [
    ("Reads `x_BlZ` and **y.", ["Reads ``x_BlZ`` and \\*\\*y.", ""]),
    ("One.\n\n    a --> b", ["One.", "", "::", "", "        a --> b", ""]),
    ("cfg: guidance,\n    rising.\ntop_k, top_p: filters.",
     ["", "* ``cfg``: guidance,", "  rising.", "* ``top_k, top_p``: filters.", ""]),
    (">>> 1 + 1\n2", [">>> 1 + 1", "2", ""]),
])  # fmt: skip
def test_docstrings_become_restructured_text(docstring, expected):
    assert book_pages.as_rst(docstring.splitlines()) == expected


def docstrings():
    for module in pkgutil.walk_packages(varlite.__path__, "varlite."):
        if not module.name.startswith(("varlite.nb", "varlite.__main__")):
            loaded = importlib.import_module(module.name)
            members = [m for m in vars(loaded).values() if getattr(m, "__module__", None) == module.name]
            members += [m for c in members if inspect.isclass(c) for m in vars(c).values() if inspect.isfunction(m)]
            yield from ((module.name, m.__doc__) for m in [loaded, *members] if isinstance(m.__doc__, str))


@pytest.mark.slow
def test_every_docstring_of_the_package_is_understood():
    complaints = []
    for name, docstring in docstrings():
        rows = book_pages.as_rst(inspect.cleandoc(docstring).splitlines())
        heard = io.StringIO()
        publish_doctree("\n".join(rows), settings_overrides={"warning_stream": heard})
        complaints += [f"{name}: {heard.getvalue()}"] if heard.getvalue() else []
    assert complaints == []


def test_a_package_of_another_content_than_pinned_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npm_packages, "FOLDER", tmp_path)
    npm_packages.ONNXRUNTIME.archive.write_bytes(b"something else")
    with pytest.raises(OSError, match=r"is not onnxruntime-web .* as pinned"):
        npm_packages.take(npm_packages.ONNXRUNTIME, tmp_path / "out")


def test_without_npm_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(npm_packages, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"needs onnxruntime-web@.*Install npm .* or put its archive at"):
        npm_packages.take(npm_packages.ONNXRUNTIME, tmp_path / "out")


def test_the_workflow_publishes_what_make_site_builds():
    text = (ROOT / ".github/workflows/pages.yml").read_text()
    assert "make TORCH=cpu site" in text and "path: out/site" in text


@pytest.mark.slow
def test_the_model_of_the_live_page_is_exported_once(monkeypatch):
    folder = live_page.exported()
    about = json.loads((folder / "model.json").read_text())
    assert {path.name for path in folder.iterdir()} == {
        "model.json", about["weights"], *(f"{name}.onnx" for name in about["graphs"])
    }  # fmt: skip
    monkeypatch.setattr(live_page, "export", None)  # a second export would fail
    assert live_page.exported() == folder
