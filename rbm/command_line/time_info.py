"""What ``rbm info`` says of a reduced model in time."""

from __future__ import annotations

import numpy as np

from rbm.command_line.facts import Facts, coverage, made, of_record, space_table, stability_said
from rbm.time.control import impulse
from rbm.time.reduced import ReducedTimeModel

__all__ = ["of_time_model"]

#: The coefficients of all terms, as JSON names them.
KEYS = ("operator_coefficients", "mass_coefficients", "rhs_coefficients")


def of_time_model(model: ReducedTimeModel) -> Facts:
    """Return what is known of a reduced model in time."""
    facts, terms, count = Facts(), model.terms, len(model.mass_coefficients)
    made(facts, terms.record)
    names = {1.0: ", implicit Euler", 0.5: ", Crank-Nicolson"}
    start = model.initial
    zero = not np.any(start.triangle[:, len(start.triangle) - len(start.coefficients) :])
    initial = ", ".join(map(str, start.coefficients.sources))
    sources = {
        "operator coefficients": terms.operator_coefficients.sources[:-count],
        "mass coefficients": model.mass_coefficients.sources,
        "right-hand side coefficients": terms.rhs_coefficients.sources,
    }
    basis = "not in the file" if model.basis is None else f"for {len(model.basis)} unknowns"
    scheme = f"0 to {model.times[-1]:.10g} in {model.steps} steps of {model.dt:.10g}{names.get(model.theta, '')}"
    rows = [("size", f"N = {model.size}, {terms.dtype}"), ("basis", basis), ("times", scheme)]
    rows += [(label, ", ".join(map(str, some))) for label, some in sources.items()]
    rows.append(("initial value", "zero" if zero else f"with the coefficients {initial}"))
    rows.append(("control", _control(model.control)))
    if terms.constraints is not None:
        rows.append(("unknowns", f"{len(terms.constraints.free)} free, {len(terms.constraints.fixed)} fixed"))
    facts.say("", rows)
    facts.values |= {"basis_size": model.size, "unknowns": None if model.basis is None else len(model.basis)}
    facts.values |= {"dtype": str(terms.dtype), "steps": model.steps, "dt": model.dt, "theta": model.theta}
    facts.values |= {
        "projection": terms.projection,
        "operator_terms": int(terms.operators.shape[0]) - count,
        "rhs_terms": int(terms.rhs.shape[0]),
        **{key: [str(s) for s in some] for key, some in zip(KEYS, sources.values(), strict=True)},
        "quantized": {"basis": False, "matrices": []},  # models in time have no other numbers than these
    }
    space_table(facts, model)
    _bounds(facts, model)
    _outputs(facts, model)
    of_record(facts, terms.record, model.parameters.names)
    return facts


def _bounds(facts: Facts, model: ReducedTimeModel) -> None:
    """Say what the bounds rest on, what they cover, and what they do not."""
    kind, known, text = stability_said(model.terms)
    covers, without = coverage(model.terms, known, "at every step, the distance to the full model's trajectory")
    covers = covers.replace("in the norm of the product", "in the energy norm up to it and in the norm of the mass")
    without = without.replace("the discretisation", "the discretisation, in time too")
    facts.say("error bounds", [("stability", f"{text}; of the coercivity constant"), ("bound_l2", _decay(model))])
    facts.say("error bounds", [(name, f"not here: {why}") for name, why in model.terms.refused.items()])
    facts.say("error bounds", [("covers", covers), ("does not cover", without)])
    if model.terms.measured:
        facts.say("error bounds", [("not proved", model.terms.measured)])
    facts.values |= {
        "stability": {"kind": kind, "evidence": known or None},
        "estimators": list(model.terms.estimators),
        "default_estimator": model.terms.method,
        "refused": dict(model.terms.refused),
        "covers": covers,
        "does_not_cover": without,
        "not_proved": model.terms.measured or None,
    }


def _outputs(facts: Facts, model: ReducedTimeModel) -> None:
    for name, output in model.outputs.items():
        if name in model.duals:
            vectors = model.duals[name].size
            how = f"corrected by {vectors} dual basis vectors; bound: the product of both residuals over alpha"
            how = f"primal-dual, {how}, or that without if it is smaller"
        else:
            how = f"{output.kind}; bound: the norm of the functional in the dual of the mass times bound_l2"
        facts.say("outputs", [(name, how)])
    units = model.terms.output_units
    if units:
        facts.say("outputs", [("units of outputs", ", ".join(f"{name} in {unit}" for name, unit in units.items()))])
    kinds = {name: "primal-dual" if name in model.duals else output.kind for name, output in model.outputs.items()}
    facts.values |= {"outputs": kinds, "output_units": dict(units)}


def _decay(model: ReducedTimeModel) -> str:
    if model.theta <= 0.5:
        return "sums the residuals of all steps, without decay, as theta = 1/2"
    if not model.decay > 0:
        return "sums the residuals of all steps, as no rate of decay was proved"
    return f"decays as the error does, by P >= {model.decay:.4g} W, W the sum of the mass terms"


def _control(control: np.ndarray) -> str:
    """Return what a line says of the control that is taken where none is given."""
    if np.array_equal(control, np.full_like(control, control[0])):
        return f"{control[0]:.10g} in every step, where none is given"
    if np.array_equal(control, impulse(len(control))):
        return "impulse, where none is given"
    sizes = np.abs(control)
    return f"its own {len(control)} numbers, of size {sizes.min():.4g} to {sizes.max():.4g}, where none is given"
