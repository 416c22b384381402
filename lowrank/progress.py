"""Progress bars for long work, shown on a terminal or in a notebook."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(items: Iterable[Any] | None, text: str, *, enabled: bool = True, total: int | None = None) -> Any:
    """Return a tqdm bar over `items`.

    It is shown on a terminal or in a notebook if the work takes over half a second, and never with enabled=False.
    """
    if not enabled:
        return _Silent(items)
    with warnings.catch_warnings():
        # tqdm warns when a notebook lacks ipywidgets, and then draws text, which will do
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    watched = False if "ipykernel" in sys.modules else None  # None: only on a terminal
    return tqdm(items, desc=text, total=total, disable=watched, leave=False, delay=0.5)


class _Silent:
    """A bar that shows nothing, with the methods that are used of tqdm, which takes 0.05 s to import."""

    def __init__(self, items: Iterable[Any] | None) -> None:
        self._items, self.n = items, 0

    def __iter__(self) -> Iterator[Any]:
        return iter(() if self._items is None else self._items)

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, steps: int = 1) -> None:
        """Count finished steps."""
        self.n += steps

    def set_postfix_str(self, text: str) -> None:
        """Do nothing: there is no bar."""
