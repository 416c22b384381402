"""Matrices that mislead crosses: what was compared is exact, what was sampled is not called so, and reading ends."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from helpers.other_arrays import xp

from benchmarks import low_rank_failures
from lowrank import cross_approximation, cur, interpolative_decomposition
from lowrank.arrays import to_numpy

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
ALL_TYPES = pytest.mark.parametrize("dtype", DTYPES)
BOTH = pytest.mark.parametrize("pivoting", ["partial", "rook"])


def smooth(m: int, n: int, dtype: type = np.float64) -> np.ndarray:
    x, y = np.linspace(0, 1, m)[:, None], np.linspace(2, 3, n)
    return (1 / (y - x) * (np.exp(2j * (y - x)) if np.dtype(dtype).kind == "c" else 1.0)).astype(dtype)


def error_of(matrix: np.ndarray, found: np.ndarray) -> float:
    return float(np.linalg.norm(matrix.astype(complex) - found))


def functions(matrix: np.ndarray) -> tuple:
    return lambda i: matrix[i], lambda j: matrix[:, j]


# the check


@pytest.mark.parametrize("transposed", [False, True])
def test_a_check_by_lines_that_met_nothing_does_not_outweigh_one_that_did(transposed):
    """Two or three rows hold a block that any of its columns shows.

    Eight rows at random do not show it. Or the other way round.
    """
    for seed in range(25):
        rng = np.random.default_rng(seed)
        a = np.zeros((240, 260))
        a[:, :130] = 1.0
        a[rng.choice(np.arange(1, 240), 2 + seed % 2, replace=False), 130:] = 6.0
        a = a.T if transposed else a
        cross = cross_approximation(functions(a), shape=a.shape, rtol=1e-3, rng=100 + seed)
        assert error_of(a, cross.to_dense()) <= 1e-3 * np.linalg.norm(a), seed


@BOTH
@ALL_TYPES
@pytest.mark.parametrize("entry", [(0, 0), (350, 299), (123, 45)])
def test_an_array_is_compared_whole(pivoting, dtype, entry):
    """A single entry of 120,000: no sample finds it, and the tolerance is kept."""
    a = smooth(400, 300, dtype)
    a[entry] += 30
    cross = cross_approximation(a, rtol=1e-3, pivoting=pivoting)
    truth = error_of(a, cross.to_dense())
    assert truth <= 1e-3 * np.linalg.norm(a)
    assert cross.error == pytest.approx((truth, 0.0), rel=0.05)
    assert (cross.unseen, cross.sampled, cross.error_bound) == (0.0, False, cross.error.value + cross.rounding)
    assert cross.stopped in ("tolerance", "round-off")
    assert cross.rank <= 12
    assert cross.entries_read <= 2.5 * a.size
    limited = cross_approximation(a, rtol=1e-3, rank=2, pivoting=pivoting)
    assert limited.stopped == "rank"
    assert limited.error.value == pytest.approx(error_of(a, limited.to_dense()), rel=1e-3)


@BOTH
def test_without_a_tolerance_nothing_but_round_off_is_left_of_an_array(pivoting):
    for a in (smooth(200, 150), np.eye(200)[:, ::-1], np.diag(10.0 ** -np.arange(0, 200))):
        a = a.copy()
        a[150, 20] += 1e-3  # rows and columns lead past it
        cross = cross_approximation(a, pivoting=pivoting)
        assert cross.stopped == "round-off"
        assert error_of(a, cross.to_dense()) <= 1e-13 * np.linalg.norm(a)


@BOTH
def test_arrays_of_another_module_are_compared_whole_too(pivoting):
    a = smooth(60, 50)
    a[33, 7] += 5
    cross = cross_approximation(xp.asarray(a), rtol=1e-4, pivoting=pivoting)
    assert error_of(a, to_numpy(cross.to_dense())) <= 1e-4 * np.linalg.norm(a)
    assert cross.error.standard_error == 0


# what a sample says


def test_what_a_sample_does_not_speak_for_is_said():
    a = smooth(300, 300)
    a[143, 97] += 0.9  # not above the largest entry
    for entries, unseen, share in (
        (lambda i, j: a[i, j], 1 - 1e-6 ** (1 / 1000), "1.4%"),
        (None, (1 - 1e-6 ** (1 / 16)) ** 2, "33.4%"),
    ):
        cross = cross_approximation(functions(a), shape=a.shape, entries=entries, rtol=1e-6)
        truth = error_of(a, cross.to_dense())
        assert truth > 1e-6 * cross.norm > cross.error.value  # missed, as it may be
        assert cross.unseen == pytest.approx(unseen, rel=1e-3)
        assert truth <= cross.error_bound < np.inf
        assert cross.sampled
        assert f"in all but {share} of the entries" in repr(cross)
        assert cur(functions(a), shape=a.shape, entries=entries, rtol=1e-6).error_bound >= truth
        found = interpolative_decomposition(functions(a), shape=a.shape, entries=entries, rtol=1e-6)
        assert found.error_bound >= truth
    small = a[:20, :40]  # all of its entries are checked
    cross = cross_approximation(functions(small), shape=small.shape, entries=lambda i, j: small[i, j], rtol=1e-2)
    assert (cross.unseen, cross.sampled) == (0.0, False)
    for few in (a[:8], a[:, :5]):  # all rows, or all columns, are compared
        cross = cross_approximation(functions(few), shape=few.shape, rtol=1e-2)
        assert (cross.unseen, cross.sampled) == (0.0, False)
        assert cross.error.value == pytest.approx(error_of(few, cross.to_dense()), rel=1e-9)


@pytest.mark.parametrize("with_entries", [True, False])
@pytest.mark.parametrize("shape", [(1000, 1000), (3000, 5000)])
def test_a_zero_block_costs_a_few_rows_and_the_sample(shape, with_entries):
    m, n = shape
    everything = {0: np.arange(m), 1: np.arange(n)}

    def entries(i, j):
        return np.zeros(np.broadcast(i, j).shape)

    cross = cross_approximation(
        (lambda i: entries(i[:, None], everything[1]), lambda j: entries(everything[0][:, None], j)),
        shape=shape,
        rtol=1e-6,
        entries=entries if with_entries else None,
    )
    assert (cross.rank, cross.stopped, cross.error, cross.norm) == (0, "round-off", (0.0, 0.0), 0.0)
    assert cross.entries_read <= 20 * (m + n) + 1000
    assert cross.error_bound == np.inf  # zeros tell nothing of the size of others
    assert f"zero in all {cross.entries_read:,} of {m * n:,} entries read" in repr(cross)


def test_a_block_in_zeros_is_found_by_the_sample():
    a = np.zeros((900, 700))
    a[600:660, 500:590] = smooth(60, 90)  # of 0.9 % of the entries
    cross = cross_approximation(functions(a), shape=a.shape, entries=lambda i, j: a[i, j], rtol=1e-4)
    assert error_of(a, cross.to_dense()) <= 1e-4 * np.linalg.norm(a)
    assert cross.entries_read <= 0.1 * a.size


def test_a_sample_that_missed_the_crosses_themselves_is_told():
    n = 2000
    everything = np.arange(n)

    def entries(i, j):
        return np.where((i == j) & (i < 4), 10.0 ** (i % 3), 0.0)

    rows, columns = (lambda i: entries(i[:, None], everything)), (lambda j: entries(everything[:, None], j))
    with pytest.warns(
        UserWarning, match="entries so few or so large that the sample, .* missed most of it, .* error_bound"
    ):
        cross = cross_approximation((rows, columns), shape=(n, n), entries=entries, rtol=1e-6)
    assert cross.rank == 1
    assert cross.error_bound >= 100


@BOTH
@pytest.mark.parametrize("with_entries", [True, False])
@pytest.mark.parametrize("corner", [slice(290, 300), slice(0, 10), [3, 70, 299]])
def test_a_small_block_that_no_row_of_the_other_meets(corner, with_entries, pivoting):
    """Rows and columns of one block are zero in the other.

    The block has a thousandth of the entries and nearly all of the norm.
    """
    a, few = smooth(300, 300), np.zeros(300, dtype=bool)
    few[corner] = True
    a[few[:, None] != few] = 0.0
    a[few[:, None] & few] *= 1e6
    entries = (lambda i, j: a[i, j]) if with_entries else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the sample missed the crosses
        cross = cross_approximation(functions(a), shape=a.shape, entries=entries, rtol=1e-6, pivoting=pivoting)
    assert error_of(a, cross.to_dense()) <= 1e-6 * np.linalg.norm(a)
    assert cross.entries_read <= 0.4 * a.size


@pytest.mark.parametrize("transposed", [False, True])
def test_a_few_lines_in_a_block_of_zeros_are_found_from_either_side(transposed):
    a = np.zeros((300, 300))
    a[:150, :297] = smooth(150, 297)
    a[200, 297:] = 0.1
    a = a.T if transposed else a
    cross = cross_approximation(functions(a), shape=a.shape, rtol=1e-6)
    assert error_of(a, cross.to_dense()) <= 1e-6 * np.linalg.norm(a)


@pytest.mark.parametrize("pivoting", ["full", "partial", "rook"])
def test_a_tolerance_below_the_noise_of_the_entries_is_told(pivoting):
    a = smooth(100, 120) + 1e-6 * np.random.default_rng(0).standard_normal((100, 120))
    given, options = (a, {}) if pivoting == "full" else (functions(a), {"shape": a.shape})
    with pytest.warns(
        UserWarning, match=r"rtol=1e-09 is below the noise of the entries; \d+ of 100 crosses were taken"
    ):
        cross_approximation(given, rtol=1e-9, pivoting=pivoting, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cross_approximation(given, rtol=1e-3, pivoting=pivoting, **options).rank < 10
        cross_approximation(given, rtol=1e-9, rank=90, pivoting=pivoting, **options)
        fast = np.diag(2.0 ** -np.arange(100))  # as many crosses are needed, and none is noise
        cross_approximation(fast, rtol=1e-25, pivoting=pivoting)


@pytest.mark.parametrize("size", [64, 150, 300])
@pytest.mark.parametrize("seed", range(3))
def test_full_pivoting_tells_noise_from_slow_decay(size, seed):
    rng = np.random.default_rng(seed)
    q, w = (np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2))
    x, k = np.linspace(0, 1, size), np.arange(1.0, size + 1)
    smooth_part = 1 / (1 + np.add.outer(x, x))
    noises = rng.standard_normal((size, size)), rng.random((size, size)), np.sign(rng.random((size, size)) - 0.5)
    for noise in (*(1e-7 * n for n in noises), np.round(smooth_part, 8) - smooth_part):
        with pytest.warns(
            UserWarning, match=r"rtol=1e-12 is below the noise .* do not fall below \de-0\d of the largest entry"
        ):
            cross_approximation(smooth_part + noise, rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for a in (*((q / k**p) @ w for p in (1, 2, 3)), abs(np.subtract.outer(x, x)), noises[0], np.eye(size)):
            cross_approximation(a, rtol=1e-12)


@pytest.mark.parametrize("pivoting", ["full", "partial", "rook"])
@pytest.mark.parametrize("kind", ["float64", "float32", "complex128", "complex64"])
def test_the_error_bound_holds_where_only_rounding_is_left(pivoting, kind):
    rng, wide = np.random.default_rng(1), np.clongdouble if "complex" in kind else np.longdouble
    for m, n, r in ((30, 30, 30), (60, 40, 40), (80, 90, 6), (50, 1, 1)):
        a = rng.standard_normal((m, r)) @ rng.standard_normal((r, n))
        a = (a * np.exp(1j * rng.random((m, n))) if "complex" in kind else a).astype(kind)
        cross = cross_approximation(a, pivoting=pivoting)
        exact = np.linalg.norm((a.astype(wide) - cross.columns.astype(wide) @ cross.rows.astype(wide)).astype(complex))
        assert max(exact, np.linalg.norm(a - cross.to_dense())) <= cross.error_bound
        assert cross.error_bound <= max(1000 * np.finfo(kind).eps * len(cross.pivots) * cross.norm, 10 * exact)
    assert cross_approximation(np.zeros((3, 4), kind), pivoting=pivoting).error_bound == 0


# how much is read


@BOTH
@pytest.mark.parametrize("as_functions", [False, True])
@pytest.mark.parametrize("kind", ["permutation", "sign", "sparse", "identity"])
def test_reading_ends_with_the_matrix(kind, as_functions, pivoting):
    rng, n = np.random.default_rng(3), 120
    a = {
        "permutation": np.eye(n)[rng.permutation(n)],
        "identity": np.eye(n, 2 * n, k=30),
        "sign": rng.choice([-1.0, 1.0], (n, n)),
        "sparse": rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.05),
    }[kind]
    options = {"shape": a.shape, "entries": lambda i, j: a[i, j]} if as_functions else {}
    cross = cross_approximation(functions(a) if as_functions else a, rtol=1e-6, pivoting=pivoting, **options)
    assert error_of(a, cross.to_dense()) <= 1e-6 * np.linalg.norm(a)
    assert cross.entries_read <= 2.6 * a.size + 2 * 1000 * n // 8  # with the checks between
    assert cross.entries_read <= 3.7 * a.size or kind != "permutation"
    assert (cross.unseen, cross.error.standard_error) == (0.0, 0.0)


@pytest.mark.parametrize("pivoting", ["full", "partial", "rook"])
def test_near_the_largest_number(pivoting):
    a = smooth(30, 20)
    with np.errstate(all="raise"):
        big = cross_approximation(2.0**1015 * a, rtol=1e-8, pivoting=pivoting)
    same = cross_approximation(a, rtol=1e-8, pivoting=pivoting)
    assert np.array_equal(big.row_indices, same.row_indices)
    assert np.array_equal(big.rows, 2.0**1015 * same.rows)
    assert big.error.value == pytest.approx(2.0**1015 * same.error.value, rel=1e-6)
    with pytest.raises(ValueError, match="norm of the matrix, or of its residual, overflows; scale the matrix"):
        cross_approximation(np.full((20, 20), 1.7e308), pivoting=pivoting)


# ID and CUR


@ALL_TYPES
@pytest.mark.parametrize("pivoting", ["full", "partial", "rook"])
def test_the_interpolative_decomposition_has_its_error(pivoting, dtype):
    a = smooth(90, 80, dtype)
    a[50, 60] += 2
    for rank in (2, 5):
        found = interpolative_decomposition(a, rank, pivoting=pivoting)
        j, x = found
        assert (len(found), found.rank) == (2, rank)
        assert found[0] is j is found.columns
        assert found[1] is x is found.coefficients
        noise = 20 * float(np.finfo(dtype).eps) * found.norm
        assert found.error == pytest.approx((error_of(a, a[:, j].astype(complex) @ x), 0.0), rel=1e-6, abs=noise)
        assert found.norm == pytest.approx(np.linalg.norm(a), rel=1e-5)
        assert found.error_bound == found.error.value
        assert f"({rank} of 80 columns, relative error {found.error.value / found.norm:.1e}, stopped by" in repr(found)
        skeleton = cur(a, rank, pivoting=pivoting)
        assert skeleton.error == pytest.approx((error_of(a, skeleton.to_dense()), 0.0), rel=1e-6, abs=noise)


# many of them


def test_forty_misleading_matrices_and_the_run_goes_on(tmp_path, capsys):
    out = tmp_path / "failures.json"
    assert low_rank_failures.main(["--out", str(out), "--cases", "24"]) == 0
    first = json.loads(out.read_text())
    assert low_rank_failures.main(["--out", str(out), "--cases", "40"]) == 0
    results = json.loads(out.read_text())
    assert (first["done"], results["done"]) == (24, 40)
    assert sum(sum(counts.values()) for counts in results["families"].values()) == 40
    assert not any("silent" in counts for counts in results["families"].values())
    assert "silent" in capsys.readouterr().out


def test_a_silent_failure_is_seen(monkeypatch):
    case = next(c for c in map(low_rank_failures.case_of, range(100)) if c.method == "cross" and c.given == "array")

    class Liar:
        def __init__(self, honest):
            self.honest, self.error, self.error_bound = honest, type(honest.error)(0.0, 0.0), 0.0

        def to_dense(self):
            return 0 * self.honest.to_dense()

    monkeypatch.setattr(
        low_rank_failures, "cross_approximation", lambda a, **options: Liar(cross_approximation(a, **options))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert low_rank_failures.outcome(case)[0] == "silent"
