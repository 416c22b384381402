"""The entry point of the command ``rbm``: it reads the arguments and returns the exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

import rbm
from rbm.command_line.cache import add_cache
from rbm.command_line.delivery import to_standard_output
from rbm.command_line.explore import add_explore
from rbm.command_line.export import add_export
from rbm.command_line.info import add_info
from rbm.command_line.points import with_negative_numbers
from rbm.command_line.quantize import add_quantize
from rbm.command_line.query import add_query
from rbm.command_line.reduce import add_reduce
from rbm.command_line.registered import COMMANDS, add_study, described, registered, run_command

__all__ = ["main"]


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
    for add in (add_study, add_reduce, add_query, add_quantize, add_export, add_explore, add_info, add_cache):
        add(commands)
    further = {name: entry for name, entry in registered(COMMANDS).items() if name not in commands.choices}
    if given and given[0] in further:
        return _status(partial(run_command, given[0], given[1:]), to_stdout=False)
    asked = given[:1] in (["-h"], ["--help"])  # what the others are for is read in their files
    for name, entry in further.items():
        commands.add_parser(name, help=described(entry) if asked else None)
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
