"""Takes affine models of pyMOR apart: matrices, coefficients, products and outputs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from rbm.affine.elimination import constrain
from rbm.affine.entries import entries
from rbm.affine.terms import Terms
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient
from rbm.parameters.expressions import Expression
from rbm.parameters.products import factored, multiplied
from rbm.parameters.space import ParameterSpace

__all__ = ["PymorCoefficient", "from_pymor"]

#: Products that are taken if none is named: those that leave Dirichlet unknowns out, of the energy first.
PREFERRED = ("h1_0_semi", "h1_0", "energy", "h1")
#: A formula is taken for the functional it came from if they agree to this at a few points.
AGREEMENT = 1e-12


@dataclass(frozen=True)
class PymorCoefficient:
    """A parameter functional of pyMOR as a coefficient; it is evaluated point by point, and no file can hold it."""

    functional: Any
    layout: tuple[tuple[str, int], ...]  #: names of pyMOR's parameters with their numbers of components, in order

    def __call__(self, mus: np.ndarray) -> np.ndarray:
        """Return the values (M,) at points (M, p)."""
        return np.array([self.functional.evaluate(self.functional.parameters.parse(self._named(mu))) for mu in mus])

    def _named(self, mu: np.ndarray) -> dict[str, np.ndarray]:
        starts = np.cumsum([0, *(dim for _, dim in self.layout)])
        named = {name: mu[start : start + dim] for (name, dim), start in zip(self.layout, starts, strict=False)}
        return {name: value for name, value in named.items() if name in self.functional.parameters}


def from_pymor(fom: Any, ranges: Any = None, *, product: Any = None, eliminate: bool = True) -> dict[str, Any]:
    """Return the arguments of :class:`rbm.FullOrderModel` for a stationary, linear, affine model of pyMOR.

    ``rbm.FullOrderModel(**rbm.from_pymor(fom, (0.1, 1.0)), stability=...)`` makes a model of it.

    Parameters
    ----------
    fom : a StationaryModel, whose operator is a LincombOperator of operators with matrices, or one such operator. A
        parameter "d" of pyMOR with 4 components becomes d_0, d_1, d_2, d_3; one with a single component keeps its name
    ranges : the parameter ranges: pyMOR's ParameterSpace, {"d_0": (low, high), ...} or {"d": (low, high)}, or (low,
        high) for all. Without them the argument `parameters` is left out
    product : the name of one of ``fom.products``, or an operator; by default h1_0_semi, h1_0, energy or h1, the first
        that is there
    eliminate : pyMOR keeps Dirichlet unknowns, with rows that hold a constant on the diagonal. They are eliminated
        (:func:`rbm.constrain`), which error bounds are sharper for; if False, they stay

    Coefficients are numbers, parameter names and formulas where pyMOR's functionals are projections, products and
    expressions with functions that are known here; others are called as they are, and cannot be saved.

    Raises ModelError for a model that is not affine, and operators without matrices.
    """
    to_matrix = require("pymor.algorithms.to_matrix", "pymor", "reading a model of pyMOR").to_matrix
    if not all(hasattr(fom, name) for name in ("operator", "rhs", "products", "parameters")):
        raise ModelError(
            f"from_pymor reads a StationaryModel of pyMOR, got a {type(fom).__name__}"
            + ("; of a model in time, time-stepping is not read" if hasattr(fom, "time_stepper") else "")
        )
    layout = tuple(sorted((str(name), int(dim)) for name, dim in fom.parameters.items()))
    parameters = _parameters(layout, ranges)

    def terms(operator: Any) -> Terms:
        return _terms(operator, layout, parameters, to_matrix)

    operators, rhs = terms(fom.operator), terms(fom.rhs)
    rhs = [(c, _dense(f).ravel()) for c, f in rhs]
    chosen = _product(fom, product)
    matrix = chosen if sp.issparse(chosen) or isinstance(chosen, np.ndarray) else entries("product", to_matrix(chosen))
    outputs = _outputs(fom, terms)
    arguments: dict[str, Any] = {"operators": operators, "rhs": rhs, "product": matrix, "outputs": outputs}
    fixed, diagonal = _dirichlet(operators) if eliminate else (np.zeros(0, dtype=int), np.zeros(0))
    if len(fixed):
        values = [(c, f[fixed] / diagonal) for c, f in rhs]
        made = constrain(operators, rhs, matrix, fixed, values, outputs=outputs, parameters=parameters)
        arguments = made.arguments
    return arguments if parameters is None else {**arguments, "parameters": parameters}


def _names(layout: tuple[tuple[str, int], ...]) -> list[str]:
    return [name if dim == 1 else f"{name}_{i}" for name, dim in layout for i in range(dim)]


def _parameters(layout: tuple[tuple[str, int], ...], ranges: Any) -> ParameterSpace | None:
    """Return the parameter space in the order of pyMOR's parameters; None without ranges."""
    if ranges is None:
        return None
    given = getattr(ranges, "ranges", ranges)  # of pyMOR's ParameterSpace
    made = {}
    for name, dim in layout:
        for part in [name] if dim == 1 else [f"{name}_{i}" for i in range(dim)]:
            found = given.get(part, given.get(name)) if isinstance(given, Mapping) else given
            if found is None:
                raise ModelError(f"ranges have no {part}; the parameters are {', '.join(_names(layout))}")
            made[part] = found
    return ParameterSpace(made)


def _terms(operator: Any, layout: Any, parameters: ParameterSpace | None, to_matrix: Any) -> Terms:
    """Return [(coefficient, matrix), ...] of an operator; sums of sums are one sum."""
    if hasattr(operator, "operators") and hasattr(operator, "coefficients"):
        made = []
        for coefficient, part in zip(operator.coefficients, operator.operators, strict=True):
            outer = _coefficient(coefficient, layout, parameters)
            for inner, matrix in _terms(part, layout, parameters, to_matrix):
                made.append((_times(outer, inner, parameters), matrix))
        return made
    if operator.parametric:
        raise ModelError(
            f"{operator.name} of pyMOR depends on parameters and is no sum of operators with coefficients: interpolate "
            "it first (EmpiricalInterpolatedOperator, or eim of this package)"
        )
    try:
        return [(1.0, entries(str(operator.name), to_matrix(operator)))]
    except Exception as error:
        raise ModelError(f"{operator.name} of pyMOR ({type(operator).__name__}) has no matrix: {error}") from error


def _times(first: Coefficient, second: Coefficient, parameters: ParameterSpace | None) -> Coefficient:
    (a, symbol), (b, other) = factored(first), factored(second)
    if symbol is None or other is None:
        number, rest = a * b, other if symbol is None else symbol
        return number if rest is None else rest if number == 1 else multiplied(repr(number), rest, parameters)
    return multiplied(first, second, parameters)


def _coefficient(given: Any, layout: Any, parameters: ParameterSpace | None) -> Coefficient:
    """Return a coefficient of pyMOR as a number, a formula, or a function."""
    if not hasattr(given, "evaluate"):
        return complex(given) if np.iscomplexobj(given) else float(given)
    names, function = _names(layout), PymorCoefficient(given, layout)
    text = _formula(given, dict(layout))
    if text is None:
        return function
    rng = np.random.default_rng(0)
    ranges = np.array([[0.5, 1.5]] * len(names)) if parameters is None else parameters.bounds
    points = ranges[:, 0] + (ranges[:, 1] - ranges[:, 0]) * rng.random((3, len(names)))
    try:
        ours, theirs = Expression(text, names)(points), function(points)
    except Exception:  # a function that is not known here, or not defined there
        return function
    return text if np.allclose(ours, theirs, rtol=AGREEMENT, atol=0) else function


def _formula(given: Any, dims: dict[str, int]) -> str | None:
    """Return a parameter functional as a formula; None if it is none. By what it has, as classes move."""
    kind = type(given).__name__
    if kind == "ConstantParameterFunctional":
        return repr(given.constant_value)
    if kind == "ProjectionParameterFunctional":
        return str(given.parameter) if given.size == 1 else f"{given.parameter}_{given.index}"
    if kind == "ExpressionParameterFunctional":
        try:
            tree = ast.parse(given.expression.strip(), mode="eval")
            return ast.unparse(_Indices(dims).visit(tree))
        except (SyntaxError, ValueError):
            return None
    if kind == "ProductParameterFunctional":
        factors = [_formula(f, dims) if hasattr(f, "evaluate") else repr(f) for f in given.factors]
        return None if None in factors else " * ".join(f"({f})" for f in factors)
    return None


class _Indices(ast.NodeTransformer):
    """Writes d[2] as d_2, and of a parameter with one component mu[0] as mu."""

    def __init__(self, dims: dict[str, int]) -> None:
        self.dims = dims

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:  # as ast calls it
        """Return the name of a component."""
        match node:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int(index))) if name in self.dims:
                return ast.Name(id=name if self.dims[name] == 1 else f"{name}_{index}", ctx=ast.Load())
        raise ValueError("an index that is no number")


def _product(fom: Any, given: Any) -> Any:
    if given is not None and not isinstance(given, str):
        return given
    known = dict(fom.products or {})
    name = given if given is not None else next((n for n in PREFERRED if n in known), None)
    if name is None or name not in known:
        raise ModelError(f"product must name one of {', '.join(known) or 'no products'} of the model, got {given!r}")
    return known[name]


def _outputs(fom: Any, terms: Any) -> dict[str, Any]:
    """Return the components of a linear output functional, "output" or "output_0", "output_1", ..."""
    functional: Any = getattr(fom, "output_functional", None)
    count = 0 if functional is None else functional.range.dim
    if not count:
        return {}
    if not functional.linear:
        raise ModelError("the output functional of the model is not linear; take fom.with_(output_functional=None)")
    parts = [(c, _dense(m)) for c, m in terms(functional)]
    made = {}
    for i in range(count):
        rows = [(c, m[i]) for c, m in parts if m[i].any()]
        made["output" if count == 1 else f"output_{i}"] = rows or [(1.0, parts[0][1][i])]
    return made


def _dirichlet(operators: Terms) -> tuple[np.ndarray, np.ndarray]:
    """Return unknowns whose rows hold a constant on the diagonal and nothing else, and these constants."""
    n = operators[0][1].shape[0]
    alone, diagonal, fixed = np.ones(n, dtype=bool), np.zeros(n, dtype=complex), np.zeros(n, dtype=bool)
    for coefficient, matrix in operators:
        own, rows = sp.csr_array(matrix), np.asarray(matrix.diagonal())
        own.eliminate_zeros()
        alone &= np.diff(own.indptr) == (rows != 0)
        number, symbol = factored(coefficient)
        if symbol is None:
            diagonal += number * rows
        else:
            alone &= rows == 0
        fixed |= rows != 0
    which = np.flatnonzero(alone & fixed & (diagonal != 0))
    which = which[:0] if len(which) == n else which
    found = diagonal[which]
    return which, found if found.imag.any() else found.real


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
