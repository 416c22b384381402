"""Optional packages, which are imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


def require(module: str, package: str, purpose: str, extra: str | None = None) -> Any:
    """Import a module, or raise an ImportError that says what needs it and how to install it.

    package : its name for pip, with a version where not every one will do ("bempp-cl==0.4.2")
    extra : the extra of this project that brings it, with the versions that work together. It is named for a folder of
        the source only: this project is in no registry, where the same name may be somebody else's

    >>> require("no_such_module", "no-such-package", "teleportation")
    Traceback (most recent call last):
    ...
    ImportError: teleportation needs the package no-such-package, which is not installed: pip install no-such-package
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        line = f"pip install {package}"
        if extra is not None:
            line += f', or, in a clone of this package, pip install ".[{extra}]"'
        raise ImportError(
            f"{purpose} needs the package {package.partition('==')[0]}, which is not installed: {line}"
        ) from error
