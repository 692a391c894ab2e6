"""The command line. A command is a function of that name; its signature and its docstring are its options and help."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError, UnusedCliTokensError

from syncdraw.cli import commands, evaluate
from syncdraw.errors import UserError, did_you_mean, within_memory

app = App(
    name="syncdraw",
    help="Sync-DRAW: generate short videos, from nothing or from a caption.\n\n"
    'Try: syncdraw generate "digit 3 is moving left and right" -o three.gif',
    version=lambda: f"syncdraw {version('syncdraw')}, torch {version('torch')}",
    default_parameter=Parameter(name_transform=str, negative=()),
    suppress_keyboard_interrupt=False,  # what `main` says of one is more
)
for command in (
    commands.models, commands.generate, commands.reconstruct, commands.interpolate, commands.picture, commands.demo,
    commands.rate, commands.export, commands.push, evaluate.app,
):  # fmt: skip
    app.command(command)
# By name where a module needs time, so that it is imported when its command is called for.
app.command("syncdraw.cli.train:app", name="train", help="Train a model, by a recipe or on clips of your own.")
app.command("syncdraw.cli.prepare:app", name="prepare", help="Prepare a data set for training: decode it once.")
app.command("syncdraw.cli.reproduce:app", name="reproduce", help="Train and measure a table of the papers again.")


def main(arguments: Sequence[str] | None = None) -> None:
    """The `syncdraw` command. Exit status: 0; 2 after bad input, 130 after Ctrl-C, 141 where nobody reads the rest."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # For file names and captions, on a terminal that knows ASCII alone.
            stream.reconfigure(errors="backslashreplace")
    try:
        with within_memory("there is not enough memory; lower --num, --scale or --clips, or close other programs, or "
                           "take --device cpu on a GPU"):  # fmt: skip
            app(arguments, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains while it ends
        sys.exit(141)
    except (CycloptsError, UserError, OSError) as error:
        print(f"syncdraw: error: {' '.join(_sentence(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interruption:
        print(f"syncdraw: {str(interruption) or 'interrupted'}", file=sys.stderr)
        sys.exit(130)


def _sentence(error: CycloptsError | UserError | OSError) -> str:
    if isinstance(error, OSError):  # a full disk or a read-only folder, outside of what atomic_path reports
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, (UnknownCommandError, UnusedCliTokensError)):
        return str(error.__cause__ if isinstance(error.__cause__, UserError) else error)  # of an option's own check
    word = (error.unused_tokens or [""])[0]
    if isinstance(error, UnusedCliTokensError):
        return f"{word!r} is one argument too many; a caption with blanks needs quotation marks"
    # Cyclopts' own sentence would import every command, and name eight of them.
    names = sorted(name for name in error.app or () if not name.startswith("-"))
    return f"unknown command {word!r}: {did_you_mean(word, names)}Commands are {', '.join(names)}"
