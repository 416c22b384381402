"""What ``rbm info`` says of a reduced model in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rbm.time.control import impulse
from rbm.time.reduced import ReducedTimeModel

__all__ = ["about_time_model"]


def about_time_model(model: ReducedTimeModel) -> Iterator[str]:
    """Yield the lines, without that of the file."""
    count, terms = len(model.mass_coefficients), model.terms
    names = {1.0: ", implicit Euler", 0.5: ", Crank-Nicolson"}
    yield str(model)
    yield f"  times: 0 to {model.times[-1]:.10g} in {model.steps} steps of {model.dt:.10g}{names.get(model.theta, '')}"
    for label, sources in (
        ("operator", terms.operator_coefficients.sources[:-count]),
        ("mass", model.mass_coefficients.sources),
        ("right-hand side", terms.rhs_coefficients.sources),
    ):
        yield f"  {label} coefficients: {', '.join(map(str, sources))}"
    start = model.initial
    zero = not np.any(start.triangle[:, len(start.triangle) - len(start.coefficients) :])
    made = ", ".join(map(str, start.coefficients.sources))
    yield "  initial value: zero" if zero else f"  initial value coefficients: {made}"
    yield f"  stability: {type(terms.stability).kind}, a lower bound of the coercivity constant"
    yield f"  bound_l2: {_decay(model)}"
    yield f"  control: {_control(model.control)}"
    for name, output in model.outputs.items():
        if name in model.duals:
            vectors = model.duals[name].size
            how = f"corrected by {vectors} dual basis vectors; bound: the product of both residuals over alpha"
            yield f"  output {name}: primal-dual, {how}, or that without if it is smaller"
        else:
            how = "the norm of the functional in the dual of the mass times bound_l2"
            yield f"  output {name}: {output.kind}; bound: {how}"
    if terms.output_units:
        yield f"  units of outputs: {', '.join(f'{name} in {unit}' for name, unit in terms.output_units.items())}"
    yield f"  basis: {'not in the file' if model.basis is None else f'for {len(model.basis)} unknowns'}"
    if terms.constraints is not None:
        yield f"  unknowns: {len(terms.constraints.free)} free, {len(terms.constraints.fixed)} fixed"
    for name, why in terms.refused.items():
        yield f"  {name}: {why}"
    if terms.measured:
        yield f"  not proved: {terms.measured}"


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
