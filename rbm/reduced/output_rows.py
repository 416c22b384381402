"""Array-valued outputs of a reduced model: k linear functionals under one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lowrank.arrays import namespace
from rbm.affine.inner_product import InnerProduct
from rbm.affine.linear_rows import LinearRows
from rbm.affine.terms import Output
from rbm.errors import ModelError
from rbm.online.forms import speaks_for
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.outputs import AtPoints, ReducedLinear
from rbm.reduced.projected_outputs import reduce_output
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored, checked_arrays

__all__ = ["ReducedRows", "certified", "check_single", "named", "parts_of", "reduce_rows", "shape_of"]


@register("output")
@dataclass(frozen=True)
class ReducedRows:
    """An array-valued linear output: each row is a :class:`rbm.reduced.outputs.ReducedLinear`, bit for bit.

    Values and bounds are (M, k), derivatives (M, k, p). The compiled kernels take the rows as so many outputs. Cost per
    point: 2 N k flops for the values and as many for their rounding.
    """

    kind: ClassVar[str] = "linear rows"
    stored: ClassVar[Mapping[str, Stored]] = {
        "vectors": Stored("kqn", "c"),
        "dual": Stored("krq", "c"),
        "ranks": Stored("k", "i", least=0),
        "defects": Stored("kq", least=0),
        "rounding": Stored("kqn", least=0),
    }

    parts: tuple[ReducedLinear, ...]

    @property
    def coefficients(self) -> Coefficients:
        """The coefficients psi of the terms, the same for all rows."""
        return self.parts[0].coefficients

    @property
    def rows(self) -> int:
        """The number k of functionals."""
        return len(self.parts)

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.parts[0].size

    def value(self, mus: Any, gamma: Any) -> Any:
        """Return output values (M, k) at points (M, p) for gamma (M, N)."""
        return namespace(gamma).stack([part.value(mus, gamma) for part in self.parts], axis=1)

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """Return bounds (M, k) from error bounds (M,) of the solution."""
        return namespace(gamma).stack([part.bound(mus, gamma, error) for part in self.parts], axis=1)

    def truncate(self, size: int) -> ReducedRows:
        """Return the output for the first `size` basis vectors."""
        return ReducedRows(tuple(part.truncate(size) for part in self.parts))

    def arrays(self) -> dict[str, Any]:
        """Return the arrays of all rows, for a file; those of the dual norms are filled up with zeros to `ranks`."""
        ranks = np.array([len(part.dual) for part in self.parts])
        dual = np.zeros((self.rows, max(1, ranks.max()), len(self.coefficients)), self.parts[0].dual.dtype)
        for made, part in zip(dual, self.parts, strict=True):
            made[: len(part.dual)] = part.dual
        return {
            "coefficients": self.coefficients,
            "vectors": np.stack([part.vectors for part in self.parts]),
            "dual": dual,
            "ranks": ranks,
            "defects": np.stack([part._defects for part in self.parts]),
            "rounding": np.stack([_rounding(part) for part in self.parts]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make the output from :meth:`arrays`. Raises ValueError for entries that do not fit each other."""
        psi = arrays.get("coefficients")
        if not isinstance(psi, Coefficients):
            raise ValueError(f"the coefficients of its output of the kind {cls.kind!r} are {psi!r}")
        known = checked_arrays(f"output of the kind {cls.kind!r}", arrays, cls.stored, {"q": len(psi)})
        ranks = known["ranks"]
        if not (len(ranks) and ranks.max() <= known["dual"].shape[1]):
            raise ValueError(f"the ranks of its output of the kind {cls.kind!r} do not fit its dual norms")
        rows = zip(*(known[name] for name in ("vectors", "dual", "ranks", "defects", "rounding")), strict=True)
        return cls(tuple(ReducedLinear(psi, v, d[: int(r)], defects, off) for v, d, r, defects, off in rows))


def _rounding(part: ReducedLinear) -> np.ndarray:
    return np.zeros(part.vectors.shape) if part.rounding is None else part.rounding


def reduce_rows(product: InnerProduct, basis: np.ndarray, output: LinearRows, name: str) -> ReducedRows:
    """Return an array-valued output on the span of a P-orthonormal basis (n, N).

    Each row is reduced alone, as an output of its own would be: its dual norm costs a Riesz solve for each term.
    """
    made = []
    for i in range(output.rows):
        part = reduce_output(product, basis, Output(output.coefficients, output.row(i)), f"{name}[{i}]")
        assert isinstance(part, ReducedLinear)
        made.append(part)
    return ReducedRows(tuple(made))


def certified(outputs: Mapping[str, Any], at: AtPoints) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values and bounds (m,) of all outputs by name, which are checked by the caller."""
    values, bounds = {}, {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, out in outputs.items():
            if speaks_for(out, "certified", "value", "bound"):
                values[name], bounds[name] = out.certified(at)
            else:
                values[name] = out.value(at.mus, at.gamma)
                bounds[name] = None if at.error is None else out.bound(at.mus, at.gamma, at.error)
    return values, bounds


def parts_of(output: Any) -> tuple[Any, ...]:
    """Return the outputs with one value a point that an output is made of: its rows, or itself."""
    return output.parts if isinstance(output, ReducedRows) else (output,)


def shape_of(output: Any) -> tuple[int, ...]:
    """Return the shape of the values of an output at one point: (), or (k,)."""
    return (output.rows,) if isinstance(output, ReducedRows) else ()


def named(outputs: Mapping[str, Any], columns: Any) -> dict[str, Any]:
    """Return the columns of an array (M, all parts) by output: (M,), or (M, k) for an output of k rows."""
    made, places = {}, _places(outputs)
    for name, place in places:
        made[name] = columns[:, place]
    return made


def _places(outputs: Mapping[str, Any]) -> Iterator[tuple[str, int | slice]]:
    at = 0
    for name, output in outputs.items():
        if isinstance(output, ReducedRows):
            yield name, slice(at, at + output.rows)
            at += output.rows
        else:
            yield name, at
            at += 1


def check_single(outputs: Mapping[str, Any], name: str, who: str) -> None:
    """Raise ModelError for an output of several rows where one value a point is asked for."""
    if shape := shape_of(outputs[name]):
        raise ModelError(
            f"{who} needs an output of one value, and {name!r} has {shape[0]}: give the full model the row that is "
            "meant as an output of its own, {'one': C[i]}, or read solve(mus).outputs"
        )
