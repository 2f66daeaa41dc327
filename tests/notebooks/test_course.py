"""Every notebook of the course has a head and a foot, links that lead somewhere, short cells, exercises with solutions.

The list of notebooks is what lies in `notebooks/`, in the order of the names. What a notebook does not fulfil yet
stands in `OPEN` and is expected to fail: an entry that holds has to be taken off.
"""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from spellchecker import SpellChecker

from varlite.nb import exercises

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
COURSE = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
WORDS = Path(__file__).with_name("words.txt")
LONGEST, LARGEST = 35, 800_000  # lines of a code cell, bytes of a notebook
OPEN: dict[str, set[str]] = {
    "size": set(),
    "exercises": set(),
}  # fmt: skip


@cache
def cells_of(path):
    """(kind, source, cell) of each cell."""
    return [(cell["cell_type"], "".join(cell["source"]), cell) for cell in json.loads(path.read_text())["cells"]]


def markdown(path):
    return [source for kind, source, _ in cells_of(path) if kind == "markdown"]


def code(path):
    return [source for kind, source, _ in cells_of(path) if kind == "code"]


def stated(path):
    """A notebook as it is spoken of: "03 · VAR from nothing"."""
    title = markdown(path)[0].splitlines()[0].removeprefix("# ").split(":")[0]
    return f"{path.stem.split('_')[0]} · {title}"


def navigation(path):
    """The line at the head and the foot of a notebook: the one before, the contents, the one after."""
    at = COURSE.index(path)
    parts = [f"← [{stated(p)}]({p.name})" for p in COURSE[:at][-1:]] + ["[Contents](00_quickstart.ipynb#The-course)"]
    return " | ".join(parts + [f"[{stated(p)}]({p.name}) →" for p in COURSE[at + 1 :][:1]])


def holds_for(paths, rule):
    """One test for each notebook; those that are open are expected to fail."""
    late = pytest.mark.xfail(strict=True, reason="still to be written", raises=AssertionError)
    marks = {path: [late] if path.stem in OPEN.get(rule, ()) else [] for path in paths}
    return pytest.mark.parametrize("path", [pytest.param(path, marks=marks[path], id=path.stem) for path in paths])


def test_there_are_notebooks_and_none_is_open_that_is_not_there():
    assert COURSE and SOLUTIONS
    assert {stem for stems in OPEN.values() for stem in stems} <= {path.stem for path in COURSE}


@holds_for(COURSE, "head and foot")
def test_a_notebook_says_what_it_teaches_and_needs_and_leads_on(path):
    first, last = markdown(path)[0], markdown(path)[-1]
    assert re.match(r"# \S", first)
    for promise in ("**You will learn** ", "**You need** ", "**Minutes** "):
        assert f"\n- {promise}" in first
    assert re.search(r"\*\*Minutes\*\* \d+ to read.*, (?:\d+ to run|less than one to run)", first)
    assert navigation(path) in first.splitlines()
    assert navigation(path) in last.splitlines()


@pytest.mark.parametrize("path", [*COURSE, *SOLUTIONS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_code_cell_is_too_long_to_take_in(path):
    assert [source for source in code(path) if source.count("\n") >= LONGEST] == []


@holds_for(COURSE, "size")
def test_a_notebook_is_light(path):
    assert path.stat().st_size <= LARGEST


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_every_solution_was_run_from_top_to_bottom(path):
    counts = [cell["execution_count"] for kind, _, cell in cells_of(path) if kind == "code"]
    assert counts == list(range(1, len(counts) + 1))


# Links


def prose(source):
    """Markdown without code."""
    return re.sub(r"```.*?```|`[^`\n]*`", " ", source, flags=re.DOTALL)


def links(source):
    """The addresses of Markdown links and pictures, and of HTML ones."""
    text = prose(source)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"<(?:a|img)[^>]*(?:href|src)=\"([^\"]+)\"", text)


def anchors(path):
    """The anchors of a notebook's headings, as JupyterLab and GitHub spell them."""
    heads = re.findall(r"^#+ +(.*?) *$", "\n".join(map(prose, markdown(path))), re.MULTILINE)
    return {re.sub(r"[`*]", "", head).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", [*COURSE, *SOLUTIONS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_link_leads_somewhere(path):
    for address in (address for source in markdown(path) for address in links(source)):
        parts = urlsplit(address)
        if parts.scheme:
            assert parts.scheme == "https" and re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), address
            assert "arxiv" not in parts.netloc or re.fullmatch(r"/abs/\d{4}\.\d{4,5}(v\d+)?", parts.path), address
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        assert target.exists(), address
        assert target.is_relative_to(ROOT), address
        if parts.fragment:
            assert unquote(parts.fragment) in anchors(target), address


def test_notebooks_link_to_files_that_the_repository_has():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return  # an unpacked archive has no index, and all that is there belongs to it
    tracked = {ROOT / name for name in listed.stdout.splitlines()}
    for path in [*COURSE, *SOLUTIONS]:
        for address in (a for source in markdown(path) for a in links(source) if not urlsplit(a).scheme):
            target = (path.parent / unquote(urlsplit(address).path)).resolve()
            assert target in tracked or target.is_dir(), address


# Spelling


def words_of(source):
    """The words of a text, without code, formulas and addresses."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$", " ", prose(source), flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)|<[^>]+>|https?://\S+|\w*[\d_/]\w*", " ", text)
    words = re.findall(r"[^\W\d_]{2,}(?:'[^\W\d_]+)?", text)
    return {word.lower().removesuffix("'s") for word in words if word[1:].islower()}  # no names such as arXiv


def comments_of(source):
    return "\n".join(re.findall(r"(?<=# ).*$", source, re.MULTILINE))


@cache
def speller():
    checker = SpellChecker()
    checker.word_frequency.load_words(WORDS.read_text().split())
    return checker


@pytest.mark.parametrize("path", [*COURSE, *SOLUTIONS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_word_is_spelt_as_in_the_dictionary_or_in_the_list_of_the_course(path):
    found = set().union(*map(words_of, markdown(path)), *(words_of(comments_of(source)) for source in code(path)))
    assert sorted(speller().unknown(found)) == []


def test_a_wrong_spelling_is_found():
    assert speller().unknown(
        words_of("A *tokenizer* turns a `pcture` into tokens: $x^2$, [teh](https://teh.org) map.")
    ) == {"teh"}
    assert list(WORDS.read_text().split()) == sorted(set(WORDS.read_text().split()))


# Exercises

CHECK = re.compile(r"^check\(\"(\w\w\.\d+)\", (\w+)\)$", re.MULTILINE)


@holds_for(COURSE, "exercises")
def test_a_notebook_has_three_to_five_exercises_each_with_hint_attempt_check_and_solution(path):
    cells, number = cells_of(path), path.stem.split("_")[0]
    checks = [
        (i, *found.groups())
        for i, (kind, source, _) in enumerate(cells)
        if (found := CHECK.match(source)) and kind == "code"
    ]
    assert [name for _, name, _ in checks] == [f"{number}.{n + 1}" for n in range(len(checks))]
    assert 3 <= len(checks) <= 5
    solved = "\n".join(code(FOLDER / "solutions" / path.name))
    for i, name, attempt in checks:
        exercises.find(name)
        assert re.search(
            rf"\*\*{name} \((easy|medium|harder)\)\.\*\*.*<summary>Hint</summary>.*</details>",
            cells[i - 2][1],
            re.DOTALL,
        )
        assert re.search(rf"^(def {attempt}\(|{attempt} = )", cells[i - 1][1], re.MULTILINE)
        assert f'check("{name}", {attempt})' in solved


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_are_right_and_lead_back(path):
    assert f"](../{path.name})" in markdown(path)[0] and (FOLDER / path.name) in COURSE
    said = ["".join(out.get("text", "")) for _, _, cell in cells_of(path) for out in cell.get("outputs", [])]
    told = re.findall(r"^(\w\w\.\d+): (.*)$", "".join(said), re.MULTILINE)
    assert [name for name, _ in told] == [
        name for source in code(path) for name in re.findall(r"^check\(\"(.*?)\"", source, re.MULTILINE)
    ]
    assert [name for name, verdict in told if not verdict.startswith("right.")] == []


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_no_check_of_a_lesson_gives_a_solution_away(path):
    """What is committed is an attempt that was not made."""
    for kind, source, cell in cells_of(path):
        if kind == "code" and CHECK.match(source):
            said = "".join(text for out in cell["outputs"] for text in out["text"])
            assert "not tried yet" in said or "not yet" in said
