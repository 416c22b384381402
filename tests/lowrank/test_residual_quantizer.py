"""Residual codes: fixed points, peers, products, and a compiled encoder that is the definition bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank import ResidualCodes, ResidualQuantizer
from lowrank.kmeans import kmeans, kmeans_start
from lowrank.nearest import codebooks_of, encode, encode_plainly

EPS = np.finfo(float).eps


def clouds(n: int, d: int, seed: int = 0, dtype: type = np.float64) -> np.ndarray:
    """Samples near a surface of few dimensions, as chunks of trajectories are."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 3))
    x = np.sin(hidden @ rng.standard_normal((3, d))) + 0.05 * rng.standard_normal((n, d))
    if np.dtype(dtype).kind == "c":
        x = x + 1j * np.cos(hidden @ rng.standard_normal((3, d)))
    return x.astype(dtype)


def spd(d: int, seed: int = 0) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((d, d))
    return a @ a.T / d + np.diag(np.geomspace(1, 1e-3, d))


X = clouds(600, 10)
FITTED = ResidualQuantizer(3, 16).fit(X)


# the encoder


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 20), st.booleans(), st.integers(-900, 900))
def test_the_compiled_encoder_is_the_definition(seed, d, count, ties, power):
    """Bit by bit, at any scale; integers make ties, which go to the lowest index."""
    rng = np.random.default_rng(seed)
    draw = (lambda *s: rng.integers(-2, 3, s).astype(float)) if ties else (lambda *s: rng.standard_normal(s))
    books, x = codebooks_of(draw(3, count, d) * 2.0**power), draw(40, d) * 2.0**power
    expected = encode_plainly(x, books)
    assert np.array_equal(encode(x, books), expected)
    # nearest, in the plain sense
    rest = x * 2.0**-power
    for level in range(3):
        centres = books.centres[level] / books.unit * 2.0**-power
        off = np.sum((rest[:, None] - centres) ** 2, axis=2)
        mine = np.take_along_axis(off, expected[:, level : level + 1], axis=1)[:, 0]
        if ties:
            assert np.array_equal(expected[:, level], np.argmin(off, axis=1))
        assert np.all(mine <= np.min(off, axis=1) + 64 * d * EPS * np.max(off, axis=1))
        rest = rest - centres[expected[:, level]]


def test_wide_samples_and_near_ties_are_told_apart_in_double_precision():
    """Codes that single precision cannot tell apart."""
    rng = np.random.default_rng(1)
    base = rng.standard_normal(120)
    centres = base + 1e-9 * rng.standard_normal((1, 64, 120))
    x = centres[0] + 1e-11 * rng.standard_normal((64, 120))
    books = codebooks_of(centres)
    assert np.array_equal(encode(x, books)[:, 0], np.arange(64))
    assert np.array_equal(encode(x, books), encode_plainly(x, books))
    far = np.vstack([x * 1e20, x * 1e-30])  # beyond single precision, or nothing beside the codes
    assert np.array_equal(encode(far, books), encode_plainly(far, books))


def test_levels_of_very_different_sizes_are_coded_as_defined():
    """Code vectors that no 16-bit step or single precision holds beside those of other levels; widths around eights."""
    rng = np.random.default_rng(3)
    for d in (1, 7, 8, 9, 17):
        sizes = np.array([1.0, 1e-30, 1e-120, 0.0])[:, None, None]
        books = codebooks_of(sizes * rng.standard_normal((4, 12, d)))
        x = np.vstack([rng.standard_normal((30, d)), books.centres[0] / books.unit, np.zeros((1, d))])
        for scale in (1.0, 1e-20, 1e18, 1e290):
            assert np.array_equal(encode(scale * x, books), encode_plainly(scale * x, books))


def test_codes_that_16_bits_hold_are_told_apart_beyond_single_precision():
    """Nothing is lost by rounding code vectors, so that only the error of the scores' sums stands in the limit."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        v = rng.integers(-32767, 32768, 24).astype(float)
        v[0] = 32767
        books = codebooks_of(np.stack([v, -v])[None])
        assert books.rounding[0, 1] == 0
        across = rng.standard_normal((8, 24)) * 3e4
        across -= np.outer(across @ v, v) / (v @ v)
        x = across + np.outer(np.tile([1e-9, -1e-9], 4), v)
        assert np.array_equal(encode(x, books)[:, 0], np.tile([0, 1], 4))


def test_no_kind_of_array_is_compiled_for_twice():
    """Arrays that may not be written to, that are not aligned, of another order of bytes or of entries."""
    from lowrank.nearest import _compiled

    expected = FITTED.encode(X)
    fixed = X.copy()
    fixed.flags.writeable = False
    shifted = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(X.shape)
    shifted[:] = X
    for x in (fixed, shifted, X.astype(">f8"), np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        assert np.array_equal(FITTED.encode(x), expected)
        assert np.array_equal(FITTED.encode(x[3]), expected[3])
    assert len(_compiled().signatures) == 1


def test_codes_that_are_near_beside_a_far_one_are_told_apart():
    """Scores differ by 1e-8 of their size: single precision takes any of them."""
    rng = np.random.default_rng(2)
    base = rng.standard_normal(120)
    centres = np.concatenate([base + 1e-5 * rng.standard_normal((1, 63, 120)), -10 * base[None, None]], axis=1)
    x = centres[0] + 1e-7 * rng.standard_normal((64, 120))
    books = codebooks_of(centres)
    assert np.array_equal(encode(x, books)[:, 0], np.arange(64))
    assert np.array_equal(encode_plainly(x, books)[:, 0], np.arange(64))


def test_a_code_does_not_depend_on_what_else_is_encoded():
    for found, x in ((FITTED, X), (ResidualQuantizer(2, 16).fit(X, product=spd(10)), X)):
        whole = found.encode(x)
        assert whole.dtype == np.int32
        assert whole.shape == (600, found.levels)
        assert np.array_equal(found.encode(x[17]), whole[17])
        assert np.array_equal(found.encode(x[::7]), whole[::7])
        assert np.array_equal(found.encode(np.asfortranarray(x)), whole)
        assert found.encode(x[:0]).shape == (0, found.levels)


# codes and errors


@pytest.mark.parametrize("method", ["kmeans", "ema"])
def test_errors_fall_with_each_level_and_are_what_is_reported(method):
    w = np.random.default_rng(3).random(600)
    found = ResidualQuantizer(4, 8, method=method).fit(X, weights=w)
    k = found.encode(X)
    assert np.all(np.diff(found.error_per_level) < 0)
    for level in range(1, 5):
        off = X - found.decode(k[:, :level])
        error = np.sqrt(np.sum(w[:, None] * off**2) / np.sum(w[:, None] * X**2))
        assert error == pytest.approx(found.error_per_level[level - 1], rel=1e-12)
    assert found.bits == 12
    assert found.codebooks.shape == (4, 8, 10)


def test_sums_of_code_vectors_that_are_reached_greedily_come_back():
    rng = np.random.default_rng(0)
    scales = 100.0 ** -np.arange(3)[:, None, None]  # each level is small beside the distances of the one before
    centres = np.round(rng.standard_normal((3, 16, 10)) * 2**20) / 2**20 * scales
    found = ResidualCodes(FITTED.coordinates, centres, FITTED.error_per_level)
    k = rng.integers(0, 16, (200, 3))
    assert np.array_equal(found.encode(found.decode(k)), k)
    assert np.array_equal(found.decode(found.encode(found.decode(k))), found.decode(k))
    assert np.array_equal(found.decode(k[5]), found.decode(k)[5])


def test_the_same_seed_gives_the_same_codes_and_another_one_others():
    again, other = ResidualQuantizer(3, 16).fit(X), ResidualQuantizer(3, 16, rng=5).fit(X)
    assert np.array_equal(again.codebooks, FITTED.codebooks)
    assert not np.array_equal(other.codebooks, FITTED.codebooks)


# k-means


def test_a_level_is_that_of_scikit_learn_from_the_same_start():
    cluster = pytest.importorskip("sklearn.cluster")
    w = np.random.default_rng(1).random(600) + 0.1
    for weights in (None, w):
        peer = cluster.KMeans(12, init=X[:12], n_init=1, tol=0, max_iter=500, algorithm="lloyd").fit(X, None, weights)
        found = ResidualQuantizer(1, 12, rtol=0, max_iter=500).fit(X, weights=weights, start=X[None, :12])
        assert np.max(abs(found.codebooks[0] - peer.cluster_centers_)) <= 1e-13
        assert np.array_equal(found.encode(X)[:, 0], peer.labels_)


def is_fixed(x: np.ndarray, w: np.ndarray, centres: np.ndarray, tol: float) -> bool:
    """Whether every centre is the mean of the samples nearest to it."""
    labels = np.argmin(np.sum((x[:, None] - centres) ** 2, axis=2), axis=1)
    means = [np.average(x[labels == k], axis=0, weights=w[labels == k]) for k in range(len(centres))]
    return bool(np.max(abs(np.array(means) - centres)) <= tol)


@pytest.mark.parametrize("seed", range(3))
def test_fixed_points_of_moving_averages_are_those_of_lloyd(seed):
    rng = np.random.default_rng(seed)
    x, w = clouds(300, 4, seed), rng.random(300) + 0.1
    start = kmeans_start(x, w, 6, rng)
    lloyd = kmeans(x, w, start, rtol=0, max_iter=500)
    assert is_fixed(x, w, lloyd.centres, 1e-13)
    assert np.all(np.diff(lloyd.losses) <= 1e-14 * lloyd.losses[0])  # monotone
    moving = kmeans(x, w, start, method="ema", max_iter=3000)
    assert moving.iterations < 3000
    assert is_fixed(x, w, moving.centres, 1e-10)
    rests = kmeans(x, w, lloyd.centres, method="ema", max_iter=50)
    assert np.max(abs(rests.centres - lloyd.centres)) <= 1e-12


@pytest.mark.parametrize("method", ["kmeans", "ema"])
def test_dead_codes_are_put_to_use(method):
    """All but one start where no sample is."""
    start = np.full((1, 8, 10), 1e3)
    start[0, 0] = np.mean(X, axis=0)
    found = ResidualQuantizer(1, 8, method=method).fit(X, start=start)
    assert len(np.unique(found.encode(X))) == 8
    fair = ResidualQuantizer(1, 8, method=method).fit(X)
    assert found.error_per_level[0] < 1.15 * fair.error_per_level[0]


def test_a_code_that_was_put_to_use_stays_where_it_was_put():
    """Its moving count and sum begin there: the next averages do not pull it back."""
    far = np.vstack([X, X[:40] + 50])
    start = np.vstack([np.mean(X, axis=0), np.full(10, 1e3)])
    w = np.ones(len(far))
    runs = [kmeans(far, w, start, method="ema", max_iter=k) for k in range(1, 91, 6)]
    alive = [k for k, run in enumerate(runs) if np.max(abs(run.centres)) < 100]
    assert alive
    for k in alive:
        assert np.min(np.sum((runs[k].centres - np.mean(X[:40] + 50, axis=0)) ** 2, axis=1)) < 100


def test_weights_count_copies():
    times = np.random.default_rng(0).integers(0, 4, 600)
    options = {"start": X[times > 0][None, :8]}
    weighted = ResidualQuantizer(1, 8, rtol=0).fit(X, weights=times, **options)
    copied = ResidualQuantizer(1, 8, rtol=0).fit(np.repeat(X, times, axis=0), **options)
    assert np.max(abs(weighted.codebooks - copied.codebooks)) <= 1e-12
    assert weighted.error_per_level == pytest.approx(copied.error_per_level, rel=1e-12)


def test_fewer_different_samples_than_codes_are_coded_exactly():
    x = np.repeat(np.eye(3), 5, axis=0)
    found = ResidualQuantizer(2, 6).fit(x)
    assert found.error_per_level[0] == 0
    assert np.array_equal(found.decode(found.encode(x)), x)
    zero = ResidualQuantizer(2, 4).fit(np.zeros((9, 3)))
    assert np.array_equal(zero.error_per_level, [0, 0])
    assert np.array_equal(zero.decode(zero.encode(np.zeros(3))), np.zeros(3))
    assert ResidualQuantizer(1, 1).fit(X).bits == 0
    nothing = ResidualQuantizer(2, 4).fit(np.zeros((9, 3)), product=np.eye(3))  # no basis at all
    assert np.array_equal(nothing.decode(nothing.encode(np.ones(3))), np.zeros(3))


@pytest.mark.parametrize("method", ["kmeans", "ema"])
def test_as_many_codes_as_different_samples_leave_nothing(method):
    rng = np.random.default_rng(5)
    for x, count in ((clouds(40, 3), 40), (np.repeat(rng.standard_normal((30, 4)), np.arange(1, 31), axis=0), 30)):
        assert ResidualQuantizer(1, count, method=method).fit(x).error_per_level[0] <= 1e-15
    one = ResidualQuantizer(2, 1, method=method).fit(X[:1])
    assert np.array_equal(one.decode(one.encode(X[0])), X[0])


@pytest.mark.parametrize("condition", [1e8, 1e15])
def test_the_error_of_nearly_singular_products_is_what_is_reported(condition):
    q = np.linalg.qr(np.random.default_rng(6).standard_normal((10, 10)))[0]
    p = (q * np.geomspace(1, 1 / condition, 10)) @ q.T
    p = (p + p.T) / 2
    found = ResidualQuantizer(2, 8).fit(X, product=p)
    off = X - found.decode(found.encode(X))
    error = np.sqrt(np.sum(off @ p * off) / np.sum(X @ p * X))
    assert error == pytest.approx(found.error_per_level[-1], rel=1e-9)


# products


def test_codes_commute_with_orthogonal_maps():
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]
    start = X[None, :16]
    plain, turned = (ResidualQuantizer(1, 16).fit(y, start=s) for y, s in ((X, start), (X @ q, start @ q)))
    assert np.max(abs(turned.codebooks - plain.codebooks @ q)) <= 1e-12
    assert turned.error_per_level == pytest.approx(plain.error_per_level, rel=1e-12)
    assert np.array_equal(turned.encode(X @ q), plain.encode(X))


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_distances_are_those_of_the_product(dtype, container):
    """The same as codes of the coordinates R x, P = R^H R: the codebooks, the codes and the errors."""
    x, p = clouds(400, 8, 4, dtype), spd(8)
    if np.dtype(dtype).kind == "c":
        p = p + 0.3j * np.triu(np.ones((8, 8)), 1) - 0.3j * np.tril(np.ones((8, 8)), -1) + np.eye(8)
    r = np.linalg.cholesky(p).conj().T
    start = np.stack([x[:16], np.zeros((16, 8)) + np.eye(16, 8) * 0.1])
    found = ResidualQuantizer(2, 16).fit(x, product=container(p), start=start)
    plain = ResidualQuantizer(2, 16).fit(x @ r.T, start=start @ r.T)
    assert found.error_per_level == pytest.approx(plain.error_per_level, rel=1e-12)
    assert np.max(abs(found.codebooks @ r.T - plain.codebooks)) <= 1e-11
    assert np.array_equal(found.encode(x), plain.encode(x @ r.T))
    off = x - found.decode(found.encode(x))
    error = np.sqrt(np.sum((off.conj() @ p * off).real) / np.sum((x.conj() @ p * x).real))
    assert error == pytest.approx(found.error_per_level[-1], rel=1e-11)
    assert found.decode(found.encode(x)).dtype == dtype


def test_what_is_outside_the_span_of_the_samples_changes_no_code():
    """More unknowns than dimensions, a sparse product: coordinates are few."""
    rng = np.random.default_rng(2)
    modes = rng.standard_normal((200, 3))
    p = sp.diags_array([np.full(199, -1.0), np.full(200, 2.5), np.full(199, -1.0)], offsets=[-1, 0, 1]).tocsr()
    x = clouds(300, 3, 1) @ modes.T
    found = ResidualQuantizer(2, 8).fit(x, product=p)
    assert found.centres.shape == (2, 8, 3)
    y = x[:20] + rng.standard_normal((20, 200))
    k = found.encode(y)
    off = y[:, None] - found.codebooks[0]
    distances = np.einsum("kci,kci->kc", off, off @ p.toarray())
    assert np.array_equal(k[:, 0], np.argmin(distances, axis=1))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_files_give_the_same_codes(dtype):
    x = clouds(100, 5, dtype=np.complex128 if dtype.startswith("c") else np.float64).astype(dtype)
    for product in (None, spd(5)):
        found = ResidualQuantizer(2, 8).fit(x, product=product)
        arrays = found.arrays()
        loaded = ResidualCodes.from_arrays({k: a.copy() for k, a in arrays.items()})
        assert np.array_equal(loaded.encode(x), found.encode(x))
        assert np.array_equal(loaded.decode(found.encode(x)), found.decode(found.encode(x)))
        assert loaded.decode([0, 0]).dtype == dtype
        assert loaded.nbytes == found.nbytes == sum(arrays[k].nbytes for k in arrays if k[0] in "cbd")
        assert repr(loaded) == repr(found)


@pytest.mark.parametrize("scale", [2.0**-500, 2.0**300])
def test_no_square_overflows_or_vanishes(scale):
    found = ResidualQuantizer(2, 8).fit(scale * X)
    plain = ResidualQuantizer(2, 8).fit(X)
    assert np.array_equal(found.codebooks, scale * plain.codebooks)
    assert np.array_equal(found.encode(scale * X), plain.encode(X))


# errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResidualQuantizer(0, 4), "levels must be at least 1, got 0"),
        (lambda: ResidualQuantizer(1, 0), "codes must be at least 1, got 0"),
        (lambda: ResidualQuantizer(1, 2.5), "codes must be an integer, got 2.5"),
        (lambda: ResidualQuantizer(1, 2, method="soft"), 'method must be "kmeans" or "ema"'),
        (lambda: ResidualQuantizer(1, 2, decay=1.0), "decay between 0 and 1, got"),
        (lambda: ResidualQuantizer(1, 601).fit(X), "there are 600 samples .* for 601 codes: take fewer codes"),
        (lambda: ResidualQuantizer(1, 2).fit(X, weights=np.eye(1, 600)[0]), "there are 1 samples"),
        (lambda: ResidualQuantizer(1, 1).fit(X[:0]), "there are 0 samples"),
        (lambda: ResidualQuantizer(1, 1).fit(X[0]), r"X must be samples \(n, d\), one a row, got shape \(10,\)"),
        (lambda: ResidualQuantizer(1, 1).fit(np.array([[1.0, np.nan]])), r"1 entries that are NaN .* index \(0, 1\)"),
        (lambda: ResidualQuantizer(1, 2).fit(X, weights=-np.ones(600)), "weights must be 600 finite real numbers >= 0"),
        (lambda: ResidualQuantizer(1, 2).fit(X, weights=np.ones(3)), r"got shape \(3,\)"),
        (lambda: ResidualQuantizer(1, 2).fit(X, start=X[:2]), r"start must have the shape \(1, 2, 10\)"),
        (lambda: ResidualQuantizer(1, 2).fit(X, product=-np.eye(10)), "positive definite"),
        (lambda: ResidualQuantizer(1, 2).fit(X, product=np.triu(np.ones((10, 10)))), "product is not Hermitian: it di"),
        (lambda: ResidualQuantizer(1, 2).fit(X, product=sp.csr_array(np.triu(np.ones((10, 10))))), "is not Hermitian"),
        (lambda: ResidualQuantizer(1, 2).fit(X, start=X[None, :2] * 1e120), r"more than 1e\+100 times as large as the"),
        (
            lambda: ResidualQuantizer(1, 2).fit(X * 1e-300, start=X[None, :2] * 1e300),
            "start has code vectors more than",
        ),
        (lambda: FITTED.encode(X * 1e305), "sample 0 has entries that are NaN or infinite, or beyond all code vectors"),
        (lambda: FITTED.encode(X[:, :9]), r"X must have the shape \(n, 10\) or \(10,\) of one sample, got \(600, 9\)"),
        (lambda: FITTED.encode(np.where(np.arange(10) == 3, np.nan, X[:5])), "sample 0 has entries that are NaN"),
        (lambda: FITTED.encode(X + 0j), "X is complex"),
        (lambda: FITTED.decode([[0, 16, 0]]), "codes must be 0 .. 15, got 16"),
        (lambda: FITTED.decode([[0, -1, 0]]), "got -1"),
        (lambda: FITTED.decode([[0, 1, 0, 2]]), r"codes must have the shape \(n, 3\)"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_codes_that_are_no_integers_are_refused():
    with pytest.raises(TypeError, match="codes must be integers, got dtype float64"):
        FITTED.decode([[0.0, 1.0, 2.0]])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("centres", FITTED.centres[:, :, :9], r"centres must have the shape \(L, K, 10\)"),
        ("centres", FITTED.centres[:2], "error_per_level"),
        ("centres", np.full_like(FITTED.centres, np.nan), "centres has entries that are NaN"),
        ("centres", FITTED.centres.astype(int), "centres has entries of int64"),
        ("header", np.array([2, 10, 1]), "none of residual codes of version 1"),
        ("header", np.array([1, 10, 9]), "none of residual codes"),
        ("basis", np.eye(10), "have the arrays"),
        ("error_per_level", -FITTED.error_per_level, "error_per_level has the entry -"),
    ],
)
def test_damaged_files_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        ResidualCodes.from_arrays({**FITTED.arrays(), key: value})


def test_a_complex_basis_of_real_samples_is_refused():
    """Codes would drop its imaginary part."""
    arrays = ResidualQuantizer(2, 8).fit(X, product=spd(10)).arrays()
    with pytest.raises(ValueError, match="basis has entries of complex128"):
        ResidualCodes.from_arrays({**arrays, "basis": arrays["basis"] + 1j})
