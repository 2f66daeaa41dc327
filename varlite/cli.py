"""The command line: the table of commands, and how each of them ends.

A command is a function in `varlite/commands/` whose arguments and docstring are its options and help. What is heavy to
import stands inside the functions, so that a command pays only for what it uses.
"""

import os
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec


def table() -> dict[str, Callable[..., None]]:
    """Every command by name. Imported here, so that Ctrl-C is caught from the start."""
    from varlite.commands import (
        align,
        bench,
        convert,
        data,
        edit,
        evaluate,
        export,
        fit,
        info,
        reproduce,
        sample,
        train,
        verify,
    )

    return {
        "sample": sample.sample,
        "edit": edit.edit,
        "fit": fit.fit,
        "train-tokenizer": train.train_tokenizer,
        "tune-decoder": train.tune_decoder,
        "train": train.train,
        "align": align.align,
        "train-classifier": train.train_classifier,
        "train-judge": train.train_judge,
        "train-features": train.train_features,
        "train-reader": train.train_reader,
        "evaluate": evaluate.evaluate,
        "bench": bench.bench,
        "verify": verify.verify,
        "reproduce": reproduce.reproduce,
        "data": data.data,
        "fetch": data.fetch,
        "tokenize": data.tokenize,
        "convert": convert.convert,
        "export": export.export,
        "info": info.info,
    }


def run(words: list[str]) -> None:
    """Parse a command line and run its command."""
    from varlite.io.memory import keep_freed_memory

    keep_freed_memory()
    try:
        if words[:1] == ["verify"] and not has_tyro():
            from varlite.commands.verify import without_tyro

            return without_tyro([expand_home(word) for word in words[1:]])
        import tyro

        tyro.extras.subcommand_cli_from_dict(
            table(),
            prog="varlite",
            description="Visual autoregressive image generation, small enough to read.",
            args=[expand_home(word) for word in words],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
    finally:
        sys.stdout.flush()  # a pipe that nobody reads any more is noticed here, not when the process ends


def has_tyro() -> bool:
    """Whether command lines can be read. `varlite verify` runs where nothing but torch is installed."""
    try:
        return find_spec("tyro") is not None
    except ImportError:
        return False


def expand_home(word: str) -> str:
    """~ at the start of a word is the home folder, and at the start of an option's value, where no shell expands it."""
    option, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + sign + os.path.expanduser(value)


def main() -> None:
    """Entry point. Errors are one line on stderr: status 1 for an expected one, 70 for a bug, 130 after Ctrl-C.

    With VARLITE_DEBUG=1 the traceback of an error is shown.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # for terminals that lack a character
    interrupted = []

    def interrupt(*_: object) -> None:
        interrupted.append(True)
        raise KeyboardInterrupt

    listening = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not in a background job
    if listening:
        signal.signal(signal.SIGINT, interrupt)
    try:
        run(sys.argv[1:])
    except KeyboardInterrupt:
        fail(130, "interrupted")
    except BrokenPipeError:  # as in `varlite info | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if interrupted:  # a library that was being imported made another error of it
            fail(130, "interrupted")
        if os.environ.get("VARLITE_DEBUG"):
            raise
        fail(*told(error))
    finally:
        if listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def told(error: Exception) -> tuple[int, str]:
    """Status and line of an error."""
    message = " ".join(str(error).splitlines())
    kind = type(error)  # of torch by name, since it is not imported
    refused = kind is RuntimeError and ("can't allocate memory" in message or "not enough memory" in message)
    if refused or kind is MemoryError or kind.__name__ == "OutOfMemoryError":
        return 1, "error: there is too little memory; a smaller --batch takes less"
    if isinstance(error, ValueError | OSError | FloatingPointError):
        return 1, f"error: {message}"
    message = message if len(message) < 300 else message[:300] + " ..."
    if kind.__module__.startswith(("torch._inductor", "torch._dynamo")):
        return 1, f"error: compile: {message}"
    return 70, f"{kind.__name__}: {message}: this is a bug of varlite; VARLITE_DEBUG=1 shows where"


def fail(status: int, message: str) -> None:
    print(f"varlite: {message}", file=sys.stderr)
    sys.exit(status)
