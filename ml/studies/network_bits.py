"""The study of bits: networks quantised with and without gamma, with even and with allocated bits, and trained."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.phases import Phases
from lowrank.quantized import Quantized
from lowrank.writing import write_atomically
from ml.quantization.allocation import allocate_weight_bits
from ml.quantization.integer_layers import run_int8
from ml.quantization.post_training import install, quantized_weight
from ml.quantization.report import decoded
from ml.quantization.running import input_squares
from ml.quantization.scheme import Scheme
from ml.quantization.sensitivity import from_changes
from ml.quantization.sites import Site, sites_of
from ml.quantization.training import fake_quantize, freeze_quantized
from ml.studies.drawing import figure
from ml.studies.subjects import SUBJECTS, Arrays, Subject, content_key, reference
from ml.tasks.classification import train

__all__ = ["CASES", "Case", "run", "table"]

#: Weights whose sensitivities are written to the file together.
KEPT = 30
#: Training with rounded weights: bits, steps of 32 sentences, rate.
TRAINED_BITS, TRAINED_STEPS, TRAINED_RATE = 3, 100, 5e-5


@dataclass(frozen=True)
class Case:
    """One way to quantise a network."""

    bits: int  #: of every weight, or in the mean
    gamma: str  #: "1", "searched" on the weights, "outputs": searched on the outputs of layers
    allocation: str = "even"  #: or a method of :func:`ml.allocate_weight_bits`
    group: int | None = None  #: numbers that share a scale; None: a row

    @property
    def name(self) -> str:
        """The name of the case in the JSON."""
        scales = f", groups of {self.group}" if self.group else ""
        return f"{self.bits} bits, gamma {self.gamma}, {self.allocation}{scales}"


#: The cases that say most come first.
CASES = (
    *(Case(b, "searched", m) for b in (3, 4, 2) for m in ("even", "greedy")),
    *(Case(b, "searched") for b in (8,)),
    *(Case(b, "1") for b in (4, 3)),
    *(Case(b, "searched", "closed") for b in (3, 4, 2)),
    *(Case(b, "searched", "variance") for b in (3, 4, 2)),
    *(Case(b, "outputs") for b in (3, 4)),
    Case(8, "1"),
)
#: Further cases of a network. A row of a language model has a few large numbers, which clipping ruins.
FURTHER = {
    "language": (
        *(Case(b, "1", method) for b in (4, 5) for method in ("greedy", "closed")),
        Case(5, "1"),
        *(Case(4, gamma, group=32) for gamma in ("1", "searched")),
    )
}


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    subjects: Sequence[str] | None = None,
    cases: Sequence[Case] = CASES,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study of bits and write summary.json and figures (png and pdf) to the folder `out`; return the summary.

    Every case is written to summary.json when it is done; run anew, the study goes on where it was, but from the start
    for a network with other weights or texts. A network whose material is missing is left out, with the line that
    brings it.

    name : "quantize"; tol : not used, must be None. Takes two hours of one core in all.
    """
    if tol is not None:
        raise ValueError(f"the study of bits has no tolerance, got tol={tol}; leave it out")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    summary.pop("time", None)  # of an earlier run
    phases = Phases()

    def keep() -> None:
        write_atomically(path, (json.dumps(summary, indent=1) + "\n").encode())

    for subject_name in subjects or SUBJECTS:
        try:
            subject = SUBJECTS[subject_name](out)
        except ImportError as error:
            say(f"{subject_name} is left out: {error}")
            continue
        say(subject.title)
        fresh = {"title": subject.title, "error": subject.error, "key": content_key(subject), "cases": {}}
        if summary.get(subject_name, fresh).get("key", fresh["key"]) != fresh["key"]:
            say(f"{subject_name}: the network or its texts are others than before, all cases begin anew")
            del summary[subject_name]
        found = summary.setdefault(subject_name, fresh)
        further = FURTHER.get(subject_name, ()) if cases is CASES else ()
        with phases(subject_name):
            for _ in _steps(subject, found, out, (*cases, *further)):
                keep()
        say(table(found))
    with phases("figures"):
        figure(summary, out)
    write_atomically(path, (json.dumps({**summary, "time": phases.rows()}, indent=1) + "\n").encode())
    say(f"where the time went\n{phases.table()}")
    return summary


def _steps(subject: Subject, found: dict[str, Any], out: Path, cases: Sequence[Case]) -> Iterator[None]:
    """Do what is left to do of a subject, and stop after each step to let it be written."""
    first = reference(subject, out)
    sites = sites_of(subject.module, subject.skip)
    originals = [site.array() for site in sites]
    quantised = _Memory(subject, sites)
    if "full" not in found:
        found["full"] = subject.compare(first, first)
        yield
    for case in cases:
        if case.name not in found["cases"]:
            key = "sensitivity" if case.gamma == "searched" else f"sensitivity, gamma {case.gamma}"
            if case.allocation != "even":
                known = found.setdefault(key, {})
                left = [site for site in sites if site.name not in known]
                for first_left in range(0, len(left), KEPT):
                    some = left[first_left : first_left + KEPT]
                    known |= {name: row.tolist() for name, row in quantised.sensitivity(case.gamma, some).items()}
                    yield
            losses = {name: np.array(row) for name, row in found.get(key, {}).items()}
            found["cases"][case.name] = _one(subject, sites, quantised, case, losses, first)
            for site, original in zip(sites, originals, strict=True):
                site.write(original)
            yield
    if subject.task is not None:
        if "trained" not in found:
            found["trained"] = _trained(subject, first)
            yield
        if "int8" not in found:
            found["int8"] = _int8(subject, sites, quantised, first)
            yield


class _Memory:
    """Codes of weights that several cases share: quantising takes longer than measuring."""

    def __init__(self, subject: Subject, sites: Sequence[Site]) -> None:
        self.subject, self.sites = subject, sites
        self.known: dict[tuple[str, int, str, int | None], Quantized] = {}
        self.squares: Mapping[str, np.ndarray] | None = None

    def codes(self, site: Site, bits: int, gamma: str, group: int | None = None) -> Quantized:
        """Return the codes of one weight; the first time the network must be as it was."""
        key = (site.name, bits, gamma, group)
        if key not in self.known:
            if gamma == "outputs" and self.squares is None:
                self.squares = input_squares(self.subject.module, self.subject.batches, self.sites)
            h = None if gamma != "outputs" or self.squares is None else self.squares.get(site.name)
            scheme = Scheme(1.0 if gamma == "1" else "search", group)
            self.known[key] = quantized_weight(site, bits, scheme, h)
        return self.known[key]

    def sensitivity(self, gamma: str, sites: Sequence[Site]) -> dict[str, np.ndarray]:
        """Return the losses of :func:`ml.sensitivity`, by the codes that the cases use."""

        def rounded(site: Site) -> list[np.ndarray]:
            return [decoded(self.codes(site, bits, gamma)) for bits in self.subject.measured]

        return from_changes(self.subject.module, self.subject.batches, sites, rounded, self.subject.loss)


def _one(
    subject: Subject, sites: Sequence[Site], memory: _Memory, case: Case, losses: dict[str, np.ndarray], first: Arrays
) -> dict[str, Any]:
    """Quantise a network, measure it, and leave it quantised."""
    bits = dict.fromkeys((site.name for site in sites), case.bits)
    if case.allocation != "even":
        method: Any = case.allocation
        measured = subject.measured
        bits = allocate_weight_bits(
            subject.module,
            case.bits,
            losses,
            measured,
            method=method,
            lo=measured[0],
            hi=measured[-1],
            skip=subject.skip,
        )
    codes = {site.name: memory.codes(site, bits[site.name], case.gamma, case.group) for site in sites}
    report = install(subject.module, sites, codes)
    figures = subject.compare(subject.answer(), first)
    return {"saved": report.saved, "nbytes": report.nbytes, "mean_bits": report.mean_bits, "bits": bits, **figures}


def _trained(subject: Subject, first: Arrays) -> dict[str, Any]:
    """Train a copy of the network with rounded weights and measure it, frozen."""
    if subject.task is None:
        return {}
    start = time.process_time()
    network = copy.deepcopy(subject.module)
    fake_quantize(network, TRAINED_BITS, skip=subject.skip)
    losses = train(network, subject.task, steps=TRAINED_STEPS, learning_rate=TRAINED_RATE, rng=1)
    report = freeze_quantized(network)
    seconds = time.process_time() - start
    return {
        "bits": TRAINED_BITS, "steps": TRAINED_STEPS, "cpu_seconds": seconds, "saved": report.saved,
        "loss_first": float(np.mean(losses[:20])), "loss_last": float(np.mean(losses[-20:])),
        **subject.compare(_answers_of(subject, network), first),
    }  # fmt: skip


def _answers_of(subject: Subject, network: Any) -> Arrays:
    """Return the answers of another network of the same architecture."""
    own = {k: v.clone() for k, v in subject.module.state_dict().items()}
    subject.module.load_state_dict(network.state_dict())
    try:
        return subject.answer()
    finally:
        subject.module.load_state_dict(own)


def _int8(subject: Subject, sites: Sequence[Site], memory: _Memory, first: Arrays) -> dict[str, Any]:
    """Run the network of 8 bits with PyTorch's kernels, and measure answers and seconds; the last step of a subject."""
    codes = {site.name: memory.codes(site, 8, "searched") for site in sites}
    report = install(subject.module, sites, codes)
    start = time.process_time()
    before = subject.answer()
    middle = time.process_time()
    layers = run_int8(subject.module, report, subject.batches)
    begin = time.process_time()
    after = subject.answer()
    end = time.process_time()
    return {
        "cpu_seconds_single": middle - start, "cpu_seconds_int8": end - begin, "saved_bytes": layers.saved_bytes,
        "faster": sum(x.what == "faster" for x in layers.layers),
        "memory_only": sum(x.what == "memory only" for x in layers.layers), "table": layers.table().splitlines(),
        "by_8_bits": subject.compare(before, first), **subject.compare(after, first),
    }  # fmt: skip


def table(found: Mapping[str, Any]) -> str:
    """Return a plain-text table of one network."""
    names = [key for key in found["full"] if not key.endswith("_se")]
    width = max([24, *map(len, found["cases"])])
    lines = [f"{'':{width}} {'smaller':>8} {'bits':>5}" + "".join(f"{name:>24}" for name in names)]
    rows: dict[str, Mapping[str, Any]] = {"full precision": found["full"], **found["cases"]}
    for key in ("trained", "int8"):
        if key in found:
            rows[key] = found[key]
    for key, row in rows.items():
        saved = f"{row['saved']:.1%}" if "saved" in row else ""
        mean = f"{row['mean_bits']:.2f}" if "mean_bits" in row else ""
        lines.append(f"{key:{width}} {saved:>8} {mean:>5}" + "".join(f"{_with_error(row, n):>24}" for n in names))
    return "\n".join(lines)


def _with_error(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return ""
    return f"{row[name]:.4f}" + (f" +- {row[name + '_se']:.4f}" if f"{name}_se" in row else "")
