"""Public names, and what their docstrings must have: a mechanical rule.

- What takes, holds or returns arrays says a shape, like (M, p) or (n,); a public function names each such argument.
- What raises, in its own body or in functions of its own file that it calls, names an error (or "Raises").
- What does something that a paper describes (PUBLISHED) names the source; all others are listed as ours (OWN), so that
  a new name needs a decision.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["ROOMS", "documented", "lacks", "public", "with_methods"]

#: The packages, and the rooms of rbm that users import from.
ROOMS = (
    "rbm", "rbm.show", "rbm.stability", "rbm.estimators", "rbm.solvers", "rbm.uses", "lowrank", "eim", "problems", "ml",
)  # fmt: skip
ARRAYS = re.compile(r"ndarray|ArrayLike|Array\b|csr_array|Tensor\b")
_SIZE = r"(?:[\w'*]+(?: ?[-+*/ ] ?[\w'*]+)*|\.\.\.)"
SHAPE = re.compile(
    rf"\({_SIZE}(?:, ?{_SIZE})*,\)|\({_SIZE}(?:, ?{_SIZE})+\)|of shape \(\)|\({_SIZE}, {_SIZE} \({_SIZE}\)\)"
)
#: Words with one meaning and one shape, which the glossary has: (M, p), (M, Qa), (M, Qf), (M, N).
WORDS = frozenset({"mus", "theta", "phi", "gamma"})
#: Arguments without an annotation of their own (Any) that are arrays all the same.
CALLED = frozenset({
    "mus", "training", "basis", "snapshots", "modes", "vectors", "points", "x", "gamma", "matrix", "coefficients",
    "values", "rhs", "frequencies", "weights",
})  # fmt: skip
ERRORS = re.compile(r"\b[A-Z]\w*(?:Error|Unusable|Lost)\b|\bInterrupted\b|\b[Rr]aises?\b")
SOURCE = re.compile(r"\bSources?:?\s|arXiv|doi|\b(?:19|20)\d\d\)|\(\d\d(?:19|20)\d\d\)")


def public() -> Iterator[tuple[str, Any]]:
    """Yield (name, thing) of all entries of `__all__`, each thing once, under its first name."""
    seen: list[Any] = []
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            thing = getattr(module, name)
            if not any(thing is other for other in seen):
                seen.append(thing)
                yield f"{room}.{name}", thing


def documented(pages: str) -> list[Any]:
    """Return the things that the directives of the reference name; of an automodule with members all its `__all__`."""
    things: list[Any] = []
    for directive, name, options in re.findall(r"^\.\. auto(\w+):: ([\w.]+)\n((?: {4}:.*\n?)*)", pages, re.M):
        if directive == "module":
            module = importlib.import_module(name)
            things.append(module)
            if ":members:" in options:
                things += [getattr(module, entry) for entry in module.__all__ if _is_shown(module, entry, options)]
        else:
            room, _, last = name.rpartition(".")
            things.append(getattr(importlib.import_module(room), last))
    return things


def _is_shown(module: ModuleType, name: str, options: str) -> bool:
    """Say whether autodoc shows a member: what is imported only if it is told to."""
    thing = getattr(module, name)
    return ":imported-members:" in options or getattr(thing, "__module__", module.__name__) == module.__name__


def with_methods(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield a public name and, of a class, its public methods and properties, those of our parents included."""
    yield name, thing
    seen: set[str] = set()
    for cls in getattr(thing, "__mro__", ()) if inspect.isclass(thing) else ():
        if cls.__module__.partition(".")[0] in {room.partition(".")[0] for room in ROOMS}:
            for key, value in vars(cls).items():
                function = _function(value)
                if function is not None and not key.startswith("_") and key not in seen:
                    yield f"{name}.{key}", function
                seen.add(key)


def _function(value: Any) -> Any:
    """Return the function behind a method or property, as it was written; None for what is none."""
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    return inspect.unwrap(value) if inspect.isfunction(value) else None


def lacks(name: str, thing: Any, published: frozenset[str], *, method: bool = False) -> list[str]:
    """Return what the documentation of a public name, or of a method, is without; nothing for modules and tables."""
    if inspect.ismodule(thing) or not callable(thing):
        return []
    text = inspect.getdoc(thing) or ""
    if inspect.isclass(thing):
        text += "\n" + _attribute_comments(thing)
    without = [] if len(text) > 12 else ["a docstring"]
    arrays = _arrays(thing)
    if [a for a in arrays if a not in WORDS] and not SHAPE.search(text):
        without.append(f"shapes, of {', '.join(arrays)}")
    named = [] if method or inspect.isclass(thing) else [a for a in arrays if a not in {"return", *WORDS}]
    if unnamed := [a for a in named if not re.search(rf"\b{a}\b", text)]:
        without.append(f"its argument {', '.join(unnamed)}")
    if _raises(thing) and not ERRORS.search(text):
        without.append("errors")
    if name in published and not SOURCE.search(text + (inspect.getmodule(thing).__doc__ or "")):
        without.append("a source")
    return without


def _arrays(thing: Any) -> list[str]:
    """Return the arguments, fields and results that are arrays by their annotations, or by their names."""
    annotations = dict(getattr(thing, "__annotations__", {}))
    if inspect.isclass(thing) and not dataclasses.is_dataclass(thing) and issubclass(thing, tuple | BaseException):
        annotations = {}
    found = [a for a, kind in annotations.items() if ARRAYS.search(str(kind)) and not a.startswith("_")]
    if inspect.isfunction(thing):
        found += [a for a, kind in annotations.items() if a in CALLED and "Any" in str(kind) and a not in found]
    return found


def _attribute_comments(cls: type) -> str:
    """Return the comments `#:` of the fields of a class and of those it inherits from."""
    comments = []
    for parent in cls.__mro__:
        try:
            source = inspect.getsource(parent)
        except (OSError, TypeError):
            continue
        comments += re.findall(r"#: ?(.*)", source)
    return "\n".join(comments)


def _raises(thing: Any) -> bool:
    """Say whether a function, or making an object, raises: in its body or in functions of its file that it calls."""
    module = inspect.getmodule(thing)
    try:
        functions = {n.name: n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.FunctionDef)}
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return False
    body: list[ast.AST] = list(tree.body)
    if inspect.isclass(thing):
        made = ("__init__", "__post_init__", "__new__", "bind")
        body = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in made]
    seen: set[str] = set()
    while body:
        for node in ast.walk(body.pop()):
            if isinstance(node, ast.Raise):
                return True
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in functions.keys() - seen:
                seen.add(called.id)
                body.append(functions[called.id])
    return False
