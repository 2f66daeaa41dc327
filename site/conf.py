"""How Sphinx makes a book of the pages that book_pages.py writes. Nothing in it is loaded from another host."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # Sphinx runs this file where its pages are

import book_pages  # noqa: E402

import varlite  # noqa: E402

project, author, release = "varlite", "the varlite authors", varlite.__version__
copyright = "MIT licence"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
html_theme = "sphinx_book_theme"
html_title = "varlite"
html_static_path = [str(HERE / "theme" / "static"), str(HERE.parent / "build" / "site-static")]
html_css_files = ["book.css"]
templates_path = [str(HERE / "theme" / "templates")]
html_sidebars = {"**": ["navbar-logo.html", "live-link.html", "search-button-field.html", "sbt-sidebar-nav.html"]}
html_theme_options = {
    "repository_url": book_pages.REPOSITORY, "use_repository_button": True, "use_download_button": True,
    "home_page_in_toc": True, "show_navbar_depth": 1, "navbar_persistent": [],
}  # fmt: skip

nb_execution_mode = "off"  # outputs are those that are committed
nb_ipywidgets_js = {}  # widgets appear by the pictures beside them
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "book_pages.anchor"
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}  # its menu would load more files

autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # those of torch are in another markup
autodoc_preserve_defaults = True
autodoc_mock_imports = ["mamba_ssm", "causal_conv1d"]
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"


def setup(app):
    app.connect("autodoc-process-docstring", lambda app, what, name, obj, options, lines: convert(lines))


def convert(lines):
    lines[:] = book_pages.as_rst(lines)
