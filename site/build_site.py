"""`make site`: the course as a book, with search and a reference, and the live page. Static files, in out/site."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from book_pages import write_book
from live_page import build_live
from npm_packages import MATHJAX, take

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGES, STATIC = ROOT / "build" / "site-pages", ROOT / "build" / "site-static"


def build_book(out: Path) -> None:
    """Write the book into the folder `out`. A warning of Sphinx is an error."""
    write_book(PAGES)
    take(MATHJAX, STATIC)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", str(HERE), str(PAGES), str(out)]
    subprocess.run(command, check=True)
    shutil.rmtree(out / ".doctrees", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "site", help="folder to write")
    parser.add_argument("--live-only", action="store_true", help="the live page alone")
    options = parser.parse_args()
    build_live(options.out / "live")
    if not options.live_only:
        build_book(options.out)
    print(f"Look at it with: {Path(sys.executable).name} -m http.server --bind 127.0.0.1 --directory {options.out}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(str(error))
