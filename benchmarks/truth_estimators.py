"""E3 and E4 on training sets of any kind, against exact residual norms: ``python -m benchmarks.truth estimators``.

Random models (:mod:`benchmarks.random_models.training`): real and complex, Galerkin and least squares, one to three
parameters, double and single precision. An evaluation is one estimate of one estimator at one parameter point that no
training set has seen, by :meth:`rbm.ReducedModel.solve`, compared with the exact residual norm of the same reduced
solution in ball arithmetic (:mod:`benchmarks.exact`). Of a *resolved* estimate it is wrong that |value - exact| >
floor, or that value + floor < exact. Estimators that are refused (EstimatorUnusable) give no evaluations; they are
counted, and so are the bounds of estimates that are not resolved and are below.

Results are kept in truth_estimators.json and a run goes on where the last one stopped; results of other sources than
these are dropped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import flint
import numpy as np

import rbm
from benchmarks.exact import BITS, Exact
from benchmarks.harness import text_table
from benchmarks.random_models import Case
from benchmarks.random_models.training import TRAINING, estimator_case, unseen

__all__ = ["ALLOWED", "Tally", "sweep"]

SEED = 2026
#: Unseen points a model.
POINTS = 50
#: Models between two writings of the results.
PIECE = 10
#: Wrong ones of the resolved ones must be fewer.
ALLOWED = 1e-4
RESULTS = Path(__file__).with_name("truth_estimators.json")
METHODS = {"E3": "sampled", "E4": "interpolated"}
REFUSALS = (rbm.ModelError, rbm.StabilityError, rbm.EstimatorUnusable, rbm.ParameterError)


@dataclass
class Tally:
    """What is known of one kind of training set and one estimator."""

    prepared: int = 0  #: estimators asked for
    refused: int = 0  #: of these
    evaluations: int = 0
    resolved: int = 0
    wrong: int = 0  #: of the resolved ones
    below: int = 0  #: bounds below the exact value, resolved or not
    worst: float = 0.0  #: largest |value - exact| / floor of the resolved ones
    reasons: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def refuse(self, reason: str) -> None:
        """One that was refused."""
        self.refused += 1
        key = next(
            (k for k in ("too few", "does not represent", "singular", "ill-conditioned") if k in reason), reason[:80]
        )
        self.reasons[key] = self.reasons.get(key, 0) + 1

    def add(self, estimate: rbm.Estimate, exact: np.ndarray, what: str) -> None:
        """Evaluations against exact values (M,)."""
        off, resolved = np.abs(estimate.value - exact), estimate.resolved
        # exact values are rounded to doubles here: 4 u of them is not a fault
        slack = 2.0**-51 * exact
        below = ~(estimate.bound >= exact - slack)
        wrong = resolved & (below | ~(off <= estimate.floor + slack))
        self.evaluations += len(exact)
        self.resolved += int(resolved.sum())
        self.wrong += int(wrong.sum())
        self.below += int(below.sum())
        if np.any(resolved):
            ratio = off[resolved] / np.where(estimate.floor > 0, estimate.floor, 1.0)[resolved]
            self.worst = max(self.worst, float(ratio.max()))
        if (np.any(wrong) or np.any(below)) and len(self.examples) < 4:
            self.examples.append(f"{what}: {int(wrong.sum())} wrong, {int(below.sum())} below, of {len(exact)}")


Tallies = dict[str, Tally]


def sweep(tallies: Tallies, index: int) -> None:
    """Model `index`: all kinds of training sets, both estimators, both precisions; the same ones always."""
    rng = np.random.default_rng([SEED, index])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        case, space = estimator_case(rng)
        model = rbm.FullOrderModel(case.operators, case.rhs, case.product, space, 1.0, projection=case.projection)  # type: ignore[arg-type]
        try:
            basis = case.basis if case.basis is not None else model.solve(case.snapshots).T
            plain = rbm.project(model, basis)
        except REFUSALS:  # solutions that are the same, as where all parameters are fixed
            return
        mus = unseen(space, rng, POINTS, case.snapshots)  # the residual is small near snapshots
        known: dict[str, np.ndarray] = {}
        for kind, make in TRAINING.items():
            training = make(space, rng)
            for key, reduced in _prepared(tallies, kind, model, plain, training):
                dtype = str(reduced.dtype)
                solution = reduced.solve(mus, method=reduced.method, on_error="mark")
                good = np.setdiff1d(np.arange(len(mus)), solution.failed)
                if dtype not in known:
                    known[dtype] = exact_norms(case, reduced, mus, solution.coefficients, good)
                assert solution.estimate is not None
                tallies[key].add(solution.estimate[good], known[dtype][good], f"model {index}")


def _prepared(
    tallies: Tallies, kind: str, model: rbm.FullOrderModel, plain: rbm.ReducedModel, training: np.ndarray
) -> Iterator[tuple[str, rbm.ReducedModel]]:
    """Reduced models with one estimator each, and the key of their tally.

    Each that is not refused, in double and in single precision.
    """
    for alias, method in METHODS.items():
        keys = f"{kind}/{alias}", f"{kind}/{alias} float32"
        for key in keys:
            tallies.setdefault(key, Tally()).prepared += 1
        try:
            made = rbm.project(model, plain.basis, (method,), training)
        except rbm.EstimatorUnusable as error:
            for key in keys:
                tallies[key].refuse(str(error))
            continue
        yield keys[0], made
        try:
            single = made.astype("float32")
        except (rbm.EstimatorUnusable, rbm.ModelError) as error:
            tallies[keys[1]].refuse(str(error))
            continue
        yield keys[1], single


def exact_norms(
    case: Case, reduced: rbm.ReducedModel, mus: np.ndarray, gamma: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """||f - A Z gamma||_{P^-1} (M,) in ball arithmetic, rounded to doubles at the end; NaN but in `rows`."""
    theta, phi = reduced.operator_coefficients(mus), reduced.rhs_coefficients(mus)
    setting, basis = case.setting(), reduced.basis
    assert basis is not None
    complex_valued = setting.is_complex or any(np.iscomplexobj(x) for x in (theta, phi, gamma, basis))
    wide = gamma.astype(np.result_type(gamma, np.float64))
    exact = Exact(setting, basis, BITS[0], complex_valued)
    flint.ctx.prec = BITS[0]
    norms = np.full(len(mus), np.nan)
    for k in rows:
        r = exact.residual(theta[k].tolist(), phi[k].tolist(), exact.column(wide[k].tolist()))
        square = exact.square(r, exact.inverse)
        norms[k] = float(square.sqrt()) if square > 0 else 0.0
    return norms


def digest() -> str:
    """Of all that a result depends on: version, seed, and the sources of the package and of this check."""
    here = Path(__file__).parent
    found = hashlib.sha256(f"{rbm.__version__} {SEED} {POINTS}".encode())
    sources = [p for package in ("rbm", "lowrank", "eim") for p in sorted((here.parent / package).rglob("*.py"))]
    mine = [
        here / "exact.py",
        Path(__file__),
        *(here / "random_models" / f"{n}.py" for n in ("case", "kit", "training")),
    ]
    for path in [*mine, *sources]:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def evaluations(tallies: Tallies) -> int:
    """Of all tallies together."""
    return sum(t.evaluations for t in tallies.values())


def table(tallies: Tallies, title: str) -> str:
    """Training kind x estimator, and all together."""
    header = (
        "training set",
        "estimator",
        "prepared",
        "refused",
        "evaluations",
        "resolved",
        "wrong",
        "bounds below",
        "largest |value - exact| / floor",
    )
    rows, notes = [], []
    for key, t in tallies.items():
        kind, alias = key.split("/")
        rows.append(
            (
                kind,
                alias,
                str(t.prepared),
                f"{t.refused / max(t.prepared, 1):.0%}",
                str(t.evaluations),
                str(t.resolved),
                str(t.wrong),
                str(t.below),
                f"{t.worst:.2g}",
            )
        )
        notes += [f"{key}: {example}" for example in t.examples]
    prepared, refused, wrong, below, resolved = (
        sum(getattr(t, name) for t in tallies.values())
        for name in ("prepared", "refused", "wrong", "below", "resolved")
    )
    worst = max((t.worst for t in tallies.values()), default=0.0)
    rows.append(
        (
            "all",
            "",
            str(prepared),
            f"{refused / max(prepared, 1):.0%}",
            str(evaluations(tallies)),
            str(resolved),
            str(wrong),
            str(below),
            f"{worst:.2g}",
        )
    )
    reasons: dict[str, int] = {}
    for t in tallies.values():
        for reason, count in t.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    notes.append("refused: " + ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())))
    return text_table(title, header, rows, notes)


def run(options: argparse.Namespace) -> int:
    """The subcommand `estimators` of benchmarks.truth."""
    path: Path = options.results
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("digest") != digest():
        stored = {"digest": digest(), "models": 0, "tallies": {}}
    tallies = {key: Tally(**value) for key, value in stored["tallies"].items()}
    start, models = time.process_time(), int(stored["models"])
    while evaluations(tallies) < options.evaluations:
        for index in range(models, models + PIECE):
            sweep(tallies, index)
        models += PIECE
        part = path.with_name(path.name + ".part")
        part.write_text(
            json.dumps(
                {"digest": digest(), "models": models, "tallies": {k: asdict(t) for k, t in tallies.items()}}, indent=1
            )
            + "\n"
        )
        os.replace(part, path)
        if sys.stderr.isatty():
            print(f"\r{evaluations(tallies)} of {options.evaluations} evaluations", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(
        table(
            tallies,
            f"E3 and E4 at unseen points, {models} models, seed {SEED}, {time.process_time() - start:.0f} CPU s",
        )
    )
    wrong, resolved = (sum(getattr(t, name) for t in tallies.values()) for name in ("wrong", "resolved"))
    print(f"wrong among resolved: {wrong} of {resolved}; fewer than {ALLOWED:g} of them allowed")
    return int(wrong >= ALLOWED * max(resolved, 1))
