"""Functions of kernels as syntax trees, from the files that they were imported from."""

from __future__ import annotations

import ast
import os
from collections import Counter
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

__all__ = ["definition", "remember"]

#: Size and time of the file that a function comes from, when it was imported.
_known: dict[tuple[str, CodeType], tuple[int, int] | None] = {}


def remember(function: Any) -> None:
    """Remember the state of the file from which a function is being imported: it is read when a kernel is made."""
    code = function.__code__
    _known[code.co_filename, code] = _state(code.co_filename)


def _state(filename: str) -> tuple[int, int] | None:
    try:
        found = os.stat(filename)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@cache
def _definitions(filename: str, state: tuple[int, int]) -> dict[int, ast.FunctionDef]:
    """Return the functions of a file in this state by their first lines, decorators included."""
    if _state(filename) != state:
        raise LookupError(f"{filename} is not what was imported")
    tree = ast.parse(Path(filename).read_bytes())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {min([node.lineno, *(d.lineno for d in node.decorator_list)]): node for node in found}


@cache
def definition(code: CodeType) -> tuple[ast.FunctionDef, frozenset[str], bool, bool]:
    """Return the syntax tree of a function, the names that change, whether it has loops, and whether it has one result.

    A name does not change in this sense if it is assigned to one statement after the other, outside of loops and
    choices; neither does the variable of loops. One result: `return` is the last statement, and no other one.

    Raises LookupError for a function whose source was not remembered, or has changed since then.
    """
    state = _known.get((code.co_filename, code))
    node = None if state is None else _definitions(code.co_filename, state).get(code.co_firstlineno)
    if node is None or node.name != code.co_name:
        raise LookupError(f"the source of {code.co_name} is not found")
    stores, nested = Counter(argument.arg for argument in node.args.args), Counter[str]()
    of_loops, results, loops = Counter[str](), [], False
    for statement in node.body:
        choice = not isinstance(statement, ast.Assign | ast.AugAssign)
        for n in ast.walk(statement):
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store):
                stores[n.id] += 1
                nested[n.id] += choice
            elif isinstance(n, ast.For | ast.While):
                loops = True
                of_loops[n.target.id if isinstance(n, ast.For) and isinstance(n.target, ast.Name) else ""] += 1
            elif isinstance(n, ast.Return):
                results.append(n)
    several = frozenset(name for name in nested if nested[name] and stores[name] > 1 and stores[name] != of_loops[name])
    return node, several, loops, results in ([], [node.body[-1]])
