import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import is_dataclass
from inspect import signature

import pytest

import varlite as package
from varlite import cli
from varlite.commands.reproduce import EXPERIMENTS

COMMANDS = {name: command for name, command in cli.table().items() if name != "reproduce"}


def start(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "varlite", *words], env=os.environ | environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def failing(varlite, monkeypatch):
    """Runs a command that raises an error: (exit status, stdout, stderr)."""

    def run(error):
        def command():
            raise error

        monkeypatch.setattr(cli, "table", lambda: {"fail": command, "other": command})
        return varlite("fail")

    return run


# How a command ends


def test_an_expected_error_is_one_line_and_status_1(failing):
    for error in (ValueError("no\nsuch thing"), OSError("no such thing"), FloatingPointError("no such thing")):
        assert failing(error) == (1, "", "varlite: error: no such thing\n")


def test_any_other_error_is_one_line_that_says_whose_fault_it_is(failing):
    expected = "varlite: KeyError: 'depth': this is a bug of varlite; VARLITE_DEBUG=1 shows where\n"
    assert failing(KeyError("depth")) == (70, "", expected)


def test_too_little_memory_is_no_bug(failing):
    message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes"
    for error in (MemoryError(), RuntimeError(message)):
        assert failing(error) == (1, "", "varlite: error: there is too little memory; a smaller --batch takes less\n")


def test_what_a_compiler_says_is_cut_to_a_line(failing):
    error = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})("no Python.h\n" * 100)
    status, _, err = failing(error)
    assert status == 1 and err.startswith("varlite: error: compile: no Python.h") and len(err) < 350


def test_a_traceback_is_shown_to_who_asks_for_it(failing, monkeypatch):
    monkeypatch.setenv("VARLITE_DEBUG", "1")
    with pytest.raises(KeyError, match="depth"):
        failing(KeyError("depth"))


def test_ctrl_c_is_one_line_and_status_130_and_is_python_s_again_afterwards(failing):
    assert failing(KeyboardInterrupt()) == (130, "", "varlite: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_a_library_makes_another_error_of_it_is_told_as_what_it_is(varlite, monkeypatch):
    def command():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ImportError("torch") from None

    monkeypatch.setattr(cli, "table", lambda: {"fail": command, "other": command})
    assert varlite("fail") == (130, "", "varlite: interrupted\n")


@pytest.mark.parametrize("words", [["info"], ["bench", "--rounds", "50"]], ids=" ".join)
def test_ctrl_c_during_start_up_is_one_line(words):
    process = start(*words)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # Python ends itself by the signal where it struck within `exec`; a shell shows both as 130.
    assert process.returncode in (130, -signal.SIGINT) and (out, err) == (b"", b"varlite: interrupted\n")


@pytest.mark.parametrize("words", [["--help"], ["info"]], ids=" ".join)
def test_a_pipe_that_nobody_reads_any_more_ends_quietly(words):
    process = start(*words)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 141


def test_characters_that_a_terminal_lacks_are_replaced():
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    out, err = start("evaluate", "--help", **ascii_only).communicate()
    assert err == b"" and b"the Fr?chet distance" in out


def test_home_is_expanded_also_where_no_shell_does_it(monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    words = ["~/a", "--out=~/b", "--out", "a~b", "~", "--recipe=gan=~"]
    assert [cli.expand_home(word) for word in words] == ["/h/a", "--out=/h/b", "--out", "a~b", "/h", "--recipe=gan=~"]


# Help


def arguments_of(function):
    """Its arguments, and in place of those that are dataclasses theirs."""
    for name, parameter in signature(function).parameters.items():
        if is_dataclass(parameter.default):
            yield from vars(parameter.default)
        else:
            yield name


@pytest.mark.parametrize("name", [*COMMANDS, *EXPERIMENTS])
def test_the_help_of_a_command_explains_every_option(varlite, name):
    function = (COMMANDS | EXPERIMENTS)[name]
    status, out, _ = varlite(*(["reproduce"] if name in EXPERIMENTS else []), name, "--help")
    flat = " ".join(re.sub("[─│╭╮╰╯]", " ", out).split())
    assert status == 0 and function.__doc__.split("\n")[0].split(".")[0] in flat
    options = flat[flat.index("show this help message") :]
    for argument in arguments_of(function):
        flag = argument.replace("_", "-")
        explanation = re.search(rf" --{flag}(?:, --no-{flag})? (.*?)(?: \(default| --|$)", options)
        if explanation is None:
            assert argument in ("image", "name", "source", "out", "what")  # by their place
        else:
            assert len(re.findall("[a-z]{2,}", explanation[1])) > 1, f"{argument} is not explained"


def test_options_are_spelled_the_same_everywhere():
    found = {}
    for name, function in (COMMANDS | EXPERIMENTS).items():
        arguments = set(arguments_of(function))
        assert not arguments & {"batch_size", "json", "output", "samples_per_class"}, name
        for argument in arguments & {"device", "precision", "weights", "cfg", "top_p"}:
            found.setdefault(argument, set()).add(name)
    assert found["device"] >= {"sample", "edit", "evaluate", "bench", "tokenize", "train", "fashion", "sweep"}


def test_help_lists_the_commands_and_a_wrong_word_is_status_2(varlite):
    status, out, _ = varlite("--help")
    assert status == 0 and all(command in out for command in cli.table())
    status, out, _ = varlite("reproduce", "--help")
    assert status == 0 and all(name in out for name in EXPERIMENTS)
    for line in (
        "paint", "sample --colour red", "sample --num-per-class many", "sample --device tpu", "info --measure",
        "bench --json a.json", "reproduce", "reproduce guidance --seeds 1",
    ):  # fmt: skip
        assert varlite(*line.split())[0] == 2, line


def test_the_command_line_answers_before_torch_is_imported():
    code = "import sys, varlite, varlite.cli; varlite.cli.table(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_package_offers_its_names_and_pulls_in_no_plotting_or_notebook_library_and_no_compiler():
    info = "from varlite.commands.info import table; table()"  # which makes a model of every kind
    names = "(getattr(varlite, name).__name__ for name in varlite.__all__)"
    code = f"import sys, varlite; {info}; print(*{names}, *sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found[: len(package.__all__)] == package.__all__
    heavy = {"matplotlib", "seaborn", "pandas", "IPython", "ipywidgets", "jupyterlab"}
    heavy |= {"torchvision", "torch_fidelity", "torch._dynamo"}
    assert not heavy & set(found)
    with pytest.raises(AttributeError, match="has no attribute 'sampel'"):
        package.sampel  # noqa: B018
