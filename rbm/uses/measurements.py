"""Measurements beside a reduced model: the misfit, and a bound of what the full model's misfit differs by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from rbm.affine.entries import entries
from rbm.affine.functional_range import FunctionalRange
from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.reduced.model import ReducedModel
from rbm.reduced.output_rows import check_single
from rbm.solution import Solution

__all__ = ["Measurements", "finite_numbers", "plain_array", "read_measurements", "sensor_matrix"]

#: Share of a norm of a matrix that its computed singular values may be off by.
OF_NORMS = 1e-12
#: Residuals, in units of the noise, whose sums of squares stay within the range of numbers.
LARGEST = 1e150


class FieldPoints(NamedTuple):
    """What sensors read of a reduced solution."""

    image: np.ndarray  #: C Z (k, N)
    sizes: np.ndarray  #: (k, N): the rounding of C Z gamma is at most sizes @ |gamma|
    rows: np.ndarray  #: dual norms (k,) of the rows of C, from above
    norms: tuple[float, ...]  #: of W C from the P-norm to the Euclidean norm, from above, for each of m experiments


@dataclass(frozen=True)
class Measurements:
    """Data of m experiments with k measurements each, and how the model answers them."""

    data: np.ndarray  #: y (m, k)
    weights: np.ndarray  #: 1 / noise (m, k)
    given_noise: bool
    names: tuple[str, ...]  #: of the outputs; empty for points of the field
    field: FieldPoints | None

    @property
    def count(self) -> int:
        """The number of measurements of all experiments."""
        return self.data.size

    def residuals(self, solution: Solution) -> np.ndarray:
        """Return (y - s) / noise (M, m, k) for the solutions of M candidates in m experiments each, one after another.

        Points that failed have NaN.
        """
        if self.field is None:
            found = np.stack([np.asarray(solution.outputs[name]) for name in self.names], axis=-1)
        else:
            found = np.asarray(solution.coefficients).astype(np.result_type(solution.coefficients, float))
            found = found @ self.field.image.T
        return (self.data - found.reshape(-1, *self.data.shape)) * self.weights

    def misfits(self, residuals: np.ndarray) -> np.ndarray:
        """Return (sum |r|^2 / count)^{1/2} (M,) from residuals (M, m, k); infinite where a point failed."""
        r = np.abs(residuals).reshape(len(residuals), -1)
        size = r.max(axis=1, initial=0.0)
        safe = np.where((size > 0) & np.isfinite(size), size, 1.0)
        made = safe * np.sqrt(np.sum((r / safe[:, None]) ** 2, axis=1) / self.count)
        return np.where(np.isnan(made), np.inf, made)

    def error(self, solution: Solution, residuals: np.ndarray) -> float:
        """Return e with |misfit of the full model - misfit| <= e, for one candidate's solution and residuals (m, k).

        By the triangle inequality e = ||W b||_2 / count^{1/2} for outputs, b their bounds; for points of the field the
        smaller of that, b_i = ||C_i||_{P'} bound, and of the norm of W C times the bound of each experiment. The
        rounding of residuals and misfit is added, (count + 8) u of their norm: proved for sums in any order.
        """
        if self.field is None:
            bounds = np.stack([np.asarray(solution.output_bounds[name]) for name in self.names], axis=-1) * self.weights
            total = float(np.linalg.norm(bounds))
        else:
            bound = np.asarray(solution.bound)
            rows = bound[:, None] * self.field.rows * self.weights
            total = min(float(np.linalg.norm(rows)), float(np.linalg.norm(bound * self.field.norms)))
            total += float(np.linalg.norm(self.weights * (np.abs(solution.coefficients) @ self.field.sizes.T)))
        sizes = np.abs(residuals) + 2 * self.weights * np.abs(self.data)
        rounding = (self.count + 8) * ROUND_OFF * np.linalg.norm(sizes)
        scale = float(np.sqrt(self.count))
        return (total + float(rounding)) / scale * (1 + (self.count + 16) * ROUND_OFF)


def read_measurements(reduced: Any, data: Any, sensors: Any, noise: Any, rows: int) -> Measurements:
    """Return data, noise and sensors, checked against the model, for `rows` experiments.

    Raises ModelError (docs/calibration.md).
    """
    if sensors is None:
        names, values = _outputs(reduced, data)
        field = None
    else:
        if isinstance(data, Mapping):
            raise ModelError(
                "data are given by name, and sensors= as well; give an array (k,) of what the sensors read"
            )
        names, values = (), [("data", data)]
    matrix = None if sensors is None else sensor_matrix(reduced, sensors)
    width = len(names) if matrix is None else matrix.shape[0]
    given = _numbers(values, rows, width, "data")
    if noise is None:
        weights = np.ones(given.shape)
    else:
        named = [("noise", noise)]
        if isinstance(noise, Mapping):
            named = [(f"noise of {n!r}", _of(noise, n)) for n in names]
            if others := [n for n in noise if n not in names]:
                raise ModelError(f"noise is given for {others[0]!r}, of which there are no data")
        sizes = _numbers(named, rows, width, "noise")
        if np.iscomplexobj(sizes) or not np.all(sizes > 0):
            raise ModelError(f"noise is a standard deviation and must be positive, got {sizes.ravel()[:3]}")
        with np.errstate(over="ignore"):
            weights = 1 / sizes
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(np.max(np.abs(given) * weights, initial=0.0))
    if not (np.all(np.isfinite(weights)) and largest < LARGEST):
        raise ModelError(
            f"data are up to {largest:.3g} standard deviations of the noise, whose squares are beyond the range of "
            "double precision; give the noise, in the units of the data"
        )
    if matrix is not None:
        field = _field(reduced, matrix, weights)
    return Measurements(given, weights, noise is not None, names, field)


def _outputs(reduced: Any, data: Any) -> tuple[tuple[str, ...], list[tuple[str, Any]]]:
    known = ", ".join(map(repr, reduced.outputs)) or "none"
    if not isinstance(data, Mapping):
        raise ModelError(
            f"data must be a dictionary {{output: measurement}}, got {type(data).__name__}; the model has the outputs "
            f"{known}. For points of the field give sensors=, the numbers of the unknowns"
        )
    if not data:
        raise ModelError(f"data are empty: nothing is measured; the model has the outputs {known}")
    for name in data:
        if name not in reduced.outputs:
            raise ModelError(f"data name the output {name!r}, which the model does not have; its outputs are {known}")
        check_single(reduced.outputs, name, "a measurement")
    return tuple(data), [(f"data of {name!r}", value) for name, value in data.items()]


def _of(noise: Mapping[str, Any], name: str) -> Any:
    if name not in noise:
        raise ModelError(f"noise is given by name, but not for the output {name!r}")
    return noise[name]


def _numbers(named: list[tuple[str, Any]], rows: int, width: int, what: str) -> np.ndarray:
    """Return an array (m, k) of finite numbers, from one array, or from one for each of k columns."""
    single = len(named) == 1 and named[0][0] == what
    columns = [finite_numbers(name, value) for name, value in named]
    if single:
        (array,) = columns
        wanted = (rows, width)
        if what == "noise" and array.ndim == 0:
            return np.full(wanted, array)
        if array.shape == (width,):
            return (
                np.broadcast_to(array, wanted).copy() if what == "noise" or rows == 1 else _wrong(what, array, wanted)
            )
        return array if array.shape == wanted else _wrong(what, array, wanted)
    for (name, _), array in zip(named, columns, strict=True):
        if array.shape not in (() if what == "noise" or rows == 1 else (rows,), (rows,)):
            _wrong(name, array, (rows,))
    return np.stack([np.broadcast_to(a, (rows,)) for a in columns], axis=1)


def _wrong(name: str, array: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    hint = "; transpose them" if array.ndim == 2 and array.shape[::-1] == wanted else ""
    experiments = f"; {wanted[0]} experiments are known, one row each" if wanted[0] > 1 else ""
    raise ModelError(f"{name} have shape {array.shape}, expected {wanted}{hint}{experiments}")


def plain_array(name: str, value: Any) -> np.ndarray:
    """Return np.asarray(value); raise ModelError for nested lists of different lengths."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ModelError(f"{name} must be numbers in rows of one length, got {value!r:.60}") from error


def finite_numbers(name: str, value: Any) -> np.ndarray:
    """Return an array of numbers in double precision; raise ModelError for NaN, masks and what is no number."""
    hidden = int(np.ma.count_masked(value)) if isinstance(value, np.ma.MaskedArray) else 0
    if hidden:
        raise ModelError(f"{name}: {hidden} entries are hidden behind a mask; leave these measurements out")
    array = plain_array(name, value)
    if array.dtype.kind not in "biufc":
        raise ModelError(f"{name} must be numbers, got {value!r:.60}")
    array = array.astype(complex if array.dtype.kind == "c" else float)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = f"entry {', '.join(map(str, bad[0]))}" if array.ndim else "the value"
        raise ModelError(
            f"{name} have {len(bad)} entries that are NaN or infinite, the first is {place}; leave these measurements "
            "out, with their sensors"
        )
    return array


def sensor_matrix(reduced: Any, sensors: Any) -> Any:
    """Return C (k, n) of a model that can be read."""
    if reduced.basis is None:
        why = "does not hold its basis"
        if getattr(reduced, "coded", None) is not None:
            why = "holds its basis in few bits"
        elif hasattr(reduced, "leaves"):
            why = "has a basis for each of its boxes"
        raise ModelError(f"sensors read points of the field, and this model {why}; give outputs, data={{name: value}}")
    n = reduced.basis.shape[0]
    if sp.issparse(sensors) or np.ndim(sensors) == 2:
        matrix = entries("sensors", sensors)
        if matrix.shape[1] != n:
            hint = "; transpose them" if matrix.shape[0] == n else ""
            raise ModelError(f"sensors have shape {matrix.shape}, expected (k, {n}) for this model{hint}")
        return matrix
    numbers = np.asarray(sensors)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
        raise ModelError(
            f"sensors must be whole numbers (k,), of unknowns, or a matrix (k, {n}), got shape {numbers.shape} of "
            f"{numbers.dtype}"
        )
    outside = numbers[(numbers < 0) | (numbers >= n)]
    if len(outside):
        raise ModelError(f"sensors name the unknown {outside[0]}, outside 0 to {n - 1}")
    one = np.ones(len(numbers))
    return sp.csr_array((one, (np.arange(len(numbers)), numbers)), shape=(len(numbers), n))


def _field(reduced: ReducedModel, matrix: Any, weights: np.ndarray) -> FieldPoints:
    basis, product = np.asarray(reduced.basis), reduced.product
    if product is None:
        raise ModelError(
            "the model does not hold its product, in which points of the field are bounded; make it by rbm.greedy or "
            "rbm.project from a sparse product, or give outputs"
        )
    inner = InnerProduct(product)
    functionals = (matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)).conj().T
    norms, off = inner.dual_norm_with_error(functionals)
    longest = int(np.diff(sp.csr_array(matrix).indptr).max(initial=1)) + basis.shape[1]
    made = []
    for row in np.unique(weights, axis=0) if len(weights) > 1 else weights:
        span = FunctionalRange(inner)
        scaled = functionals * row
        span.append(scaled, np.zeros_like(scaled), ROUND_OFF * np.abs(scaled))
        norm = float(np.linalg.norm(span.factor, 2)) * (1 + span.orthogonality) if span.factor.size else 0.0
        made.append((tuple(row), norm * (1 + OF_NORMS) + float(np.linalg.norm(span.defects))))
    by_row = dict(made)
    return FieldPoints(
        np.asarray(matrix @ basis),
        4 * (longest + 8) * ROUND_OFF * np.asarray(abs(matrix) @ np.abs(basis)),
        (norms + off) * (1 + 16 * ROUND_OFF),
        tuple(by_row[tuple(row)] for row in weights),
    )
