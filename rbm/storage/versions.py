"""What files say of their making: the versions of this package and of those that it computes with, and the date."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import numpy as np
import scipy

__all__ = ["VERSION", "date_of_making", "making", "versions"]

VERSION = "0.2.0"
#: Seconds since 1970 that stand for now, so that files of two runs are the same: the convention of reproducible builds.
FIXED_DATE = "SOURCE_DATE_EPOCH"


def versions() -> dict[str, str]:
    """Return the versions by name: of rbm-toolkit, numpy, scipy and python.

    >>> sorted(versions())
    ['numpy', 'python', 'rbm-toolkit', 'scipy']
    """
    return {
        "rbm-toolkit": VERSION,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }


def date_of_making() -> str:
    """Return date and time in UTC, or those that the environment variable SOURCE_DATE_EPOCH stands for.

    >>> date_of_making()[10]
    'T'
    """
    fixed = os.environ.get(FIXED_DATE, "")
    seconds = int(fixed) if fixed.isascii() and fixed.isdigit() and len(fixed) < 12 else None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def making() -> dict[str, Any]:
    """Return what the header of a run's file says of its making: {"date": .., "versions": {..}}."""
    return {"date": date_of_making(), "versions": versions()}
