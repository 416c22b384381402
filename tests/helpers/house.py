"""The house as its imports show it.

Rooms, arrows, floors, circles. ``python tests/helpers/house.py [root]`` prints the counts of each package.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["ALLOWED", "PACKAGES", "ROOMS", "circles", "counts", "entries", "floors", "imports", "upward"]

ROOT = Path(__file__).parents[2]
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
PACKAGES = ("lowrank", "eim", "rbm", "ml", "problems")
#: The rooms of a package, lowest first: a room imports only from itself and from those before it. Those of
#: docs/rooms.md.
ROOMS = {
    "rbm": (
        *("errors", "neighbours", "estimate", "solution"),
        *("weak_greedy", "storage", "arithmetic", "online"),
        *(
            "parameters",
            "solvers",
            "workers",
            "affine",
            "stability",
            "full_order",
            "reduction",
            "estimators",
            "reduced",
            "files",
        ),
        *("project", "greedy", "time", "uses", "show", "command_line"),
    ),
    "problems": (
        *("user_input", "interval", "geometry", "reaction_diffusion", "thermal_block", "thermal_block_3d"),
        *("elastic_bracket", "thermal_fin", "thermal_fin_geometry", "convection_diffusion"),
        *("frequency_sweep", "cooling_fin", "moving_heat", "acoustics", "studies"),
    ),
    "ml": (
        *("array_files", "embeddings", "material", "albert", "quantization", "chunks", "tuning", "tasks", "language"),
        "studies",
    ),
}
#: The arrows upward that are wanted: a model writes itself to a file, which knows models.
ALLOWED = {
    ("rbm.reduced.model", "rbm.files.model_file"),
    ("rbm.reduced.partitioned", "rbm.files.partition_file"),
    ("rbm.time.reduced", "rbm.time.files"),
}


def imports(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """Of each module of a package the modules of that package that it imports, type-only and lazy imports included."""
    files = {}
    for path in sorted((root / package).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        files[name.removesuffix(".__init__")] = path
    return {name: set(_imported(name, path, files)) - {name} for name, path in files.items()}


def _imported(name: str, path: Path, files: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (full if full in files else node.module for full in inside if {full, node.module} & files.keys())
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One closed path for each circle of modules that is met.

    A door's __init__ is left out: it imports all that is behind it.
    """
    found: list[list[str]] = []
    doors = {name for name in graph if any(other.startswith(f"{name}.") for other in graph)}
    state: dict[str, int] = {}

    def walk(name: str, path: list[str]) -> None:
        state[name] = 1
        for other in sorted(graph[name] - doors):
            if (name, other) in ALLOWED:
                continue
            if state.get(other) == 1:
                found.append([*path[path.index(other) :], other])
            elif other not in state:
                walk(other, [*path, other])
        state[name] = 2

    for name in sorted(graph.keys() - doors):
        if name not in state:
            walk(name, [name])
    return found


def upward(package: str, graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows from a room to one that stands above it, or to one that is in no list."""
    order = {room: k for k, room in enumerate(ROOMS[package])}
    made = []
    for name, others in graph.items():
        for other in others:
            ours, theirs = (part.split(".")[1:2] for part in (name, other))
            if ours and theirs and ours != theirs and (name, other) not in ALLOWED:
                here, there = (order.get(room[0], len(order) - 2) for room in (ours, theirs))
                made += [(name, other)] if here < there else []
            elif ours and not theirs and ours[0] != ROOMS[package][-1]:
                made.append((name, other))  # from inside to the package's own door; the uppermost room may
    return sorted(made)


def floors(graph: dict[str, set[str]]) -> int:
    """The longest way up, in modules."""
    heights: dict[str, int] = {}

    def height(name: str, seen: frozenset[str]) -> int:
        if name not in heights:
            below = [height(other, seen | {name}) for other in graph[name] if other not in seen]
            heights[name] = 1 + max(below, default=0)
        return heights[name]

    return max(height(name, frozenset()) for name in graph)


def entries(package: str, root: Path = ROOT) -> list[str]:
    """What a visitor sees in the folder of a package."""
    return sorted(p.name for p in (root / package).iterdir() if p.name != "__pycache__" and not p.name.startswith("."))


def code_lines(path: Path) -> int:
    """Lines of a file that hold code: no blanks, comments and docstrings."""
    text = path.read_text()
    left = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = (t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in left)
    lines = {row for t in tokens for row in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def longest_function(package: str, root: Path = ROOT) -> tuple[int, str]:
    """Lines, without its docstring, of the longest function of a package, and where it is."""
    found = [(0, "")]
    for path in (root / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if ast.get_docstring(node, clean=False) is not None:
                    lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                found.append((lines, f"{path.relative_to(root)}: {node.name}"))
    return max(found)


def counts(package: str, root: Path = ROOT) -> dict[str, Any]:
    """What is counted of a package."""
    graph = imports(package, root)
    lines, where = longest_function(package, root)
    return {
        "entries": len(entries(package, root)),
        "modules": len(graph),
        "floors": floors(graph),
        "arrows": sum(map(len, graph.values())),
        "upward": len(upward(package, graph)) if package in ROOMS else 0,
        "circles": len(circles(graph)),
        "code": sum(map(code_lines, sorted((root / package).rglob("*.py")))),
        "longest": lines,
        "longest_function": where,
    }


def main(root: Path, out: Path | None) -> None:
    """Print one line for each package, and every circle; write the counts as JSON."""
    made = {package: counts(package, root) for package in PACKAGES}
    heads = [name for name in made["rbm"] if name != "longest_function"]
    print(f"{'package':10}" + "".join(f"{head:>9}" for head in heads) + "  longest function")
    for package, found in made.items():
        print(f"{package:10}" + "".join(f"{found[head]:9}" for head in heads) + f"  {found['longest_function']}")
        for path in circles(imports(package, root)):
            print("   ", " -> ".join(path))
    if out is not None:
        out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="a checkout; this one by default")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    options = parser.parse_args()
    main(options.root.resolve(), options.json)
