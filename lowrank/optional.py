"""Optional packages, which are imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


#: What to install where not every version will do, as the extras of pyproject.toml have it.
TESTED = {"bempp-cl": "bempp-cl==0.4.2"}


def require(module: str, package: str, purpose: str, extra: str | None = None) -> Any:
    """Import a module, or raise an ImportError that says what needs it and how to install it.

    extra : the extra of this package that brings it, with the versions that work together. It is named for a folder of
        the source only: this package is in no registry, where the same name may be somebody else's.

    >>> require("no_such_module", "no-such-package", "teleportation")
    Traceback (most recent call last):
    ...
    ImportError: teleportation needs the package no-such-package, which is not installed: pip install no-such-package
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        line = f"pip install {TESTED.get(package, package)}"
        if extra is not None:
            line += f', or, in a clone of this package, pip install ".[{extra}]"'
        raise ImportError(f"{purpose} needs the package {package}, which is not installed: {line}") from error
