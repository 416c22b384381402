"""What ``rbm info`` says of a model: sections of labelled texts and tables, and the same as values for JSON.

A section is {label: text} for people; values are what --json prints. time_info.py says what is different in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rbm.estimators import Sketched
from rbm.reduced.model import ReducedModel
from rbm.reduced.outputs import ReducedOutput
from rbm.reduced.partitioned import PartitionedModel
from rbm.reduced.primal_dual import ReducedPrimalDual
from rbm.reduced.record import Record
from rbm.stability.evidence import EVIDENCE, KINDS

__all__ = [
    "NOT_STORED",
    "Facts",
    "coverage",
    "history_of",
    "made",
    "of_model",
    "of_partition",
    "of_record",
    "space_table",
    "stability_said",
]

NOT_STORED = "not stored"
#: Digits of a fingerprint that people compare; JSON has all.
SHOWN = 16


@dataclass
class Facts:
    """What is known of a file, in the order in which it is said."""

    #: {heading: rows of (label, text), or a table (headings, rows, most rows)}
    sections: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)  #: for JSON

    def say(self, heading: str, rows: Sequence[tuple[str, str]]) -> None:
        """Add labelled texts to a section."""
        self.sections.setdefault(heading, []).extend(rows)

    def show(self, heading: str, headings: Sequence[str], rows: Sequence[Sequence[str]], most: int = 100) -> None:
        """Add a table, of which at most so many rows are shown."""
        self.sections[heading] = (headings, rows, most)


#: Rows of a long table that are shown; it is thinned.
MOST_ROWS = 16
#: How the outputs of each kind are bounded.
BOUNDED = {
    "linear": "the norm of the functional times the error bound of the solution",
    "linear rows": "the norm of each functional times the error bound of the solution",
    "quadratic": "the norm of the form times the error bound and twice the norm of the solution",
    "compliant": "beta times the square of the error bound of the solution, as it is the right-hand side itself",
}
#: Estimators whose values are no bounds.
ESTIMATES = ("sampled", "interpolated")


def of_model(model: ReducedModel) -> Facts:
    """Return what is known of a reduced model."""
    facts = Facts()
    made(facts, model.record)
    _system(facts, model, f"N = {model.size}", {"basis_size": model.size})
    space_table(facts, model)
    _bounds(facts, model)
    _outputs(facts, model)
    of_record(facts, model.record, model.parameters.names)
    return facts


def _outputs(facts: Facts, model: ReducedModel) -> None:
    """Say of each output what it is, how it is bounded, and in which unit it comes."""
    for name, output in model.outputs.items():
        facts.say("outputs", [(name, _about(output))])
    _units(facts, model)
    facts.values["outputs"] = {name: output.kind for name, output in model.outputs.items()}


def of_partition(model: PartitionedModel) -> Facts:
    """Return what is known of a partitioned model: of its first leaf what all share, and a table of leaves."""
    facts, first = Facts(), model.leaves[0]
    made(facts, model.record or first.record)
    sizes = [leaf.size for leaf in model.leaves]
    whole = f"{len(sizes)} leaves, N = {min(sizes)} to {max(sizes)}"
    _system(facts, first, whole, {"basis_size": max(sizes), "basis_sizes": sizes})
    space_table(facts, model)
    _bounds(facts, first)
    _outputs(facts, first)
    rows, boxes = [], []
    for k, (leaf, box) in enumerate(zip(model.leaves, model.boxes, strict=True)):
        sides = dict(zip(model.parameters.names, box.tolist(), strict=True))
        bounds = None if leaf.record is None or leaf.record.history is None else leaf.record.history[:, 1]
        last = "-" if bounds is None or not len(bounds) else f"{bounds[-1]:.2e}"
        text = ", ".join(f"{name} in [{a:g}, {b:g}]" for name, (a, b) in sides.items())
        rows.append([str(k), str(leaf.size), last, text])
        run = _run_values(leaf.record, model.parameters.names)
        boxes.append({"basis_size": leaf.size, "box": sides, **run})
    known = next((leaf.record for leaf in model.leaves if leaf.record and leaf.record.changed), model.record)
    facts.show(_of_before("leaves", known), ["leaf", "N", "largest bound", "box"], rows, MOST_ROWS)
    facts.values["leaves"] = boxes
    if model.record is None:  # older files know the runs of their leaves, at most
        facts.say("greedy", [("stopped by", NOT_STORED)])
    else:
        of_record(facts, model.record, model.parameters.names)
        facts.say("greedy", [("resolved", "summed over leaves, which share some training points")])
    return facts


def made(facts: Facts, record: Record | None, header: dict[str, Any] | None = None) -> None:
    """Say when and with what a file was made, from the record of a model or the header of a run's file."""
    known = (header or {}).get("record") or {}
    date = record.date if record else str(known.get("date", ""))
    versions = dict(record.versions) if record else dict(known.get("versions", {}))
    mark = record.fingerprint if record else str((header or {}).get("fingerprint", ""))
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    facts.say(
        "",
        [
            ("made", date.replace("T", " ").replace("Z", " UTC") or NOT_STORED),
            ("versions", text or NOT_STORED),
            ("fingerprint", f"{mark[:SHOWN]} of the full model" if mark else NOT_STORED),
        ],
    )
    facts.values |= {"made": date or None, "versions": versions or None, "fingerprint": mark or None}


def _system(facts: Facts, model: ReducedModel, size: str, values: dict[str, Any]) -> None:
    """Say how large the system is, and what its coefficients are."""
    terms = f"{model.operators.shape[0]} operator and {model.rhs.shape[0]} right-hand side terms"
    basis = "not in the file" if model.unknowns is None else f"for {model.unknowns} unknowns"
    rows = [("size", size), ("system", f"{terms}, {model.projection}, {model.dtype}"), ("basis", basis)]
    if model.coded is not None:
        rows.append(("in few bits", model.coded.summary))
    if model.coded_matrices:
        rows.append(("matrices in few bits", ", ".join(model.coded_matrices)))
    for label, coefficients in (("operator", model.operator_coefficients), ("right-hand side", model.rhs_coefficients)):
        rows.append((f"{label} coefficients", ", ".join(str(s) for s in coefficients.sources)))
    if model.constraints is not None:
        free, fixed = len(model.constraints.free), len(model.constraints.fixed)
        rows.append(("unknowns", f"{free} free, {fixed} fixed"))
    facts.say("", rows)
    facts.values |= values | {
        "unknowns": model.unknowns,
        "projection": model.projection,
        "dtype": str(model.dtype),
        "operator_terms": int(model.operators.shape[0]),
        "rhs_terms": int(model.rhs.shape[0]),
        "operator_coefficients": [str(s) for s in model.operator_coefficients.sources],
        "rhs_coefficients": [str(s) for s in model.rhs_coefficients.sources],
        "quantized": {"basis": model.coded is not None, "matrices": list(model.coded_matrices)},
    }


def space_table(facts: Facts, model: Any) -> None:
    """Show the ranges of the parameters, their units and distributions."""
    space = model.parameters
    rows, values = [], {}
    for name, (low, high) in zip(space.names, space.bounds.tolist(), strict=True):
        words = [space.units.get(name, ""), f"~ {space.distributions[name]}" if name in space.distributions else ""]
        rows.append([name, f"{low:.10g}", f"{high:.10g}", " ".join(word for word in words if word)])
        values[name] = [low, high]
    headings = ["name", "from", "to", "unit"] if any(row[3] for row in rows) else ["name", "from", "to"]
    facts.show(f"parameters, {space.scale} scale", headings, [row[: len(headings)] for row in rows])
    facts.values |= {"parameters": values, "scale": space.scale, "parameter_units": dict(space.units)}


def stability_said(model: ReducedModel) -> tuple[str, str, str]:
    """Return the kind of the stability bound, how far it can be trusted, and a sentence of both."""
    kind = str(getattr(type(model.stability), "kind", type(model.stability).__name__))
    known = model.record.evidence if model.record else ""
    if known:
        return kind, known, f"{kind}, {known}: {EVIDENCE[known]}" if known in EVIDENCE else f"{kind}, {known}"
    if kind == "anchored":
        return kind, "", f"{kind}: proved if product and terms were sparse, measured if not; which is {NOT_STORED}"
    known = KINDS.get(kind, "given")
    return kind, known, f"{kind}, {known} as bounds of this kind are: {EVIDENCE[known]}"


def _bounds(facts: Facts, model: ReducedModel) -> None:
    """Say what the bounds rest on, what they cover, and what they do not."""
    kind, known, text = stability_said(model)
    names = [f"{state.label}{' (default)' if k == 0 else ''}" for k, state in enumerate(model.estimators.values())]
    rows = [("stability", text), ("estimators", ", ".join(names) or "none")]
    rows += [(name, f"not here: {why}") for name, why in model.refused.items()]
    covers, without = coverage(model, known)
    rows += [("covers", covers), ("does not cover", without)]
    if model.measured:
        rows.append(("not proved", model.measured))
    facts.say("error bounds", rows)
    facts.values |= {
        "stability": {"kind": kind, "evidence": known or None},
        "estimators": list(model.estimators),
        "default_estimator": model.method if model.estimators else None,
        "refused": dict(model.refused),
        "covers": covers,
        "does_not_cover": without,
        "not_proved": model.measured or None,
    }


def coverage(
    model: ReducedModel, known: str, what: str = "the distance to the full model's solution"
) -> tuple[str, str]:
    """Return what error bounds cover, and what they do not."""
    if not model.estimators:
        return "nothing: the file holds no estimator, so that its answers have no bounds", "the error of its answers"
    covers = [
        f"{what} at every point of the ranges, in the norm of the product",
        "the rounding of the query (the floor)",
    ]
    without = ["the discretisation: how far the full model is from what it stands for", "points outside the ranges"]
    if model.interpolation_error is not None:
        covers.append("the interpolation error of the terms, as far as the given eps_A and eps_f hold")
    if model.coded is not None or model.coded_matrices:
        covers.append("what few bits have changed")
    if known in ("given", "sampled"):
        without.append(f"a stability bound that is too large (it is {known})")
    if known == "measured":
        without.append("rounding of the stability bound beyond its allowance (it is measured)")
    default = model.estimators.get(model.method)
    if model.method in ESTIMATES:
        without.append(f"the error of {model.method}, which estimates: its deviation is sampled")
    if isinstance(default, Sketched):
        without.append(f"bad luck: a bound of {Sketched.kind} is too small with probability {default.failure:.1g}")
    return "; ".join(covers), "; ".join(without)


def _units(facts: Facts, model: ReducedModel) -> None:
    if model.output_units:
        said = ", ".join(f"{name} in {unit}" for name, unit in model.output_units.items())
        facts.say("outputs", [("units of outputs", said)])
    facts.values["output_units"] = dict(model.output_units)


def _about(output: ReducedOutput) -> str:
    """Return what a line says of an output: its kind and its error bound."""
    if isinstance(output, ReducedPrimalDual):
        vectors = output.dual_operators.shape[2]
        return f"primal-dual, corrected by {vectors} dual basis vectors; bound: the product of both residuals over beta"
    return f"{output.kind}; bound: {BOUNDED[output.kind]}" if output.kind in BOUNDED else str(output.kind)


def of_record(facts: Facts, record: Record | None, names: Sequence[str]) -> None:
    """Say why the greedy stopped, and show N against its largest bound."""
    facts.say("greedy", _run(record))
    facts.values |= _run_values(record, names)
    facts.values["changed"] = list(record.changed) if record else None
    steps = history_of(record, names)
    if not steps or record is None:
        return
    rows = []
    for step in steps:
        ratio = step["effectivity"]
        rows.append(
            [
                str(step["size"]),
                "-" if step["bound"] is None else f"{step['bound']:.3e}",
                "-" if step["floor"] is None else f"{step['floor']:.1e}",
                str(step["resolved"]),
                "-" if ratio is None else f"{ratio:.3g}",
            ]
        )
    of = "relative bound" if record.relative else "largest bound"
    facts.show(
        _of_before("N against the largest bound on the training set", record),
        ["N", of, "floor", "resolved", "bound/error"],
        rows,
        MOST_ROWS,
    )


def _run(record: Record | None) -> list[tuple[str, str]]:
    if record is None or record.history is None:
        return [("N against bound", f"{NOT_STORED}: the file holds no greedy run")]
    points = f", {record.training} training points" if record.training else ""
    return [("stopped by", _of_before(f"{record.stopped or NOT_STORED}{points}", record))]


def _of_before(text: str, record: Record | None) -> str:
    """Return a text about a greedy run that says so where the model is no more the one that was made then."""
    return f"{text}, {record.before}" if record and record.before else text


def _run_values(record: Record | None, names: Sequence[str]) -> dict[str, Any]:
    """Return what JSON says of a greedy run; None for what is not known."""
    return {
        "stopped": _of_before(record.stopped, record) if record and record.stopped else None,
        "training_parameters": record.training or None if record else None,
        "history": history_of(record, names),
    }


def history_of(record: Record | None, names: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the steps of a history for JSON, NaN and infinity as None; None where there is none."""
    if record is None or record.history is None:
        return None
    made = []
    for size, bound, floor, resolved, effectivity, *mu in record.history.tolist():
        numbers = {"bound": bound, "floor": floor, "effectivity": effectivity}
        plain = {name: value if np.isfinite(value) else None for name, value in numbers.items()}
        made.append(
            {"size": int(size), **plain, "resolved": int(resolved), "parameter": dict(zip(names, mu, strict=True))}
        )
    return made
