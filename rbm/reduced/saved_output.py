"""How reduced outputs go into files and come back, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

from rbm.parameters.coefficients import Coefficients
from rbm.storage.stored_arrays import Stored, checked_arrays

__all__ = ["SavedOutput"]


class SavedOutput:
    """The base class of reduced outputs: their fields go into files by name, except those that are None."""

    stored: ClassVar[Mapping[str, Stored]] = {}  #: what a file holds of it, but coefficients
    #: the letter of a dimension whose length is that of each family of coefficients
    families: ClassVar[Mapping[str, str]] = {"coefficients": "q"}

    def arrays(self) -> dict[str, Any]:
        """Return the coefficients and the arrays by name, for a file."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in known.items() if value is not None}

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, for pickle and copy; what is packed for the kernels is made again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make the output from :meth:`arrays`; older files lack some of them.

        Raises ValueError for entries that do not fit each other.
        """
        what = f"output of the kind {cls.kind!r}"  # type: ignore[attr-defined]
        lengths = {}
        optional = {f.name for f in fields(cls) if f.default is None}  # type: ignore[arg-type]
        for name, letter in cls.families.items():
            if name in optional and name not in arrays:
                continue
            if not isinstance(arrays.get(name), Coefficients):
                raise ValueError(f"the arrays of its {what} do not fit each other: {name!r} is {arrays.get(name)!r}")
            lengths[letter] = len(arrays[name])
        known = checked_arrays(what, arrays, cls.stored, lengths)
        if unknown := sorted(set(known) - {f.name for f in fields(cls)}):  # type: ignore[arg-type]
            raise ValueError(f"the arrays of its {what} do not fit each other: {', '.join(unknown)} are not known")
        return cls(**known)
