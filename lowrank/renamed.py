"""Argument names that have changed: the old one is refused with the new one in the message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["renamed"]

Called = TypeVar("Called", bound=Callable[..., Any])


def renamed(**names: str) -> Callable[[Called], Called]:
    """Return a decorator that refuses old argument names, given as old="new", of a function or a class.

    Signature and types stay those of what is decorated. The caller of a warning is one frame further away.

    Examples
    --------
    >>> @renamed(max_rank="rank")
    ... def terms(rank: int) -> int:
    ...     return rank
    >>> terms(max_rank=3)
    Traceback (most recent call last):
    ...
    TypeError: terms() has no argument max_rank: its name is now rank, with the same meaning
    """

    def decorate(called: Called) -> Called:
        if isinstance(called, type):
            called.__init__ = decorate(called.__init__)  # type: ignore[misc]
            return called

        @functools.wraps(called)
        def checked(*args: Any, **options: Any) -> Any:
            for old in names.keys() & options.keys():
                name = called.__qualname__.removesuffix(".__init__")
                raise TypeError(f"{name}() has no argument {old}: its name is now {names[old]}, with the same meaning")
            return called(*args, **options)

        return cast(Called, checked)

    return decorate
