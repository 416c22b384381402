"""Checks, when `rbm` is imported, that the packages beside it are ours. A file of the user's may bear their name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["check_neighbours"]

#: Packages that rbm imports, and a module that tells each from others of its name.
NEIGHBOURS = {"lowrank": "arrays", "eim": "interpolation"}


def check_neighbours() -> None:
    """Raise ImportError, with the path and the remedy, where Python finds something else under one of these names."""
    for name, module in NEIGHBOURS.items():
        found = importlib.util.find_spec(name)
        if found is None:
            raise ImportError(
                f"rbm needs the package {name!r} that comes with it, and Python does not find it: install rbm-toolkit "
                "again"
            )
        places = [Path(place) for place in found.submodule_search_locations or ()]
        if not any((place / f"{module}.py").exists() for place in places):
            where = found.origin or ", ".join(map(str, places))
            raise ImportError(
                f"rbm needs the package {name!r} that comes with it, but Python finds {where} under that name: rename "
                "that file or folder, or take its folder off Python's path"
            )


check_neighbours()
