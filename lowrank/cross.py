"""Cross approximation: a matrix from a few of its own rows and columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from lowrank.adaptive_cross import NOISY, search
from lowrank.arrays import as_matrix, unit_roundoff
from lowrank.cross_result import CrossApproximation
from lowrank.entries import Entries, entries_of_array, is_pair
from lowrank.full_pivoting import PLATEAU, eliminate
from lowrank.limits import check_limits
from lowrank.matrix import ErrorEstimate
from lowrank.operands import scaled_to_range
from lowrank.renamed import renamed

__all__ = ["CrossApproximation", "cross_approximation"]

#: A relative error below this many u is round-off, and no tolerance is missed by it.
FLOOR = NOISY * PLATEAU
#: A sample that estimates the norm of the matrix below this fraction of that of the crosses has missed most of it.
CONCENTRATED = 0.25
#: Of at least so many crosses, those in the middle are noise if they fell by less than this factor since the first
#: quarter, and are this many times squared smaller than the first.
MANY, NO_DECAY = 32, 10.0


@renamed(max_rank="rank")
def cross_approximation(
    matrix: Any,
    *,
    shape: tuple[int, int] | None = None,
    rtol: float | None = None,
    rank: int | None = None,
    pivoting: Literal["full", "partial", "rook"] | None = None,
    entries: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    rng: int | np.random.Generator = 0,
) -> CrossApproximation:
    """Approximate A ~ C U from a few rows and columns of A, which need not be stored.

    This is Gaussian elimination that stops early.

    With R_0 = A, repeat: choose a pivot (i_k, j_k), c_k = R[:, j_k] / R[i_k, j_k], u_k = R[i_k, :], R <- R - c_k u_k.
    Then A = sum_k c_k u_k + R. The update makes row i_k and column j_k of R zero and keeps them so; no row or column is
    ever picked twice. The pivot is

    * full: the largest entry of R. Needs the array, and r passes over it
    * partial: the largest entry of a row of R, that row where the last column was largest (ACA). Reads r rows and r
      columns
    * rook: found from there by turns in its column and row, until it is the largest of both. Reads one or two times as
      much and is the stabler: |C| <= 1, as with full pivoting

    Parameters
    ----------
    matrix : A (m, n), real or complex, float32 or float64; NumPy, CuPy, ...; or a pair of functions (rows, columns),
        given NumPy integers: rows(i (k,)) -> A[i, :] (k, n) and columns(j (k,)) -> A[:, j] (m, k)
    shape : (m, n), for functions
    rtol : tolerance. Full: max |R| <= rtol max |A|. Partial and rook: ||R||_F <= rtol ||A||_F, of which the crosses go
        for half (so that :meth:`CrossApproximation.recompress` has the other half); of arrays it is kept, of functions
        as far as a sample can tell. By default only round-off stops
    rank : largest number of crosses, min(m, n) by default
    pivoting : "full" for arrays, "partial" for functions by default. Choose "rook" where partial pivoting warns that it
        has diverged, and "partial" or "rook" for large arrays, to save the passes over them
    entries : for functions, entries(i (k,), j (k,)) -> A[i_k, j_k] (k,); without it, checks read whole rows and columns
    rng : seed or generator of the entries that are checked

    Returns
    -------
    CrossApproximation, with `stopped`: "tolerance", "rank", or "round-off" when the residual is rounding errors and a
    further cross would interpolate noise: max |R| <= 4 u max |A|, or <= 300 u max |A| and less than a quarter lower
    than ten crosses before (unless rtol > 100 u: that alone is then asked for). In the second case the crosses that
    were taken on the plateau are dropped. For partial and rook the same of ||c_k|| ||u_k|| and ||A||_F.

    Raises
    ------
    ValueError
        NaN or infinite entries, a norm that overflows, a negative tolerance or rank, functions whose results have the
        wrong shape.
    TypeError
        a matrix that is no array (sparse, masked, an operator), functions whose results are no numbers, or sometimes of
        another type.

    Warns
    -----
    UserWarning
        partial or rook pivoting has diverged: the error exceeds ||A||_F, and zero would be the better approximation; or
        a tolerance was not reached, although the rank was not limited, or (full pivoting, too) only with crosses of the
        noise of the entries, to which the error, small as it is then, is no guide; or the entries at random have missed
        most of the crosses themselves, and tell little.

    Notes
    -----
    Cost of full pivoting: r passes over A (2 m n flops and a search each). Memory: one copy of A. For a single family
    of functions this *is* the empirical interpolation method (:func:`eim.empirical_interpolation`).

    Cost of partial pivoting: (m + n) r entries and 2 (m + n) r^2 flops; memory: (m + n) r numbers, two to three times
    that while they grow. Once m n entries were read in rows and columns (permutations, sparse matrices, no decay at
    all) functions are asked for all of A, 2 m n entries in all and the memory for one copy, and full pivoting goes on.
    Meant for smooth kernels between separated clouds, where the error falls exponentially (Bebendorf, Numer. Math. 86
    (2000) 565-589; Bebendorf & Rjasanow, Computing 70 (2003) 1-24). On a flat spectrum it may *diverge*.

    Stopping rule of partial and rook pivoting: the norms |c_k| |u_k| of the last two crosses are below rtol / 4 times
    the norm of C U. That is a guess: of a matrix of two diagonal blocks it has seen only one. So the residual is then
    computed in up to 1000 fresh entries at random (in all of them, if they are no more); without `entries`, in 8 rows
    and 8 columns, the larger figure of the two. The estimate of ||R||_F they give (`error`) plus two standard errors
    must be below rtol / 2 times the norm; else the search goes on from the row of the worst of them. A block in which 8
    rows and the sample are zero is taken for zero.

    An array is then compared whole, 2 m n r flops: its error is exact, and where it is above rtol / 2 full pivoting
    goes on in a copy of the residual. Of functions, what fills less than about a thousandth of the entries may be
    missed, and of those without `entries` what fills few rows and few columns: :attr:`CrossApproximation.unseen` is
    the share of the entries that the sample does not speak for, and :attr:`CrossApproximation.error_bound` a cautious
    estimate of what they may add. It is no bound: an entry that was never read may be of any size.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 50)
    >>> cross_approximation(np.exp(np.outer(x, x)), rtol=1e-10)
    CrossApproximation(50 x 50, rank 7, largest residual 1.9e-11, stopped by tolerance)

    A kernel between two clouds of 4000 points, never formed:

    >>> x, y = np.linspace(0, 1, 4000), np.linspace(2, 3, 4000)
    >>> kernel = lambda i, j: 1 / (y[j] - x[i])
    >>> rows, columns = (lambda i: kernel(i[:, None], slice(None))), (lambda j: kernel(np.arange(4000)[:, None], j))
    >>> cross = cross_approximation((rows, columns), shape=(4000, 4000), rtol=1e-8, entries=kernel)
    >>> cross.stopped, cross.rank, cross.recompress().rank, f"{cross.entries_read / 4000**2:.2%}"
    ('tolerance', 8, 5, '0.41%')
    """
    check_limits(rank, rtol)
    functions = is_pair(matrix)
    pivoting = pivoting or ("partial" if functions else "full")
    if pivoting not in ("full", "partial", "rook"):
        raise ValueError(f"pivoting must be 'full', 'partial' or 'rook', got {pivoting!r}")
    if functions and pivoting == "full":
        raise ValueError("full pivoting searches the whole matrix: pass it as an array, or choose 'partial' or 'rook'")
    if not functions and (shape is not None or entries is not None):
        raise ValueError("shape and entries belong to a pair of functions (rows, columns); an array has its own")
    unit = 1.0
    if functions:
        rows, columns = matrix
        source = Entries(_checked_shape(shape), rows, columns, entries)
    else:
        matrix, unit = scaled_to_range(as_matrix("matrix", matrix, check_finite=False))
        if pivoting == "full":
            cross = _in_units(eliminate(as_matrix("matrix", matrix), rtol, rank), unit)
            _warn_of_noise(cross, rtol, rank)
            return cross
        source = entries_of_array(matrix)
    cross, met = search(source, rtol, rank, rook=pivoting == "rook", rng=np.random.default_rng(rng))
    cross = _in_units(cross, unit)
    seen = "estimated " if cross.sampled else ""
    if cross.error.value > cross.norm:
        warnings.warn(
            f"cross approximation with {pivoting} pivoting has diverged at rank {cross.rank}: the {seen}error is "
            f"{cross.error.value / cross.norm:.2g} times the norm of the matrix, which has no fast decay; use a "
            "singular value decomposition, or full pivoting",
            stacklevel=3,
        )
    elif rank is None and _missed(cross):
        warnings.warn(
            f"cross approximation: rtol={rtol:g} was not reached, the {seen}relative error is "
            f"{cross.bound / cross.norm:.2g} at rank {cross.rank}; use a singular value decomposition",
            stacklevel=3,
        )
    elif cross.sampled and met < CONCENTRATED * cross.norm:
        warnings.warn(
            "cross approximation: the matrix has entries so few or so large that the sample, which makes its norm "
            f"{met / cross.norm:.1g} times what it is at least, missed most of it, and may have missed others: pass an "
            "array, or see error_bound",
            stacklevel=3,
        )
    _warn_of_noise(cross, rtol, rank)
    return cross


def _warn_of_noise(cross: CrossApproximation, rtol: float | None, rank: int | None) -> None:
    """Warn if crosses were taken to the last of the noise of the entries, for a tolerance below it."""
    if rank is None and rtol is not None and (noise := _noise_level(cross)) is not None:
        whole = "largest entry" if cross.pivoting == "full" else "norm"
        warnings.warn(
            f"cross approximation: rtol={rtol:g} is below the noise of the entries; {cross.rank} of "
            f"{min(cross.columns.shape[0], cross.rows.shape[1])} crosses were taken, "
            f"and their sizes do not fall below {noise:.1g} of the {whole}; ask for a larger rtol, or limit the rank",
            stacklevel=4,
        )


def _noise_level(cross: CrossApproximation) -> float | None:
    """Return the level relative to ||A|| at which the crosses stopped falling, None if they did not.

    That counts only if at least half of all possible crosses were taken.

    Of full pivoting relative to max |A|: its pivots keep their size in noise, and grow rather; measured: by a factor
    0.92 to 1.3, of singular values k^-1.75 by 0.9, of slower ones too, but these are not small at half the rank.
    """
    most, history = min(cross.columns.shape[0], cross.rows.shape[1]), cross.residual_history
    if cross.rank < max(MANY, most // 2):
        return None
    early, late = (float(np.median(history[k : k + cross.rank // 8])) for k in (cross.rank // 4, cross.rank // 2))
    full = cross.pivoting == "full"
    fall, level, size = (1.1, NO_DECAY**3, history[0]) if full else (NO_DECAY, NO_DECAY**2, cross.norm)
    return late / float(size) if late > early / fall and late < history[0] / level else None


def _in_units(cross: CrossApproximation, unit: float) -> CrossApproximation:
    """Return the crosses of unit A from those of A. Raises ValueError for norms that overflow."""
    if unit != 1:
        with np.errstate(over="ignore"):
            cross = replace(
                cross,
                rows=cross.rows * unit,
                pivots=cross.pivots * unit,
                residual_history=cross.residual_history * unit,
                error=ErrorEstimate(cross.error.value * unit, cross.error.standard_error * unit),
                norm=cross.norm * unit,
            )
    if not (np.isfinite(cross.norm) and np.all(np.isfinite(cross.residual_history))):
        raise ValueError("the norm of the matrix, or of its residual, overflows; scale the matrix")
    return cross


def _missed(cross: CrossApproximation) -> bool:
    """Return whether a tolerance was asked for and missed by more than round-off."""
    return cross.rtol > 0 and cross.bound > max(cross.rtol, FLOOR * unit_roundoff(cross.columns)) * cross.norm


def _checked_shape(shape: Any) -> tuple[int, int]:
    pair = isinstance(shape, tuple) and len(shape) == 2
    if not (pair and all(isinstance(k, int | np.integer) and k >= 0 for k in shape)):
        raise ValueError(f"functions do not tell the shape of the matrix: pass shape=(m, n), got {shape!r}")
    return int(shape[0]), int(shape[1])
