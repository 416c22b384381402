"""The command ``rbm info``: it prints what a model file holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import rbm

__all__ = ["add_info"]


def add_info(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    info = commands.add_parser("info", help="what is in a model file")
    info.add_argument("model", type=Path, metavar="MODEL")
    info.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    model = rbm.load(options.model)
    print(model)
    for label, coefficients in (("operator", model.operator_coefficients), ("right-hand side", model.rhs_coefficients)):
        print(f"  {label} coefficients: {', '.join(str(s) for s in coefficients.sources)}")
    if model.output_units:
        print(f"  units of outputs: {', '.join(f'{name} in {unit}' for name, unit in model.output_units.items())}")
    for name, why in model.refused.items():
        print(f"  {name}: {why}")
    print(f"  file: {options.model.stat().st_size} bytes")
