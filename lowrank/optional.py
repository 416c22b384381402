"""Packages that are imported where they are used, so that importing this one stays light."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


def require(module: str, package: str, purpose: str, extra: str | None = None) -> Any:
    """The imported module, or an ImportError that says what needs it and the line that installs it.

    extra : the extra of this package that brings it, with the versions that work together

    >>> require("no_such_module", "no-such-package", "teleportation")
    Traceback (most recent call last):
    ...
    ImportError: teleportation needs the package no-such-package, which is not installed: pip install no-such-package
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        line = (
            f"pip install {package}"
            if extra is None
            else f'pip install "rbm-toolkit[{extra}]", or pip install {package}'
        )
        raise ImportError(f"{purpose} needs the package {package}, which is not installed: {line}") from error
