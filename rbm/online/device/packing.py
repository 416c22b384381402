"""A reduced model as two arrays for the fused kernel: integers that begin with its sizes, and numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbm.online.device.source import ROWS, Sizes, Variant, arena
from rbm.online.forms import Finish, NormForm
from rbm.online.programs import STORE, Program

__all__ = ["DeviceModel", "pack"]


class DeviceModel(NamedTuple):
    """A real or complex model with square systems, in NumPy's arrays."""

    operators: np.ndarray  #: A_q (Qa, N, N); Hermitian up to round-off for L D L^H
    rhs: np.ndarray  #: f_q (Qf, N)
    form: NormForm  #: the estimator
    finish: Finish  #: stability bound and outputs
    limits: np.ndarray  #: (2, p), or (2, 0) where ranges are checked before
    columns: int  #: p
    program: Program  #: of the coefficients that are not given


class _Numbers:
    """Arrays one after the other."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.count = 0

    def add(self, array: Any, dtype: Any = float) -> int:
        """Append an array and return where it begins; complex numbers as real and imaginary parts in turn."""
        flat = np.ascontiguousarray(array, dtype).ravel()
        flat = flat.view(float) if flat.dtype.kind == "c" else flat
        self.parts.append(flat)
        self.count += len(flat)
        return self.count - len(flat)

    def joined(self, dtype: Any) -> np.ndarray:
        return np.concatenate([*self.parts, np.zeros(0, dtype)])


def pack(model: DeviceModel, variant: Variant, min_theta: bool) -> tuple[Sizes, np.ndarray, np.ndarray]:
    """Return the sizes, the integers (with the sizes in front) and the numbers of a model.

    min_theta : whether beta comes from theta by the numbers of `finish`
    """
    qa, _, n = model.operators.shape
    number = complex if variant.is_complex else float
    numbers, integers = _Numbers(), _Numbers()
    integers.count = len(Sizes._fields)
    terms, room = _entries(model.operators, variant.definite)
    factor = _of_pairs(model.form.factor) if variant.is_complex else model.form.factor
    blocks, places = _blocks(factor)
    finish, form, program = model.finish, model.form, model.program
    known = [e for e in finish.energies if e is not None]
    stores = np.flatnonzero(program.steps[::2] == STORE)
    mismatch = [-1.0 if e is None else e.mismatch for e in (finish.energies or (None,) * len(finish.norms))]
    energy = np.vstack([known[0].weights, np.max([e.magnitudes for e in known], axis=0)]) if known else np.zeros(0)
    sizes = Sizes(
        n=n,
        qa=qa,
        qf=len(model.rhs),
        columns=model.columns,
        limited=model.limits.shape[1],
        formulas=len(stores),
        entries=terms.shape[1],
        room=room,
        blocks=len(places),
        width=factor.shape[1],
        outputs=len(finish.norms),
        refined=int(form.refined is not None),
        min_theta=int(min_theta),
        compliant=int(bool(known)),
        arena=arena(variant, n, room, factor.shape[1]),
        terms=numbers.add(terms, number),
        sources=numbers.add(model.rhs, number),
        factor=numbers.add(blocks),
        weights=numbers.add([form.weights, form.weights if form.refined is None else form.refined]),
        floors=numbers.add([form.relative, form.absolute]),
        limits=numbers.add(model.limits),
        constants=numbers.add(program.numbers),
        stability=numbers.add(finish.stability),
        functionals=numbers.add(finish.functionals, number),
        magnitudes=numbers.add(finish.magnitudes),
        norms=numbers.add(finish.norms),
        mismatch=numbers.add(mismatch),
        energy=numbers.add(energy),
        skew=numbers.add(np.append(known[0].size, known[0].skew) if known else []),
        places=integers.add(places, np.int64),
        starts=integers.add(2 * np.append(0, stores[:-1] + 1) if len(stores) else [], np.int64),
        steps=integers.add(program.steps, np.int64),
    )
    return sizes, np.concatenate([np.array(sizes, np.int64), integers.joined(np.int64)]), numbers.joined(float)


def _entries(operators: np.ndarray, definite: bool) -> tuple[np.ndarray, int]:
    """Return the terms (Qa, entries) in the order of the kernel, and the room of a matrix and its right-hand side."""
    qa, _, n = operators.shape
    by_columns = operators.transpose(0, 2, 1)
    if not definite:
        return by_columns.reshape(qa, n * n), n * (n + 1)
    padded = np.zeros((qa, n, n + 1), operators.dtype)  # below each column a place for the right-hand side
    padded[:, :, :n] = (by_columns + operators.conj()) / 2
    columns, rows = np.triu_indices(n, 0, n + 1)
    return padded[:, columns, rows], len(rows)


def _blocks(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of all blocks of ROWS rows, and the first column and first entry (blocks, 2) of each.

    A block starts at its first column that is not zero; its entries lie column by column.
    """
    parts, places, count = [], [], 0
    for i in range(0, len(factor), ROWS):
        rows = np.zeros((ROWS, factor.shape[1]))
        rows[: len(factor) - i] = factor[i : i + ROWS]
        used = np.flatnonzero(np.any(rows != 0, axis=0))
        first = int(used[0]) if len(used) else factor.shape[1]
        parts.append(rows[:, first:].T.ravel())
        places.append((first, count))
        count += parts[-1].size
    return np.concatenate([*parts, np.zeros(0)]), np.array(places, np.int64).reshape(-1, 2)


def _of_pairs(matrix: np.ndarray) -> np.ndarray:
    """Return the real matrix (2 k, 2 m) that multiplies (re c_1, im c_1, re c_2, ...)."""
    k, m = matrix.shape
    pairs = np.empty((k, 2, m, 2))
    pairs[:, 0, :, 0] = pairs[:, 1, :, 1] = matrix.real
    pairs[:, 0, :, 1], pairs[:, 1, :, 0] = -matrix.imag, matrix.imag
    return pairs.reshape(2 * k, 2 * m)
