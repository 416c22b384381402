"""The entry point of the command ``rbm``: it reads the arguments and returns the exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import NoReturn

import rbm
from rbm.command_line.delivery import to_standard_output
from rbm.command_line.points import with_negative_numbers
from rbm.command_line.registered import COMMANDS, described, registered, run_command

__all__ = ["main"]

#: The commands of this package, with their files and what they are for: that of the one that is asked for is imported.
OWN = {
    "study": ("registered", "offline, online, figures, summary.json and a model file, for a problem of the gallery"),
    "reduce": ("reduce", "a reduced model from matrices in files"),
    "query": ("query", "solve a saved model, with error bounds"),
    "quantize": ("quantize", "a smaller model file, a basis in few bits"),
    "export": ("export", "a solution as a field on a mesh, for ParaView, or the model as a page for the browser"),
    "explore": ("explore", "a window with sliders: outputs with bounds, response curves, the field"),
    "info": ("info", "what is in a model file, or in that of a greedy run"),
    "cache": ("cache", "compiled kernels and assembled matrices on disk"),
}


class _Parser(argparse.ArgumentParser):
    """A parser, and so are those of its commands, whose refusals are one line as all others: no usage before them."""

    def error(self, message: str) -> NoReturn:
        self.exit(_refuse(f"{message}; {self.prog} --help says what there is"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 2 with one line on standard error, or 130 after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _Parser(prog="rbm", description="Certified reduced basis models.")
    parser.add_argument("--version", action="version", version=f"rbm-toolkit {rbm.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in given if not word.startswith("-")), "")
    for name, (file, about) in OWN.items():
        if name == asked:
            getattr(import_module(f"rbm.command_line.{file}"), f"add_{name}")(commands)
        else:
            commands.add_parser(name, help=about)
    found = {} if asked in OWN else registered(COMMANDS)
    further = {name: entry for name, entry in found.items() if name not in OWN}
    if given and given[0] in further:
        return _status(partial(run_command, given[0], given[1:]), to_stdout=False)
    wanted = given[:1] in (["-h"], ["--help"])  # what the others are for is read in their files
    for name, entry in further.items():
        commands.add_parser(name, help=described(entry) if wanted else None)
    options = parser.parse_args(with_negative_numbers(given))
    to_stdout = options.command == "info" or (options.command == "query" and to_standard_output(options))
    to_stdout = to_stdout or (options.command == "reduce" and options.template)
    return _status(partial(options.run, options), to_stdout)


def _status(command: Callable[[], int | None], to_stdout: bool) -> int:
    """Run a command and return its exit status; whatever goes wrong is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is shown by its number
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if sys.stdout is None and to_stdout:
            return _refuse("standard output is closed, the answer has no place to go")
        status = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("rbm: interrupted; files already written are whole", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has closed it
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is left to write at exit
        return 0
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        in_the_way = error.filename and isinstance(error, FileExistsError | NotADirectoryError)
        return _refuse(f"{said}; a file has the name of a folder: choose another one" if in_the_way else said)
    except (ValueError, TypeError, ImportError) as error:
        return _refuse(str(error))
    except Exception as error:
        return _refuse(f"{type(error).__name__}: {str(error) or 'no message'}")
    return status or 0


def _refuse(message: str) -> int:
    print(f"rbm: {' '.join(message.split())}", file=sys.stderr)
    return 2
