"""A reduced model for the query of one point: packed once, and called with scratch memory that is kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.forms import Finish, NormForm, SquareForm
from rbm.online.kernels import packed, packed_point
from rbm.online.kernels.arguments import PackedFactor, PackedFinish
from rbm.online.kernels.point_query import point_query
from rbm.online.programs import Program

__all__ = ["CompiledPoint", "PointScratch"]

DOUBLE = np.dtype(float)


class PointScratch:
    """Scratch memory of one query at a time, with views of what Python reads and writes."""

    def __init__(self, packed: packed_point.PackedPoint) -> None:
        sizes = packed_point.PointSizes(*packed.integers[: len(packed_point.PointSizes._fields)].tolist())
        self.room = packed_point.aligned_room(packed.room)
        self.room[:] = 0.0
        fields, at = [], 0
        counts = (3 + 2 * sizes.outputs, sizes.n, sizes.inputs, sizes.qa + sizes.qf + 1)
        for count in counts:
            fields.append(self.room[at : at + count])
            at += -(-count // 8) * 8
        self.answers, self.gamma, self.inputs, self.values = fields
        self.theta, self.phi = self.values[: sizes.qa], self.values[sizes.qa : -1]


class CompiledPoint:
    """Answers one point of a real model in double precision with symmetric operators.

    operators : A_q (Qa, N, N), rhs : (Qf, N); limits : (2, p) of the parameters
    program : theta, phi and beta at the places 0 .. Qa + Qf; those that it leaves out are written into the scratch
    memory before each query
    """

    def __init__(
        self,
        operators: np.ndarray,
        rhs: np.ndarray,
        form: NormForm | SquareForm,
        finish: Finish,
        limits: np.ndarray,
        program: Program,
    ) -> None:
        pack: Any = packed.pack_factor if isinstance(form, NormForm) else packed.pack_square
        factor: PackedFactor = pack(form, DOUBLE)
        ending: PackedFinish = packed.pack_finish(finish, DOUBLE)
        symmetric = (operators + operators.transpose(0, 2, 1)) / 2
        self._packed = packed_point.pack_point(symmetric, rhs, factor, ending, limits, program)

    def scratch(self) -> PointScratch:
        """Return new scratch memory."""
        return PointScratch(self._packed)

    def answer(self, scratch: PointScratch) -> bool:
        """Answer the point in `scratch`; return False where another way has to be taken, which says what is wrong."""
        return bool(point_query(self._packed.integers, self._packed.numbers, scratch.room))
