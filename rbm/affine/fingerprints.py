"""Digests of what a model is made of: the same if nothing changed, another one if anything did.

A digest stands for content and never for less. What cannot be looked into, an object of a compiled module say, is the
same as itself only, and only in this process.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank import LowRankMatrix
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.space import ParameterSpace

__all__ = ["digest"]

#: Packages whose modules, functions and classes are what their names say.
KNOWN = frozenset((*sys.stdlib_module_names, "numpy", "scipy", "rbm", "eim", "lowrank"))
#: Those of them whose modules do not count, as names are unique in them.
OURS = frozenset(("rbm", "eim", "lowrank"))
#: Settings of this package's stability bounds that change no number.
IRRELEVANT = frozenset(("progress", "cache", "executor"))
#: Those that count only where they are not what older releases, which did not have them, did.
LATER = {"batch": 1}
#: The image of an operator without entries counts to this share of its largest entry: what is below may be round-off.
PROBE = 1e-8
LEAVES = (type(None), type(...), bool, int, float, complex, str, bytes, range)
#: The memory of an object of a plain class, beyond its slots.
PLAIN, POINTER = type("Plain", (), {}).__basicsize__, struct.calcsize("P")
#: Objects that cannot be looked into, kept so that nothing else gets their ids.
_opaque: dict[int, Any] = {}
_process = uuid.uuid4().hex


def digest(content: Any) -> str:
    """Return the SHA-256 of numbers, texts, arrays, containers, objects of these, and functions.

    Functions count with the values that they refer to.

    Functions count by their instructions, not by name, place or comments; a module that is imported by the bytes of its
    file; a LinearOperator by the image of one vector, to 1e-8.
    """
    return _Walk().text(content)


class _Walk:
    """The text of an item: itself if it is simple, else a digest of its parts. Parts may lead back to the item."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.path: list[int] = []
        self.kept: list[Any] = []  # so that ids stay theirs

    def text(self, item: Any) -> str:
        if isinstance(item, LEAVES):
            return f"{type(item).__name__} {item!r}"
        key = id(item)
        if key in self.path:
            return f"{len(self.path) - self.path.index(key)} levels up"
        if key not in self.texts:
            self.kept.append(item)
            self.path.append(key)
            content = "\n".join(map(self.text, _parts(item)))
            self.path.pop()
            self.texts[key] = hashlib.sha256(content.encode()).hexdigest()
        return self.texts[key]


def _parts(item: Any) -> Iterator[Any]:
    """Yield the kind of an item, and what it is made of."""
    kind = type(item)
    if isinstance(item, np.ndarray | np.generic) and item.dtype.kind in "biufcSU":
        array = np.ascontiguousarray(item)
        yield from ("array", np.shape(item), array.dtype.str, hashlib.sha256(array.tobytes()).hexdigest())
    elif sp.issparse(item):
        matrix = sp.csr_array(item)
        yield from ("sparse", matrix.shape, matrix.indptr, matrix.indices, matrix.data)
    elif isinstance(item, LowRankMatrix):
        yield from ("low rank", item.U, item.s, item.V)
    elif _is_known(item):
        package = item.__module__.partition(".")[0]
        # modules of ours may move and stay the same
        yield from ("name", package if package in OURS else item.__module__, item.__qualname__)
    elif isinstance(item, Coefficients):
        yield from ("coefficients", item.sources, item.parameters)
    elif isinstance(item, ParameterSpace):
        yield from ("parameters", item.names, item.bounds, item.scale)
        if item.distributions:  # spaces without keep the digest that they had before there were any
            yield {name: one.described() for name, one in item.distributions.items()}
    elif isinstance(item, np.ndarray):
        yield from ("objects", item.shape, *item.ravel().tolist())
    elif isinstance(item, np.dtype):
        yield from ("dtype", item.str, item.descr)
    elif isinstance(item, tuple | list):
        yield from (kind.__name__, *item)
    elif isinstance(item, Mapping):
        yield from (kind.__name__, *item.items())
    elif isinstance(item, set | frozenset):
        yield from (kind.__name__, *sorted(map(digest, item)))
    elif isinstance(item, ModuleType):
        file = None if item.__name__.partition(".")[0] in KNOWN else getattr(item, "__file__", None)
        yield from ("module", item.__name__, Path(file).read_bytes() if file else None)
    elif isinstance(item, CodeType):
        names = item.co_names, item.co_varnames, item.co_freevars, item.co_cellvars
        yield from ("code", item.co_code, item.co_consts, item.co_exceptiontable, *names)
    elif isinstance(item, FunctionType):
        yield from ("function", item.__code__, item.__defaults__, item.__kwdefaults__, *_references(item))
    elif isinstance(item, MethodType):
        yield from ("method", item.__func__, item.__self__)
    elif isinstance(item, functools.partial):
        yield from ("partial", item.func, item.args, item.keywords)
    elif isinstance(item, property | classmethod | staticmethod | functools.cached_property):
        wrapped = (getattr(item, name, None) for name in ("fget", "fset", "__func__", "func"))
        yield from (kind.__name__, *wrapped)
    elif isinstance(item, type):
        yield from ("class", item.__qualname__, item.__bases__, _own(item))
    elif isinstance(getattr(item, "py_func", None), FunctionType):  # compiled by Numba
        yield from ("compiled", item.py_func)
    elif callable(getattr(item, "matvec", None)):
        yield from ("operator", tuple(item.shape), _image(item))
    elif (settings := _settings(item)) is not None:
        if kind.__module__.startswith("rbm."):
            settings = {k: v for k, v in settings.items() if not (k in IRRELEVANT or (k in LATER and v == LATER[k]))}
        yield from ("object", kind, settings)
    else:
        _opaque[id(item)] = item
        yield from ("opaque", _process, id(item))


def _is_known(item: Any) -> bool:
    """True for a function or class of :data:`KNOWN` that can be had by its name."""
    module, name = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str) and module.partition(".")[0] in KNOWN):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is item


def _references(function: FunctionType) -> Iterator[Any]:
    """Yield what a function finds outside: the cells of its closure, and the globals that it names.

    Globals that a function inside it names count, too.
    """
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            yield "empty"
    codes = [function.__code__]
    names: set[str] = set()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    for name in sorted(names & set(function.__globals__)):
        yield from (name, function.__globals__[name])


def _own(kind: type) -> dict[str, Any]:
    """Attributes of a class that a user has written: methods and constants."""
    functions = FunctionType, property, classmethod, staticmethod
    return {
        name: value
        for name, value in sorted(vars(kind).items())
        if isinstance(value, functions)
        or not (name.startswith(("__", "_abc_")) or isinstance(value, MemberDescriptorType | GetSetDescriptorType))
    }


def _settings(item: Any) -> dict[str, Any] | None:
    """Return the attributes of an object, or None if it has memory beside them: it comes from compiled code."""
    slots: list[str] = []
    for kind in type(item).__mro__:
        own = vars(kind).get("__slots__", ())
        slots += [s for s in ([own] if isinstance(own, str) else own) if s not in ("__dict__", "__weakref__")]
    if type(item).__basicsize__ > PLAIN + POINTER * len(slots) or not (slots or hasattr(item, "__dict__")):
        return None
    return {s: getattr(item, s, None) for s in slots} | getattr(item, "__dict__", {})


def _image(operator: Any) -> np.ndarray:
    """Return A v for a fixed v as whole numbers, and their unit.

    The unit is 1e-8 times a power of two near the largest entry of A v.
    """
    image = np.asarray(operator @ np.cos(np.arange(1.0, operator.shape[1] + 1)))
    parts = np.stack([image.real, image.imag]).ravel()
    largest = np.abs(parts).max(initial=0.0)
    if not (np.isfinite(largest) and largest > 0):
        return parts
    exponent = np.floor(np.log2(largest))
    return np.append(np.rint(parts / (PROBE * 2.0**exponent)) + 0.0, exponent)
