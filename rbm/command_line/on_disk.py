"""The commands ``rbm info`` and ``rbm cache``: they print what is on disk.

That is what a model file holds, and the compiled kernels and assembled matrices, which ``rbm cache --clear`` removes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rbm.command_line.time_info import about_time_model
from rbm.reduced.model import ReducedModel
from rbm.reduced.outputs import ReducedOutput
from rbm.reduced.partitioned import PartitionedModel
from rbm.reduced.primal_dual import ReducedPrimalDual
from rbm.storage.cache import cache_files, cache_folder, clear_cache, kernel_folder
from rbm.time.files import load
from rbm.time.reduced import ReducedTimeModel

__all__ = ["add_cache", "add_info"]


def add_info(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    info = commands.add_parser("info", help="what is in a model file")
    info.add_argument("model", type=Path, metavar="MODEL")
    info.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    model = load(options.model)
    about: Any = _about_model
    if isinstance(model, ReducedTimeModel | PartitionedModel):
        about = about_time_model if isinstance(model, ReducedTimeModel) else _about_partition
    for line in about(model):
        print(line)
    print(f"  file: {options.model.stat().st_size} bytes")


def _about_partition(model: PartitionedModel) -> Iterator[str]:
    yield str(model)
    yield from list(_about_model(model.leaves[0]))[1:]
    for k, (leaf, box) in enumerate(zip(model.leaves, model.boxes, strict=True)):
        sides = zip(model.parameters.names, box, strict=True)
        yield f"  leaf {k}: N = {leaf.size}, {', '.join(f'{n} in [{a:g}, {b:g}]' for n, (a, b) in sides)}"


def _about_model(model: ReducedModel) -> Iterator[str]:
    yield str(model)
    for label, coefficients in (("operator", model.operator_coefficients), ("right-hand side", model.rhs_coefficients)):
        yield f"  {label} coefficients: {', '.join(str(s) for s in coefficients.sources)}"
    for name, output in model.outputs.items():
        yield f"  output {name}: {_about(output)}"
    if model.output_units:
        yield f"  units of outputs: {', '.join(f'{name} in {unit}' for name, unit in model.output_units.items())}"
    if model.constraints is not None:
        yield f"  unknowns: {len(model.constraints.free)} free, {len(model.constraints.fixed)} fixed"
    for name, why in model.refused.items():
        yield f"  {name}: {why}"
    if model.measured:
        yield f"  not proved: {model.measured}"


#: How the outputs of each kind are bounded.
BOUNDED = {
    "linear": "the norm of the functional times the error bound of the solution",
    "linear rows": "the norm of each functional times the error bound of the solution",
    "quadratic": "the norm of the form times the error bound and twice the norm of the solution",
    "compliant": "beta times the square of the error bound of the solution, as it is the right-hand side itself",
}


def _about(output: ReducedOutput) -> str:
    """Return what a line says of an output: its kind and its error bound."""
    if isinstance(output, ReducedPrimalDual):
        vectors = output.dual_operators.shape[2]
        return f"primal-dual, corrected by {vectors} dual basis vectors; bound: the product of both residuals over beta"
    return f"{output.kind}; bound: {BOUNDED[output.kind]}" if output.kind in BOUNDED else str(output.kind)


def add_cache(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    about = (
        "Compiled kernels and assembled matrices are kept in the folder RBM_CACHE_DIR, or in the user's cache folder. "
        "Whatever is not there is made again. Their number and size are not limited."
    )
    what = "compiled kernels and assembled matrices on disk"
    cache = commands.add_parser("cache", help=what, description=about)
    shown = cache.add_mutually_exclusive_group()
    shown.add_argument("--path", action="store_true", help="print the folder and nothing else")
    shown.add_argument("--size", action="store_true", help="print the number of bytes and nothing else")
    shown.add_argument("--clear", action="store_true", help="remove the kept files, and no others")
    cache.set_defaults(run=_cache)


def _cache(options: argparse.Namespace) -> None:
    """Print what was asked for, or everything; or clear it."""
    if options.path:
        print(cache_folder())
    elif options.size:
        print(sum(file.size for file in cache_files()))
    elif options.clear:
        count, size = clear_cache()
        print(f"{count} files removed, {_readable(size)}")
    else:
        files = list(cache_files())
        print(f"folder    {cache_folder()}")
        if kernel_folder().parent != cache_folder():
            print(f"kernels   {kernel_folder()} (NUMBA_CACHE_DIR)")
        for kind in dict.fromkeys(["kernels", "matrices", *(file.kind for file in files)]):
            sizes = [file.size for file in files if file.kind == kind]
            print(f"{kind:<9} {len(sizes)} files, {_readable(sum(sizes))}")
        print("limit     none: files stay until `rbm cache --clear`, or until you remove the folder")


def _readable(size: int) -> str:
    """Return a number of bytes as people read it.

    >>> _readable(999), _readable(2_340_000)
    ('999 bytes', '2.3 MB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
