"""The coefficients theta_q(mu) of an affine expansion, evaluated for all parameter points at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.arrays import all_true, beside, namespace, to_numpy
from rbm.errors import ModelError, ParameterError, refused
from rbm.online.programs import NUMBER, Step
from rbm.parameters import pickling as serialization
from rbm.parameters.differentiable import called_derivative
from rbm.parameters.expressions import Expression
from rbm.parameters.interpolated_family import InterpolatedCoefficient
from rbm.parameters.space import ParameterSpace

__all__ = ["Coefficient", "Coefficients"]

Coefficient = float | complex | str | InterpolatedCoefficient | Callable[[np.ndarray], Any]
Function = Callable[[Any, dict[int, Any]], Any]


class Coefficients:
    """The coefficients theta(mu) = (theta_1 .. theta_Q) of an affine expansion.

    Each is a number, an expression in the parameter names, a term of an interpolation, or a callable.

    The terms of one :class:`rbm.parameters.interpolated_family.InterpolatedFamily` are evaluated together. A callable
    gets `mus` (M, p) and returns (M,) or a number; it cannot be written to a file.

    Evaluated where `mus` lives, but for callables: these get a NumPy copy of `mus` that cannot be written to, and their
    values are copied and moved.
    """

    def __init__(self, sources: Sequence[Coefficient], parameters: ParameterSpace) -> None:
        self.sources = sources = tuple(_plain(s) for s in sources)
        self.parameters = parameters
        self._functions = [self._function(s) for s in self.sources]
        # most coefficients are parameters and numbers: these are copied, the others are computed
        names = {name: j for j, name in enumerate(parameters.names)}
        columns = [(q, names[s.strip()]) for q, s in enumerate(sources) if isinstance(s, str) and s.strip() in names]
        numbers = {q: s for q, s in enumerate(sources) if isinstance(s, float | complex)}
        values = list(numbers.values())
        self._copied, self._column = (np.array([pair[k] for pair in columns], dtype=int) for k in (0, 1))
        self._simple = len(columns) + len(numbers) == len(sources) and bool(np.isfinite(values).all())
        self._identity = self._simple and [j for _, j in columns] == list(range(len(parameters))) and not numbers
        self._template = np.zeros(len(sources), complex if any(isinstance(s, complex) for s in values) else float)
        self._template[list(numbers)] = values

    def __len__(self) -> int:
        return len(self.sources)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the state for pickle and copy; raise ModelError for a function that pickle could not send."""
        serialization.check_coefficients(self.sources)
        return Coefficients, (self.sources, self.parameters)

    @property
    def portable(self) -> bool:
        """False if a coefficient is a Python callable, which no file can hold."""
        return not any(callable(s) for s in self.sources)

    @property
    def constant(self) -> np.ndarray | None:
        """The values (Q,) if they are all numbers, the same at every point; else None."""
        return self._template if self._simple and not len(self._copied) else None

    @property
    def identity(self) -> bool:
        """Whether the coefficients are the parameters, in their order."""
        return self._identity

    def steps(self) -> list[list[Step]] | None:
        """Return the formulas for a compiled program (:mod:`rbm.online.programs`), which gives the same bits.

        None where one of the coefficients is complex, or known to NumPy only.
        """
        made = [self._steps(q, s) for q, s in enumerate(self.sources)]
        return None if any(m is None for m in made) else [m for m in made if m is not None]

    def _steps(self, q: int, source: Coefficient) -> list[Step] | None:
        if isinstance(source, str):
            return self._formulas[q].steps()
        return [(NUMBER, source)] if isinstance(source, float) else None

    def __call__(self, mus: Any) -> Any:
        """Return values (M, Q) at checked parameter points (M, p), not to be written to; real if all coefficients are.

        Raises
        ------
        ParameterError
            a coefficient is NaN or infinite: names coefficient, value and parameter point.
        """
        if self._identity:
            return mus
        if self._simple and isinstance(mus, np.ndarray):
            simple = np.empty((len(mus), len(self.sources)), dtype=self._template.dtype)
            simple[:] = self._template
            if len(self._copied):
                simple[:, self._copied] = mus[:, self._column]
            return simple
        known: dict[int, Any] = {}  # families that were evaluated for an earlier term
        columns = [f(mus, known) for f in self._functions]
        if isinstance(mus, np.ndarray):
            is_complex = any(c.dtype.kind == "c" for c in columns)
            values = np.empty((len(mus), len(columns)), dtype=complex if is_complex else float)
            for q, column in enumerate(columns):
                values[:, q] = column
        else:
            values = namespace(mus).stack(columns, axis=1) if columns else mus[:, :0]
        finite = np.isfinite(values) if isinstance(values, np.ndarray) else namespace(values).isfinite(values)
        if not all_true(finite):
            mus, values, finite = to_numpy(mus), to_numpy(values), to_numpy(finite)

            q = int(np.argmin(finite[np.argmin(finite.all(axis=1))]))
            good = mus[finite[:, q]]

            def message(i: int, where: str) -> str:
                at, why = self.parameters.describe(mus[i]), self._why(q, mus[i], good)
                return f"coefficient {self.sources[q]!r} is {values[i, q]} at {at} ({where}){why}"

            raise refused(ParameterError, np.logical_not(finite[:, q]), message, about=(id(self), q))
        return values

    def derivative(self, mus: np.ndarray) -> np.ndarray:
        """Return the derivatives (M, Q, p) by the parameters, at checked points (M, p) in NumPy's arrays.

        Formulas differentiate themselves (:mod:`rbm.parameters.derivatives`), and so do the terms of an
        :class:`InterpolatedFamily`; a callable brings its own (:func:`rbm.differentiable`).

        Raises
        ------
        ModelError
            a coefficient that has no derivative, here or anywhere: names it, and where it is a formula the point.
        """
        if self._simple:  # parameters and numbers
            simple = np.zeros((len(mus), len(self.sources), mus.shape[1]))
            simple[:, self._copied, self._column] = 1.0
            return simple
        known: dict[int, np.ndarray] = {}
        columns = [self._derivative(q, mus, known) for q in range(len(self.sources))]
        made = np.stack(columns, axis=1) if columns else np.zeros((len(mus), 0, mus.shape[1]))
        finite: np.ndarray = np.all(np.isfinite(made), axis=2)
        if not finite.all():

            def message(i: int, where: str) -> str:
                q = int(np.argmin(finite[i]))
                at = self.parameters.describe(mus[i])
                return (
                    f"the coefficient {self.sources[q]!r} has no derivative at {at} ({where}): it has a kink there, or "
                    "a slope that is infinite; keep away from this point"
                )

            raise refused(ModelError, ~finite.all(axis=1), message)
        return made

    def check_derivatives(self) -> None:
        """Raise ModelError for a coefficient that has no derivative anywhere, without evaluating any."""
        for source in self.sources:
            if isinstance(source, InterpolatedCoefficient) and not hasattr(source.family, "derivative"):
                raise ModelError(_family_without(source))
            if callable(check := getattr(source, "check_derivatives", None)):  # a product of coefficients
                check()
            if callable(source) and not callable(getattr(source, "derivative", None)):
                called_derivative(source, np.zeros((1, len(self.parameters))))

    @cached_property
    def _formulas(self) -> dict[int, Expression]:
        return {q: Expression(s, self.parameters.names) for q, s in enumerate(self.sources) if isinstance(s, str)}

    def _derivative(self, q: int, mus: np.ndarray, known: dict[int, np.ndarray]) -> np.ndarray:
        """Return the derivative (M, p) of coefficient q."""
        source, names = self.sources[q], self.parameters.names
        if isinstance(source, str):
            return self._formulas[q].derivative(mus)
        if isinstance(source, InterpolatedCoefficient):
            family: Any = source.family
            if not hasattr(family, "derivative"):
                raise ModelError(_family_without(source))
            if id(family) not in known:
                known[id(family)] = family.derivative(mus, names)
            factor, weights = Coefficients([source.factor], self.parameters), family.compiled(names)(mus)
            own = factor(mus)[:, :1] * known[id(family)][:, source.term]
            return own + weights[:, source.term, None] * factor.derivative(mus)[:, 0]
        if callable(source):
            return called_derivative(source, mus)
        return np.zeros(mus.shape)

    def _why(self, q: int, mu: np.ndarray, good: np.ndarray) -> str:
        """Return which step of formula q fails at mu (p,), as the end of a sentence.

        It also says where among the points tried, `good` (k, p), the formula does not fail.
        """
        source, names = self.sources[q], self.parameters.names
        step = Expression(source, names).failure(mu) if isinstance(source, str) else None
        said = f": {step}" if step else ""
        if len(names) == 1 and len(good):
            low, high = good.min(), good.max()
            return f"{said}; of the points given it is finite at {len(good)}, from {names[0]} = {low:.6g} to {high:.6g}"
        return f"{said}; keep to parameters where it is defined, by the ranges of the ParameterSpace" if said else ""

    def _function(self, source: Coefficient) -> Function:
        if isinstance(source, str):
            expression = Expression(source, self.parameters.names)
            return lambda mus, known: expression(mus)
        if isinstance(source, InterpolatedCoefficient):
            factor, family = self._function(source.factor), source.family
            evaluate = family.compiled(self.parameters.names)

            def term(mus: Any, known: dict[int, Any]) -> Any:
                if id(family) not in known:
                    known[id(family)] = evaluate(mus)
                return factor(mus, known) * known[id(family)][:, source.term]

            return term
        if callable(source):
            return lambda mus, known: beside(_called(source, to_numpy(mus)), mus)
        return lambda mus, known: beside(np.full(mus.shape[0], source), mus)


def _plain(source: Coefficient) -> Coefficient:
    """Return numbers as Python floats or complexes, so that they can be written to a file; the rest as it is."""
    if isinstance(source, str | InterpolatedCoefficient) or callable(source):
        return source
    wanted = "a coefficient is a number, an expression string or a vectorised callable"
    if isinstance(source, np.ma.MaskedArray) and np.ma.is_masked(source):
        raise ModelError(f"{wanted}, got a masked entry: fill it, or leave the term out")
    try:
        number = complex(source)
    except (TypeError, ValueError):
        shape = getattr(source, "shape", ())
        hint = f" of shape {shape}; terms are pairs (coefficient, matrix or vector), in this order" if shape else ""
        raise ModelError(f"{wanted}, got {type(source).__name__}{hint}") from None
    return number.real if number.imag == 0 and not isinstance(source, complex) else number


def _family_without(source: InterpolatedCoefficient) -> str:
    """Return what to say of a family of coefficients that knows no derivatives."""
    return (
        f"the coefficient family {type(source.family).__name__} has no derivatives; give it a method "
        "derivative(mus, names) that returns (M, m, p)"
    )


def _called(function: Callable[[np.ndarray], Any], mus: np.ndarray) -> np.ndarray:
    name = getattr(function, "__name__", repr(function))
    own = np.array(mus)  # a coefficient that changed its argument would change all that come after it
    own.flags.writeable = False
    try:
        returned = function(own)
    except Exception as error:
        hint = "; mus cannot be written to: write mus = 2 * mus, not mus *= 2" if "read-only" in str(error) else ""
        raise ModelError(
            f"coefficient callable {name!r} failed for mus of shape {mus.shape}, one row a parameter point: "
            f"{type(error).__name__}: {error}{hint}"
        ) from error
    wanted = f"coefficient callable {name!r} must return numbers of shape ({len(mus)},) for mus of shape {mus.shape}"
    if np.ma.is_masked(returned):
        raise ModelError(f"{wanted}, got {np.ma.count_masked(returned)} masked entries: fill them, or return numbers")
    if hasattr(returned, "toarray"):
        raise ModelError(f"{wanted}, got a sparse {type(returned).__name__}: return a dense array")
    try:
        value = np.asarray(returned)
    except Exception as error:
        raise ModelError(f"{wanted}, got a {type(returned).__name__} that is no array ({error})") from error
    if value.shape not in ((), (len(mus),)) or value.dtype.kind not in "biufc":
        hint = ""
        if value.dtype.kind == "O" and value.shape in ((), (len(mus),)):
            hint = f" (a {type(returned).__name__}); entries that are missing or no numbers must be filled"
        elif value.shape == mus.shape or value.shape == (len(mus), 1):
            hint = (
                "; mus[:, 0] is the first parameter at all points, mus the table of all: write mus[:, 0] ** 2, not "
                "mus ** 2"
            )
        elif value.shape == (len(mus.T),):
            hint = (
                "; it returned one number a parameter: mus (M, p) is the table of all points, mus[:, 0] the first "
                "parameter at all of them: write mus[:, 0], not mus[0]"
            )
        raise ModelError(f"{wanted}, got shape {value.shape} and dtype {value.dtype}{hint}")
    dtype = complex if value.dtype.kind == "c" else float
    return np.broadcast_to(value.astype(dtype), (len(mus),))  # a copy: the callable may keep what it returned
