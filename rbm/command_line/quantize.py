"""The command ``rbm quantize``: a model file in few bits per number."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rbm.command_line.only_array import only_array
from rbm.errors import ModelError, ParameterError
from rbm.time.files import load
from rbm.time.reduced import ReducedTimeModel

__all__ = ["add_quantize"]


def add_quantize(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    about = (
        "Writes a smaller model file: the basis in few bits per number, more of them for the directions that matter. "
        "The exact size of what this changes in each solution is added to its error bound."
    )
    made = commands.add_parser("quantize", description=about)
    made.add_argument("model", type=Path, metavar="MODEL")
    made.add_argument("--bits", type=float, default=8.0, help="mean number of bits of the basis (default: 8)")
    made.add_argument("--matrices", type=int, metavar="BITS", help="also round the reduced matrices to so many bits")
    made.add_argument("--product", type=Path, metavar="FILE", help="P, for a model file that does not hold it")
    made.add_argument("--no-rotation", action="store_true", help="quantise the vectors of the basis as they are")
    made.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="where to write the model")
    made.add_argument("--force", action="store_true", help="replace a file that exists")
    made.set_defaults(run=_quantize)


def _quantize(options: argparse.Namespace) -> None:
    model = load(options.model)
    if isinstance(model, ReducedTimeModel):
        raise ModelError(f"rbm quantize is for models without time; {options.model} holds a reduced model in time")
    if options.out.resolve() == options.model.resolve():
        raise ParameterError(f"{options.out} is the model itself, which few bits cannot give back: choose another file")
    if options.out.exists() and not options.force:
        raise ParameterError(f"{options.out} exists; choose another file, or replace it with --force")
    product = None if options.product is None else only_array(options.product, "--product")
    bits = {"basis": options.bits} | ({} if options.matrices is None else {"matrices": options.matrices})
    made = model.quantize(bits, rotate=not options.no_rotation, product=product)
    made.save(options.out, overwrite=options.force)
    before, after = (path.stat().st_size for path in (options.model, options.out))
    print(made)
    print(f"{options.out}: {after} bytes, {1 - after / before:.1%} less than {before}")
