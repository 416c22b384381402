"""Progress bars for long work, on a terminal or in a notebook, and silent elsewhere."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(items: Iterable[Any] | None, text: str, *, enabled: bool = True, total: int | None = None) -> Any:
    """A tqdm bar over `items`; shown where somebody watches (a terminal, a notebook) and the work takes over half a second."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # tqdm warns when a notebook lacks ipywidgets, and then draws text, which will do
        from tqdm.auto import tqdm

    watched = False if "ipykernel" in sys.modules else None  # None: only on a terminal
    return tqdm(items, desc=text, total=total, disable=watched if enabled else True, leave=False, delay=0.5)
