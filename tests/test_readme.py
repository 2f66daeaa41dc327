"""What the README says is so."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CARDS = {path.parent.name: json.loads(path.read_text()) for path in (ROOT / "data/checkpoints").glob("*/card.json")}


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_snippets_run(snippet):
    exec(snippet, {})


def row(name):
    """The cells of a model's row in the table of results."""
    line = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_results_are_those_of_the_cards():
    for name in ("fashion-vq", "emoji-vq"):
        vq = CARDS[name]
        assert f"MSE {vq['scores']['val_mse']:.4f}, {vq['scores']['codes_used']:.0%} of codes used" in row(name)
    vq = CARDS["fashion-vq"]
    assert f"{vq['started_from']['minutes']:.0f} + {vq['training']['minutes']:.0f}" in row("fashion-vq")
    assert f"{CARDS['emoji-vq']['training']['minutes']:.0f}" in row("emoji-vq")
    emoji = CARDS["emoji-var-d4"]
    assert f"test loss {emoji['scores']['val_loss']:.2f}" in row("emoji-var-d4")
    assert f"{emoji['training']['minutes']:.0f}" in row("emoji-var-d4")
    together = CARDS["emoji-vq"]["training"]["minutes"] + emoji["training"]["minutes"]
    assert f"{together:.0f} minutes in all" in README
    for name in sorted(name for name in CARDS if name.startswith(("fashion-var", "fashion-mvar"))):
        card = CARDS[name]
        accuracy, fd, ratio = (card["scores"][score] for score in ("accuracy", "fd", "fd_ratio"))
        assert f"{accuracy:.1%} accuracy, FD {fd:.2f}, ratio {ratio:.2f}" in row(name)
        assert f"{card['training']['minutes']:.0f}" in row(name)
    assert f"{CARDS['fashion-classifier']['scores']['accuracy']:.1%}" in README


def test_the_file_tree_names_what_is_there():
    tree = README.split("## What is here")[1].split("## Use")[0]
    for name in re.findall(r"^ {6}(\S+)", tree, re.MULTILINE):
        assert (ROOT / "varlite" / name).exists(), name
    for name in re.findall(r"^ {4}(\S+)", tree, re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_commands_it_shows_exist():
    from varlite.cli import COMMANDS

    assert {command for command in re.findall(r"^ {4}varlite (\S+)", README, re.MULTILINE)} <= set(COMMANDS)


def test_the_pictures_it_shows_are_there():
    assert all((ROOT / path).exists() for path in re.findall(r"!\[.*?\]\((.*?)\)", README))
