"""Maps the kinds of things in files to the classes they are read into, ours and the user's.

A class takes part with three names and one line of registration::

    @register("stability bound")
    class MyBound:
        kind = "my bound"                          # its name in files

        def arrays(self): ...                      # {name: array}, all that it is made of
        @classmethod
        def from_arrays(cls, arrays): ...          # the same object again

The dictionary may also hold :class:`rbm.parameters.coefficients.Coefficients`, a :class:`rbm.ParameterSpace` and tuples
of texts: a file keeps these, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self, TypeVar

from rbm.errors import ModelError

__all__ = ["Saved", "UnknownKind", "find", "known", "register"]

#: What a class may be registered as.
ROLES = ("estimator", "stability bound", "output", "coefficient family")

Class = TypeVar("Class", bound=type)
_CLASSES: dict[str, dict[str, type[Any]]] = {role: {} for role in ROLES}


class UnknownKind(ValueError):
    """A file holds something of a kind that no class is registered for."""


class Saved(Protocol):
    """What can be written to a file and read from it."""

    kind: ClassVar[str]

    def arrays(self) -> dict[str, Any]:
        """Return all that it is made of, by name."""

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make the object from what :meth:`arrays` returned. Raises an error for entries that do not fit each other."""


def register(role: str) -> Callable[[Class], Class]:
    """Return a decorator that makes a class known to files, under its `kind`.

    role : "estimator", "stability bound", "output" or "coefficient family"

    Raises ModelError for another role, a class without a `kind`, and for a kind that another class has. A class may be
    defined anew, as in a notebook cell that is run again.
    """
    if role not in _CLASSES:
        raise ModelError(f"the role of a class must be one of {', '.join(map(repr, ROLES))}, got {role!r}")

    def add(cls: Class) -> Class:
        kind = getattr(cls, "kind", None)
        if not (isinstance(kind, str) and kind.strip()):
            raise ModelError(f"{cls.__name__} needs a class attribute `kind`, a text, its name in files; got {kind!r}")
        if "/" in kind or not kind.isprintable():
            raise ModelError(f"the kind {kind!r} of {cls.__name__} must be a text without slashes, its name in files")
        alias = vars(cls).get("alias")
        owner = next((k for k, c in _CLASSES[role].items() if alias and vars(c).get("alias") == alias), kind)
        if owner != kind:
            raise ModelError(f"the alias {alias!r} of {cls.__name__} is that of {owner!r}; give it another one")
        other = _CLASSES[role].get(kind, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ModelError(
                f"the kind {kind!r} of {role} is that of {other.__module__}.{other.__qualname__}; give "
                f"{cls.__qualname__} another kind"
            )
        _CLASSES[role][kind] = cls
        return cls

    return add


def known(role: str) -> Mapping[str, type[Any]]:
    """Return the classes of a role by kind, those registered later included."""
    return MappingProxyType(_CLASSES[role])


def find(role: str, kind: Any) -> type[Any]:
    """Return the class of that kind.

    Raises UnknownKind with what to import; nothing is imported by a name in a file.
    """
    if kind in _CLASSES[role]:
        return _CLASSES[role][kind]
    raise UnknownKind(
        f"{'an' if role[0] in 'eo' else 'a'} {role} of the kind {kind!r}, which is not known here: import the package "
        "that defines it and registers it with "
        f'@rbm.register("{role}"), then load again. Known are {", ".join(_CLASSES[role])}'
    )
