"""Models in few bits per number against exact arithmetic: ``python -m benchmarks.truth quantized``.

Random small models of all families (:mod:`benchmarks.random_models`), real and complex, in mixed units, Galerkin and
least squares, interpolated ones too, a third of them in single precision. Each is quantised several times: the basis in
2 to 16 mean bits, rotated or not, now and then the reduced matrices too, or truncated after that; and its answers are
stored in few bits and decoded. An evaluation is one point of one of these. With the numbers S Q, W and gamma taken as
the doubles that they are, in balls of 300 bits (:mod:`benchmarks.exact`), it is wrong that

    bound < ||u - S Q W^H gamma||_P,    quantization_error < ||Z gamma - S Q W^H gamma||_P,

and that the second is more than 1e-12 ||u_N||_P too large (:data:`SLACK`). Results are kept in truth_quantized.json, a
run goes on where the last one stopped, and results of other sources than these are dropped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import flint
import numpy as np

import rbm
from benchmarks.exact import BITS, Exact, Setting
from benchmarks.harness import text_table
from benchmarks.random_models import FAMILIES, Case, dense
from benchmarks.truth_checks import _reduced
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.coded_basis import CodedBasis

__all__ = ["RESULTS", "SLACK", "Tally", "Truth", "run", "sweep"]

SEED = 2026
#: Points a model in few bits.
POINTS = 40
#: Models of a family between two writings of the results.
PIECE = 4
#: Most that the added error may be too large, of ||u_N||_P, for models of condition up to 1e6 or so.
SLACK = 1e-12
#: Smallest ||u_N||_P^2 to which that is relative: what sums lose below the range of normal numbers is charged.
TINY = 1e-300
RESULTS = Path(__file__).with_name("truth_quantized.json")
REFUSALS = (rbm.ModelError, rbm.StabilityError, rbm.EstimatorUnusable, rbm.ParameterError)


@dataclass
class Tally:
    """What is known of a family."""

    models: int = 0
    refused: int = 0  #: models, and models in few bits of the others
    evaluations: int = 0
    complex: int = 0  #: evaluations in complex numbers
    single: int = 0  #: evaluations of models in single precision
    bound: int = 0  #: bounds below the error, or not a number
    added: int = 0  #: added errors below the exact ones, or not a number
    loose: int = 0  #: added errors that are too large
    crashed: int = 0
    largest: float = 0.0  #: error / bound
    excess: float = 0.0  #: (added error - exact one) / ||u_N||_P
    reasons: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """The number of evaluations at which something is wrong."""
        return self.bound + self.added + self.loose + self.crashed


class Truth:
    """A model and its basis in few bits, in balls."""

    def __init__(self, case: Case, mus: np.ndarray, coded: CodedBasis, basis: np.ndarray) -> None:
        space = case.space()
        operators = [*case.operators, *case.left_out[0]]
        rhs = [*case.rhs, *case.left_out[1]]
        self.theta, self.phi = (Coefficients([c for c, _ in terms], space)(mus) for terms in (operators, rhs))
        columns = np.stack([dense(f) for _, f in rhs], axis=1)
        self.setting = Setting([dense(a) for _, a in operators], columns, dense(case.product))
        self.basis, self.rotation = basis, coded.rotation
        self.stored = coded.codes.to_dense().T * np.ldexp(1.0, coded.exponents.astype(int))[:, None]
        self._made: dict[tuple[bool, int], tuple[Exact, Any, Any]] = {}

    def squares(self, k: int, gamma: np.ndarray, bits: int = BITS[0]) -> tuple[flint.arb, flint.arb, flint.arb]:
        """||u - S Q d||_P^2, ||Z gamma - S Q d||_P^2 and ||Z gamma||_P^2, d = W^H gamma, at point k."""
        numbers = (self.theta, self.phi, gamma, self.basis, self.stored, self.rotation)
        exact, whole, adjoint = self._exact(self.setting.is_complex or any(map(np.iscomplexobj, numbers)), bits)
        flint.ctx.prec = bits
        column = exact.column(gamma.tolist())
        d = adjoint * column
        theta = self.theta[k].tolist()
        r = exact.residual(theta, self.phi[k].tolist(), d)
        e = r if all(bool(x == 0) for x in r.entries()) else exact.operator(theta).solve(r)
        full = whole * column
        difference = full - exact.basis * d
        return tuple(exact.square(x, exact.product) for x in (e, difference, full))  # type: ignore[return-value]

    def _exact(self, complex_valued: bool, bits: int) -> tuple[Exact, Any, Any]:
        key = complex_valued, bits
        if key not in self._made:
            exact = Exact(self.setting, self.stored, bits, complex_valued)
            units = [[-d] for d in self.setting.units()]
            adjoint = exact.adjoint(exact._matrix(self.rotation, [[0]] * len(self.rotation)))
            self._made[key] = exact, exact._matrix(self.basis, units), adjoint
        return self._made[key]

    def compare(
        self, tally: Tally, gamma: np.ndarray, bound: np.ndarray, added: np.ndarray | None, kind: bool, what: str
    ) -> None:
        """Note the bounds (M,) of coefficients (M, N), and the added errors (M,) if these are known."""
        wide = gamma.astype(np.result_type(gamma, float))
        for k in range(len(bound)):
            found = None
            for bits in BITS:
                try:
                    found = self._point(tally, k, wide[k], float(bound[k]), added, kind, bits)
                except ZeroDivisionError:  # a ball that holds a singular matrix
                    continue
                if found is not None:
                    break
            tally.evaluations += 1
            tally.complex += bool(np.iscomplexobj(wide) or np.iscomplexobj(self.basis))
            tally.single += gamma.dtype.name in ("float32", "complex64")
            for name in ["bound"] if found is None else found:
                setattr(tally, name, getattr(tally, name) + 1)
                if len(tally.examples) < 4:
                    tally.examples.append(f"{what}, point {k}: {name}")

    def _point(
        self, tally: Tally, k: int, gamma: np.ndarray, bound: float, added: np.ndarray | None, kind: bool, bits: int
    ) -> list[str] | None:
        """Names of what is wrong; None where balls leave it open."""
        error, difference, full = self.squares(k, gamma, bits)
        wrong: list[str] = []
        pairs = [("bound", error, bound)]
        if added is not None:
            pairs.append(("added", difference, float(added[k])))
        for name, square, known in pairs:
            if not np.isfinite(known):
                wrong.append(name)
                continue
            limit = flint.arb(known) * flint.arb(known)
            if not square <= limit:
                if not square > limit:
                    return None
                wrong.append(name)
        if wrong:
            return wrong
        if bound > 0:
            tally.largest = max(tally.largest, float((error.sqrt() if error > 0 else flint.arb(0)) / bound))
        if added is not None and full > TINY:
            off = flint.arb(float(added[k])) - (difference.sqrt() if difference > 0 else flint.arb(0))
            excess = float(off / full.sqrt())
            tally.excess = max(tally.excess, excess if kind else 0.0)
            if kind and excess > SLACK:
                wrong.append("loose")
        return wrong


def sweep(name: str, tally: Tally, models: int, points: int = POINTS) -> None:
    """The next models of a family, several times in few bits each."""
    for index in range(tally.models, tally.models + models):
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), index, 1])
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                case = FAMILIES[name](rng)
                _model(case, tally, rng, points, f"--family {name}, model {index}")
            except REFUSALS as error:
                _refuse(tally, error)
            except Exception as error:  # anything else is a fault: a user would see a traceback
                tally.crashed += 1
                tally.examples.append(f"--family {name}, model {index}: {type(error).__name__}: {error}"[:300])
        tally.models += 1


def _refuse(tally: Tally, error: Exception) -> None:
    tally.refused += 1
    key = f"{type(error).__name__}: {error}"[:60]
    tally.reasons[key] = tally.reasons.get(key, 0) + 1


def _model(case: Case, tally: Tally, rng: np.random.Generator, points: int, what: str) -> None:
    model = case.model()
    training = model.parameters.sample(16)
    reduced = _reduced(case, model)
    kind = bool(np.linalg.cond(reduced_product(case)) < 1e6)
    if rng.uniform() < 0.3:
        reduced = reduced.astype("float32")  # some are already
    for small, label in _few_bits(reduced, rng, training):
        mus = case.points(rng, points)
        try:
            solution = small.solve(mus, on_error="mark")
        except REFUSALS as error:
            _refuse(tally, error)
            continue
        good = np.setdiff1d(np.arange(points), solution.failed)
        assert small.coded is not None
        assert reduced.basis is not None
        truth = Truth(case, mus[good], small.coded, reduced.basis[:, : small.size])
        kept = solution[good]
        truth.compare(tally, kept.coefficients, kept.bound, kept.quantization_error, kind, f"{what}, {label}")
        if len(good) and rng.uniform() < 0.3:
            stored = int(rng.integers(10, 20))
            try:
                decoded = small.decode(small.encode(kept, stored, method="bits"))
            except REFUSALS:  # too few points for their axes
                continue
            truth.compare(tally, decoded.coefficients, decoded.bound, None, kind, f"{what}, {label}, stored {stored}")


def reduced_product(case: Case) -> np.ndarray:
    """P in units that bring its diagonal to about one."""
    product = dense(case.product)
    units = np.exp2(Setting([], product, product).units())
    return units[:, None] * product * units


def _few_bits(
    reduced: rbm.ReducedModel, rng: np.random.Generator, training: np.ndarray
) -> Iterator[tuple[rbm.ReducedModel, str]]:
    for _ in range(3):
        mean, rotate = round(float(rng.uniform(2, 16)), 2), bool(rng.uniform() < 0.7)
        bits: dict[str, Any] = {"basis": mean}
        if rng.uniform() < 0.3:
            bits["matrices"] = int(rng.integers(6, 25))
        made = reduced.quantize(bits, rotate=rotate, training=training if rng.uniform() < 0.5 else None)
        shorter = made.size > 1 and rng.uniform() < 0.3
        yield (made.truncate(made.size - 1) if shorter else made), f"{bits}, {rotate=}, {shorter=}"


def digest(name: str) -> str:
    """Of all that a result depends on: version, seed, family, and the sources of the package and of this check."""
    here = Path(__file__).parent
    found = hashlib.sha256(f"{rbm.__version__} {SEED} {POINTS} {name}".encode())
    sources = [p for package in ("rbm", "lowrank", "eim") for p in sorted((here.parent / package).rglob("*.py"))]
    for path in [here / "exact.py", Path(__file__), *sorted((here / "random_models").glob("*.py")), *sources]:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def table(tallies: dict[str, Tally], title: str) -> str:
    """The table of all families."""
    counts = ("models", "refused", "evaluations", "complex", "single", "bound", "added", "loose", "crashed")
    header = ("family", *counts, "largest error / bound", "largest excess")
    rows = [
        (name, *(str(getattr(t, c)) for c in counts), f"{t.largest:.6f}", f"{t.excess:.1e}")
        for name, t in tallies.items()
    ]
    sums = (str(sum(getattr(t, c) for t in tallies.values())) for c in counts)
    worst = [max((getattr(t, what) for t in tallies.values()), default=0.0) for what in ("largest", "excess")]
    rows.append(("all", *sums, f"{worst[0]:.6f}", f"{worst[1]:.1e}"))
    notes = [example for t in tallies.values() for example in t.examples[:3]]
    return text_table(title, header, rows, notes)


def run(options: argparse.Namespace) -> int:
    """The subcommand `quantized` of benchmarks.truth."""
    path: Path = options.results
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    names = options.family or list(FAMILIES)
    tallies = {
        name: Tally(**stored[name]["tally"]) if stored.get(name, {}).get("digest") == digest(name) else Tally()
        for name in names
    }
    share, start = options.points / len(names), time.process_time()
    while waiting := [
        n for n, t in tallies.items() if t.evaluations < share and t.models * POINTS < 4 * share + POINTS
    ]:
        name = min(waiting, key=lambda n: tallies[n].evaluations + POINTS * tallies[n].models)
        sweep(name, tallies[name], PIECE)
        stored[name] = {"digest": digest(name), "tally": asdict(tallies[name])}
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(stored, indent=1) + "\n")
        os.replace(part, path)
        if sys.stderr.isatty():
            done = sum(t.evaluations for t in tallies.values())
            print(f"\r{done} of {options.points} evaluations, {name:<40}", end="", file=sys.stderr, flush=True)
    print(table(tallies, f"Models in few bits, seed {SEED}, {time.process_time() - start:.0f} CPU s"))
    return int(any(t.failures for t in tallies.values()))
