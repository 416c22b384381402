"""Bounds against exact arithmetic over random small models.

``python -m benchmarks.truth [bounds] [--points N] [--family X]``

A point is a parameter point of a model at which the error bound and all output bounds were compared with the exact
values, and with them the residual norms of E1 and E_onb (bound >= exact, |value - exact| <= floor) and the stability
constant. A bound below the exact value, one that is NaN or infinite, and an error that is none of the package's own are
violations; a refusal is not, but for models that are kind (condition up to 1e8, units of any size).

Results are kept in truth.json, family by family, and a run goes on where the last one stopped; results of other sources
than these are dropped. ``--family X --index 17`` does one model again and prints it.

``python -m benchmarks.truth estimators [--evaluations N]``: E3 and E4 on training sets of any kind
(:mod:`benchmarks.truth_estimators`). ``python -m benchmarks.truth quantized``: models in few bits per number
(:mod:`benchmarks.truth_quantized`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks import truth_estimators, truth_quantized
from benchmarks.harness import text_table
from benchmarks.random_models import FAMILIES, Case
from benchmarks.truth_checks import Outcome, check

__all__ = ["Tally", "case_of", "main", "sweep"]

SEED = 2026
#: Parameter points a model.
POINTS = 200
#: Models between two writings of the results.
PIECE = 10
RESULTS = Path(__file__).with_name("truth.json")


@dataclass
class Tally:
    """What is known of a family."""

    models: int = 0
    points: int = 0
    refused: int = 0  #: models
    refused_points: int = 0
    unevaluated: int = 0  #: models of which E1 or E_onb refused residual norms, while the other answered
    refused_kind: int = 0  #: kind models of which something was refused
    crashed: int = 0  #: models with an error that is none of the package's own
    violations: int = 0  #: points
    kinds: dict[str, int] = field(default_factory=dict)  #: violations by quantity
    worst: dict[str, float] = field(default_factory=dict)  #: largest exact / bound by quantity
    effectivities: dict[str, int] = field(default_factory=dict)  #: counts of floor(100 log10(bound / error))
    reasons: dict[str, int] = field(default_factory=dict)  #: of refusals and crashes
    examples: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """Violations, crashes and refusals of kind models."""
        return self.violations + self.crashed + self.refused_kind

    def add(self, name: str, index: int, case: Case, outcome: Outcome) -> None:
        """Adds what the check of one more model found."""
        self.models += 1
        self.points += outcome.points
        self.refused += bool(outcome.refused)
        self.refused_points += outcome.refused_points
        self.unevaluated += bool(outcome.unevaluated)
        refused_kind = case.kind and bool(outcome.refused or outcome.refused_points or outcome.unevaluated)
        self.refused_kind += refused_kind
        self.crashed += bool(outcome.crashed)
        self.violations += outcome.violations
        for kind, count in outcome.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        for kind, ratio in outcome.worst.items():
            self.worst[kind] = max(self.worst.get(kind, 0.0), min(ratio, 1e308))
        for value in outcome.effectivities:
            bucket = str(math.floor(100 * math.log10(value)) if 0 < value < math.inf else 10**6)
            self.effectivities[bucket] = self.effectivities.get(bucket, 0) + 1
        if reason := (outcome.crashed or outcome.refused or outcome.unevaluated)[:100]:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if (outcome.violations or outcome.crashed or refused_kind) and len(self.examples) < 5:
            what = (
                outcome.crashed
                or outcome.refused
                or "; ".join(outcome.examples)
                or outcome.unevaluated
                or "points refused"
            )
            self.examples.append(f"--family {name} --index {index}: {what[:300]}")

    @property
    def largest(self) -> float:
        """Largest exact / bound of all quantities."""
        return max(self.worst.values(), default=0.0)

    @property
    def median_effectivity(self) -> float:
        """Median of bound / error, to 2 %."""
        counts = Counter({int(k): v for k, v in self.effectivities.items()})
        half, seen = sum(counts.values()) / 2, 0
        for bucket in sorted(counts):
            seen += counts[bucket]
            if seen >= half:
                return 10 ** ((bucket + 0.5) / 100) if bucket < 10**6 else math.inf
        return math.nan


def case_of(name: str, index: int) -> tuple[Case, np.random.Generator]:
    """Model `index` of a family, and the generator that then draws its points: the same ones always."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), index])
    return FAMILIES[name](rng), rng


def sweep(name: str, tally: Tally, models: int, count: int = POINTS) -> None:
    """The next models of a family, `count` points each."""
    for index in range(tally.models, tally.models + models):
        case, rng = case_of(name, index)
        tally.add(name, index, case, check(case, rng, count))


def digest(name: str) -> str:
    """Of all that a result depends on: version, seed, family, and the sources of the package and of this check."""
    here = Path(__file__).parent
    found = hashlib.sha256(f"{rbm.__version__} {SEED} {POINTS} {name}".encode())
    sources = [p for package in ("rbm", "lowrank", "eim") for p in sorted((here.parent / package).rglob("*.py"))]
    for path in [here / "exact.py", here / "truth_checks.py", *sorted((here / "random_models").glob("*.py")), *sources]:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def read(path: Path) -> dict[str, Any]:
    """Gives the results so far, from the file if it is there."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(part, path)


def table(tallies: dict[str, Tally], title: str) -> str:
    """The table of all families."""
    header = (
        "family",
        "models",
        "points",
        "refused",
        "points refused",
        "violations",
        "largest exact / bound",
        "median bound / error",
    )
    rows = [
        (
            n,
            str(t.models),
            str(t.points),
            f"{t.refused / max(t.models, 1):.0%}",
            str(t.refused_points),
            str(t.failures),
            _ratio(t.largest),
            f"{t.median_effectivity:.3g}",
        )
        for n, t in tallies.items()
    ]
    sums = [
        sum(getattr(t, what) for t in tallies.values())
        for what in ("models", "points", "refused", "refused_points", "failures")
    ]
    largest = max((t.largest for t in tallies.values()), default=0.0)
    rows.append(
        (
            "all",
            str(sums[0]),
            str(sums[1]),
            f"{sums[2] / max(sums[0], 1):.0%}",
            str(sums[3]),
            str(sums[4]),
            _ratio(largest),
            "",
        )
    )
    notes = []
    for name, t in tallies.items():
        if t.failures:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(t.kinds.items(), key=lambda x: -x[1]))
            notes.append(f"{name}: {kinds}; {t.crashed} crashed, {t.refused_kind} kind models refused")
            notes += [f"  {example}" for example in t.examples[:2]]
        if t.unevaluated:
            notes.append(f"{name}: {t.unevaluated} models of which one of E1 and E_onb refused residual norms")
        if t.models and t.refused == t.models:
            notes.append(f"{name}: ALL models were refused")
    return text_table(title, header, rows, notes)


def _ratio(x: float) -> str:
    """Digits enough to see which side of 1 it is on."""
    return f"1 + {x - 1:.1e}" if 1 < x < 1.01 else f"1 - {1 - x:.1e}" if 0.99 < x <= 1 else f"{x:.3g}"


def bounds(options: argparse.Namespace) -> int:
    """The sweep over all families, or the ones that are named."""
    names = options.family or list(FAMILIES)
    if unknown := [name for name in names if name not in FAMILIES]:
        print(f"there is no family {unknown[0]!r}; there are {', '.join(FAMILIES)}", file=sys.stderr)
        return 2
    if options.index is not None:
        return replay(names[0], options.index)
    stored = read(options.results)
    entries = stored.get("bounds", {})
    tallies: dict[str, Tally] = {}
    for name in names:
        entry = entries.get(name, {})
        tallies[name] = Tally(**entry["tally"]) if entry.get("digest") == digest(name) else Tally()
    share, start = options.points / len(names), time.process_time()
    while waiting := [n for n, t in tallies.items() if t.points < share and t.models * POINTS < 4 * share + POINTS]:
        name = min(waiting, key=lambda n: tallies[n].models)
        sweep(name, tallies[name], PIECE)
        entries[name] = {"digest": digest(name), "tally": asdict(tallies[name])}
        write(options.results, {**stored, "bounds": entries})
        points, failures = (sum(getattr(t, w) for t in tallies.values()) for w in ("points", "failures"))
        line = (
            f"{points} of {options.points} points, {failures} violations, "
            f"{time.process_time() - start:.0f} CPU s, {name}"
        )
        if sys.stderr.isatty():
            print(f"\r{line:<100}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(table(tallies, f"Bounds against exact values, seed {SEED}, {time.process_time() - start:.0f} CPU s"))
    return int(any(t.failures for t in tallies.values()))


def replay(name: str, index: int) -> int:
    """One model again, with all that is known of it."""
    case, rng = case_of(name, index)
    for what, value in vars(case).items():
        print(f"{what} = {value!r}")
    outcome = check(case, rng, POINTS)
    for what, value in vars(outcome).items():
        print(f"{what}: {np.median(value) if what == 'effectivities' and value else value}")
    return int(bool(outcome.violations or outcome.crashed))


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.truth``; the subcommand `bounds` is the default."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["files"]:
        from benchmarks import truth_files

        return truth_files.main(given[1:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description="Bounds against exact arithmetic.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("bounds", help="error bounds, output bounds, stability constants (default)")
    command.add_argument("--points", type=int, default=1_000_000, help="in all families together")
    command.add_argument("--family", action="append", help="only this one; may be repeated")
    command.add_argument("--index", type=int, help="one model of the family, printed")
    command.add_argument("--results", type=Path, default=RESULTS, help="where results are kept")
    command.set_defaults(run=bounds)
    command = commands.add_parser(
        "estimators", help="E3 and E4 on training sets of any kind, against exact residual norms"
    )
    command.add_argument("--evaluations", type=int, default=100_000, help="in all kinds of training sets together")
    command.add_argument("--results", type=Path, default=truth_estimators.RESULTS, help="where results are kept")
    command.set_defaults(run=truth_estimators.run)
    command = commands.add_parser("quantized", help="models in few bits per number, against exact errors")
    command.add_argument("--points", type=int, default=100_000, help="in all families together")
    command.add_argument("--family", action="append", help="only this one; may be repeated")
    command.add_argument("--results", type=Path, default=truth_quantized.RESULTS, help="where results are kept")
    command.set_defaults(run=truth_quantized.run)
    if not given or given[0] not in {*commands.choices, "-h", "--help"}:
        given.insert(0, "bounds")
    options = parser.parse_args(given)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
