"""The arguments and answers of the kernels: named tuples of arrays, and integers that say what is to be done.

A call from Python passes plain tuples (:func:`tuple`), whose types Numba finds ten times faster than those of named
ones; the kernels give the fields their names again. Complex arrays (M, k) of answers and coefficients come as real ones
(M, 2 k).
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: How the reduced system is solved: not at all, by L D L^H, by LU with partial pivoting, by Householder QR.
GIVEN, LDL, LU, QR = range(4)
#: What is computed of the residual: nothing, ||F c||, (c^H G c)^{1/2}.
NOTHING, NORM, EXPANDED = range(3)
#: How a point ended: answered, with a pivot that is not positive (LDL), with numbers beyond their range, without an
#: error bound.
SOLVED, INDEFINITE, NOT_FINITE, NO_BOUND = range(4)


class PackedSystem(NamedTuple):
    """The reduced system: its entries one after the other, the Qa numbers of each entry together."""

    kind: int  #: GIVEN, LDL, LU or QR
    terms: Any  #: (entries * Qa,): lower triangles (LDL), whole matrices (LU), or the staircase of columns (QR)
    sources: Any  #: (k * Qf,)
    start: Any  #: (N + 1,) first entry of each column of [A | f]; QR only
    height: Any  #: (N + 1,) number of leading entries of each column that may differ from zero; QR only
    entries: int  #: of a matrix


class PackedSplit(NamedTuple):
    """The factor F in two parts (:mod:`rbm.online.splitting`), in the order of its entries; empty if not refined."""

    matrix: Any  #: (2, entries): F' and F''
    scales: Any  #: s (columns,)
    shifts: Any  #: (columns,)


class PackedFactor(NamedTuple):
    """A real matrix F in blocks of four rows, and the floor of its residual norm.

    A block starts at its first nonzero column; its rows are interleaved, entry by entry.
    The floor of ||F c|| is sum_j w_j |c_j| + relative value + absolute, that of (c^H G c)^{1/2} is
    relative sum_j w_j |c_j| + absolute.
    """

    mode: int  #: NOTHING, NORM or EXPANDED
    refined: bool  #: whether weak points are evaluated again in twice the working precision
    matrix: Any  #: all entries
    first: Any  #: (2, blocks): first column, first element
    columns: int  #: padded to a multiple of four
    weights: Any  #: w (2, m): of the working precision, and of twice that
    relative: float
    absolute: float
    split: Any  #: the fields of :class:`PackedSplit`


class PackedFinish(NamedTuple):
    """The stability bound and the outputs (:class:`rbm.online.forms.Finish`)."""

    #: (1 + 3 Qa,) as in :class:`rbm.online.forms.Finish`; (0,): beta comes with the points, or is absent
    stability: Any
    functionals: Any  #: (outputs * N,)
    magnitudes: Any  #: (outputs, N)
    norms: Any  #: (outputs,)
    #: (Qa + 1, N) weights and magnitudes of :class:`rbm.online.forms.Energy`; (0, 0) if no output is compliant
    energy: Any
    skew: Any  #: (1 + Qa,): size, skew; (0,)
    mismatch: Any  #: (outputs,); negative for outputs that are not compliant


class PackedProducts(NamedTuple):
    """E4's selected products and their triangular matrices (:class:`rbm.online.forms.ProductForm`)."""

    products: Any  #: (3, sigma'): i, j, and 0 for the real, 1 for the imaginary part
    scales: Any  #: (m,)
    lower: Any  #: (sigma' * sigma',) by columns
    upper: Any  #: (sigma' * sigma',) by columns
    squares: Any  #: V (sigma',)
    errors: Any  #: e (sigma',)
    weights: Any  #: w (m,)
    deviation: float
    absolute: float


class Points(NamedTuple):
    """Coefficients theta, phi and stability bounds at M points."""

    theta: Any  #: (M, Qa)
    phi: Any  #: (M, Qf)
    beta: Any  #: (M,) stability bounds; (0,) if there are none, or the kernel calculates them


class Answers(NamedTuple):
    """The answers for M points; what was not asked for is not written."""

    gamma: Any  #: (M, N)
    value: Any  #: (M,) residual norm, divided by beta if there is one
    floor: Any  #: (M,)
    resolved: Any  #: (M,)
    outputs: Any  #: (M, outputs)
    output_bounds: Any  #: (M, outputs)
    failed: Any  #: (M,): SOLVED, INDEFINITE, NOT_FINITE or NO_BOUND; None in Python if all went well


class MarchSystem(NamedTuple):
    """The reduced recursion of :class:`rbm.online.marching.Recursion`: the Q numbers of each entry together."""

    kind: int  #: LDL or LU
    operators: Any  #: (N * N * Qa,)
    mass: Any  #: (entries * Qm,): lower triangles (LDL) or whole matrices (LU)
    sources: Any  #: (N * Qf,)
    dt: float
    theta: float


class MarchFactor(NamedTuple):
    """The factor R (k, m) of the residual of every step, in blocks of two rows, and the weights of its floor.

    The columns of R are in groups, one for f, then for each basis vector one of A and one of M. A block starts at its
    first group that is not zero; its rows are interleaved.
    """

    matrix: Any  #: all entries
    first: Any  #: (3, blocks): first group, first entry when each group is one column, first element of `matrix`
    weights: Any  #: w (m,)


class MarchPoints(NamedTuple):
    """Coefficients and outputs at M points; the last three may have one row, the same for all points."""

    theta: Any  #: of A (M, Qa)
    weights: Any  #: of M (M, Qm)
    phi: Any  #: of f (M, Qf)
    start: Any  #: gamma^0 (M, N)
    control: Any  #: (M, K)
    functionals: Any  #: (M, outputs * N)
    magnitudes: Any  #: (M, outputs * N), real: rounding errors are at most sum_i magnitudes_i |gamma_i|


class MarchAnswers(NamedTuple):
    """The answers for M points; arrays without rows are not written."""

    gamma: Any  #: (M, K + 1, N)
    values: Any  #: residual norms times dt (M, K); without rows nothing is certified
    spreads: Any  #: sum_j w_j |c_j| (M, K)
    sizes: Any  #: ||gamma^k||_2 (M, K + 1), but for k = 0
    outputs: Any  #: (outputs, M, K + 1)
    roundings: Any  #: (outputs, M, K + 1), of the outputs
    failed: Any  #: (M,): SOLVED, INDEFINITE or NOT_FINITE
    residuals: Any  #: R c^k itself (M, K, k)
