"""Cross approximation, ID and CUR of matrices that mislead them: ``python -m \
benchmarks.low_rank_failures [--out FILE.json]``.

Spikes, sparse, identity, permutation, sign, zero-block and two-block matrices and low rank with a few entries more,
real and complex, single and double, as arrays and as functions, with every pivoting there is. A case is one
decomposition to a tolerance, and one of

* kept: the true error is within the tolerance (of full pivoting: of the largest entry)
* reported: it is not, and `error` (value and two standard errors) says so; or there was a warning
* stated: it is not, `error` does not say so, but `error_bound` does: it lives in entries that the sample did not meet
* beyond: nor that, because there are entries more than twice as large as any that was read: functions alone, and no
  sample can tell
* silent: none of these

Results are kept in FILE.json, and a run goes on where the last one stopped, unless the sources have changed.
``--index 17`` does one case and prints it. The exit status is 1 if a case is silent.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import text_table
from lowrank import cross_approximation, cur, interpolative_decomposition

__all__ = ["FAMILIES", "Case", "case_of", "main", "outcome"]

SEED = 2027
CASES = 1000
#: Cases between two writings of the results.
PIECE = 50
OUTCOMES = ("kept", "reported", "stated", "beyond", "silent")
DTYPES = (np.float64, np.complex128, np.float32, np.complex64)
#: How the matrix is given and pivots are found.
WAYS = tuple(
    [("array", p) for p in ("full", "partial", "rook")]
    + [(given, p) for given in ("functions", "rows and columns") for p in ("partial", "rook")]
)
METHODS = ("cross", "id", "cur")


@dataclass(frozen=True)
class Case:
    """A matrix, and what is asked of it."""

    family: str
    matrix: np.ndarray
    given: str
    pivoting: Any
    method: str
    rtol: float
    rng: int

    def __str__(self) -> str:
        m, n = self.matrix.shape
        return (
            f"{self.method} of {self.family} ({m} x {n}, {self.matrix.dtype}), {self.given}, {self.pivoting}, "
            f"rtol {self.rtol:.1e}, rng {self.rng}"
        )


def _gaussian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _few(rng: np.random.Generator, m: int, n: int, count: int, size: float) -> np.ndarray:
    a = np.zeros(m * n, dtype=complex)
    a[rng.choice(m * n, min(count, m * n), replace=False)] = size * _gaussian(rng, min(count, m * n))
    return a.reshape(m, n)


def _smooth(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    return np.exp(4j * np.outer(rng.random(m), rng.random(n))) / (1.2 + np.subtract.outer(rng.random(m), rng.random(n)))


def _two_blocks(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    rows, columns = int(rng.integers(1, m)), int(rng.integers(1, n))
    second = rng.choice([True, False])  # few rows, or any number of them
    rows = min(rows, 3) if second else rows
    a = np.zeros((m, n), dtype=complex)
    a[rows:, :columns] = _smooth(rng, m - rows, columns)
    a[:rows, columns:] = 10 ** rng.uniform(-1, 1) * _smooth(rng, rows, n - columns)
    return a[rng.permutation(m)]


def _zero_block(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    a = np.zeros((m, n), dtype=complex)
    rows, columns = int(rng.integers(0, m)), int(rng.integers(0, n))
    a[m - rows :, n - columns :] = _smooth(rng, rows, columns)
    return a


FAMILIES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "spikes": lambda rng, m, n: _few(rng, m, n, int(rng.integers(1, 20)), 10 ** rng.uniform(-2, 2)),
    "sparse": lambda rng, m, n: _few(rng, m, n, max(1, int(m * n * 10 ** rng.uniform(-3, -1))), 1.0),
    "identity": lambda rng, m, n: np.eye(m, n, k=int(rng.integers(-3, 4))) + 0j,
    "permutation": lambda rng, m, n: np.eye(max(m, n))[rng.permutation(max(m, n))][:m, :n] + 0j,
    "sign": lambda rng, m, n: rng.choice([-1, 1], (m, n)) + 1j * rng.choice([-1, 1], (m, n)),
    "zero block": _zero_block,
    "two blocks": _two_blocks,
    "low rank and few": lambda rng, m, n: (
        _gaussian(rng, m, 3) @ _gaussian(rng, 3, n)
        + _few(rng, m, n, int(rng.integers(1, 10)), 10 ** rng.uniform(-1, 2))
    ),
}


def case_of(index: int) -> Case:
    """Case `index`: the same one always; families, ways, types and methods take turns."""
    rng = np.random.default_rng([SEED, index])
    family = list(FAMILIES)[index % len(FAMILIES)]
    given, pivoting = WAYS[index // len(FAMILIES) % len(WAYS)]
    dtype, method = DTYPES[int(rng.integers(len(DTYPES)))], METHODS[int(rng.integers(len(METHODS)))]
    m, n = (int(k) for k in np.rint(10 ** rng.uniform(1, 2.4, 2)))
    matrix = FAMILIES[family](rng, m, n)
    return Case(
        family,
        (matrix if np.dtype(dtype).kind == "c" else matrix.real).astype(dtype),
        given,
        pivoting,
        method,
        float(10 ** rng.uniform(-4, -0.5)),
        int(rng.integers(2**31)),
    )


def outcome(case: Case) -> tuple[str, str]:
    """One of OUTCOMES, and the figures."""
    a, options = case.matrix, {"rtol": case.rtol, "pivoting": case.pivoting, "rng": case.rng}
    given: Any = a
    if case.given != "array":
        given, options["shape"] = (lambda i: a[i], lambda j: a[:, j]), a.shape
        options["entries"] = (lambda i, j: a[i, j]) if case.given == "functions" else None
    solve: Any = {"cross": cross_approximation, "id": interpolative_decomposition, "cur": cur}[case.method]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = solve(given, **options)
    wide = a.astype(complex)
    rest = wide - (wide[:, found.columns] @ found.coefficients if case.method == "id" else found.to_dense())
    size, error = float(np.linalg.norm(wide)), float(np.linalg.norm(rest))
    kept = error <= case.rtol * size
    if case.pivoting == "full":
        kept = np.abs(rest).max() <= case.rtol * (1 + 1e-3) * np.abs(wide).max()
    slack = 1 + 1e-3  # single precision
    value = found.error.value + 2 * found.error.standard_error
    text = f"{found}; true relative error {error / size if size else 0.0:.2g}"
    if kept:
        return "kept", text
    if told or error <= slack * value:
        return "reported", text
    if error <= slack * found.error_bound:
        return "stated", text
    seen = cross_approximation(given, **options).largest if case.given != "array" else np.inf
    return ("beyond" if np.abs(wide).max() > 2 * seen else "silent"), text


def digest() -> str:
    """Of the sources that a result depends on."""
    found, here = hashlib.sha256(), Path(__file__)
    for path in [here, *sorted((here.parents[1] / "lowrank").glob("*.py"))]:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def table(results: dict[str, Any]) -> str:
    """Gives the counts of each family as a table of text."""
    rows = [
        [family, *(str(counts.get(kind, 0)) for kind in OUTCOMES)] for family, counts in results["families"].items()
    ]
    total = [str(sum(c.get(kind, 0) for c in results["families"].values())) for kind in OUTCOMES]
    title = f"{results['done']:,} decompositions to a tolerance of matrices that mislead crosses"
    return text_table(title, ["family", *OUTCOMES], [*rows, ["all", *total]])


def main(arguments: list[str] | None = None) -> int:
    """Run the cases that are missing, print the table; 1 if a case is silent."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.low_rank_failures", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("low_rank_failures.json"))
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--index", type=int, help="do this case alone, and print it")
    given = parser.parse_args(arguments)
    if given.index is not None:
        print(case := case_of(given.index), *outcome(case), sep="\n")
        return 0
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    if results.get("digest") != digest():
        results = {"digest": digest(), "done": 0, "families": {f: {} for f in FAMILIES}, "examples": []}
    for index in range(results["done"], given.cases):
        case = case_of(index)
        kind, text = outcome(case)
        counts = results["families"][case.family]
        counts[kind] = counts.get(kind, 0) + 1
        if kind in ("beyond", "silent"):
            results["examples"].append(f"--index {index}: {kind}: {case}: {text}")
        results["done"] = index + 1
        if results["done"] % PIECE == 0 or results["done"] == given.cases:
            given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results), *results["examples"], sep="\n")
    return int(any(counts.get("silent") for counts in results["families"].values()))


if __name__ == "__main__":
    sys.exit(main())
