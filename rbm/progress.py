"""Progress bars for long work, on standard error and only where somebody watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(items: Iterable[Any] | None, text: str, *, enabled: bool = True, total: int | None = None) -> Any:
    """A tqdm bar over `items`; silent when not enabled, when standard error is not a terminal, or when it ends within half a second."""
    from tqdm.auto import tqdm

    return tqdm(items, desc=text, total=total, disable=None if enabled else True, leave=False, delay=0.5)
