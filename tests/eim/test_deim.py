"""DEIM and Q-DEIM points against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from eim import deim, qdeim
from lowrank import pod

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
SHAPES = [(1, 1), (9, 7), (40, 1), (60, 12), (200, 70)]


def orthonormal(dtype: type, n: int, r: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    real = rng.standard_normal((n, r))
    return np.linalg.qr(real + 1j * rng.standard_normal((n, r)) if np.dtype(dtype).kind == "c" else real)[0].astype(
        dtype
    )


def size(x: np.ndarray) -> np.ndarray:
    """|Re| + |Im|, by which complex entries are compared; the modulus for real ones."""
    return abs(x.real) + abs(x.imag)


def deim_loop(modes: np.ndarray) -> list[int]:
    """Each point is where the next mode differs most from its interpolation in the points so far."""
    points: list[int] = []
    for k in range(modes.shape[1]):
        weights = np.linalg.solve(modes[points, :k], modes[points, k])
        points.append(int(np.argmax(size(modes[:, k] - modes[:, :k] @ weights))))
    return points


def qdeim_loop(modes: np.ndarray) -> list[int]:
    """Each point is the row of largest remainder orthogonal to the rows so far."""
    rows, points = modes.conj().copy(), []
    for _ in range(modes.shape[1]):
        points.append(int(np.argmax(np.linalg.norm(rows, axis=1))))
        direction = rows[points[-1]] / np.linalg.norm(rows[points[-1]])
        for _ in range(2):
            rows = rows - np.outer(rows @ direction.conj(), direction)
    return points


@pytest.mark.parametrize(("rule", "loop"), [(deim, deim_loop), (qdeim, qdeim_loop)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_points_are_those_of_the_plain_loop(rule, loop, dtype, shape):
    modes = orthonormal(dtype, *shape)
    points = rule(modes)
    assert points.tolist() == loop(modes.astype(np.complex128))
    assert np.issubdtype(points.dtype, np.integer)


@pytest.mark.parametrize("dtype", DTYPES)
def test_deim_points_of_fewer_modes_are_a_prefix(dtype):
    modes = orthonormal(dtype, 100, 30)
    assert np.array_equal(deim(modes[:, :11]), deim(modes)[:11])


@pytest.mark.parametrize("dtype", DTYPES)
def test_qdeim_points_do_not_depend_on_the_orthonormal_basis_of_the_span(dtype):
    modes = orthonormal(dtype, 100, 20)
    assert np.array_equal(qdeim(modes), qdeim(modes @ orthonormal(dtype, 20, 20, seed=1)))


@pytest.mark.parametrize("rule", [deim, qdeim])
@pytest.mark.parametrize("dtype", DTYPES)
def test_interpolation_in_the_points_is_exact_on_the_span_and_stable_beside_it(rule, dtype):
    x, mu = np.linspace(0, 1, 150), np.linspace(1, 2, 60)
    waves = np.exp(1j * np.outer(x, 8 * mu)) if np.dtype(dtype).kind == "c" else np.cos(np.outer(x, 8 * mu))
    modes = pod(waves.astype(dtype), rank=6).modes
    points = rule(modes)
    inverse_norm = 1 / np.linalg.svd(modes[points])[1][-1]
    # sqrt(n - r + 1) 2^r bounds it for Q-DEIM (Drmac and Gugercin 2016); in practice it is of order r
    assert inverse_norm <= 5 * 6
    interpolant = modes @ np.linalg.solve(modes[points], waves.astype(dtype)[points])
    projection = modes @ (modes.conj().T @ waves)
    best = np.linalg.norm(waves - projection, axis=0)
    floor = 100 * np.finfo(dtype).eps * np.linalg.norm(waves, axis=0)
    assert np.all(np.linalg.norm(waves - interpolant, axis=0) <= inverse_norm * best + floor)


@pytest.mark.parametrize("rule", [deim, qdeim])
def test_no_modes_have_no_points(rule):
    assert rule(np.zeros((3, 0))).tolist() == []
    assert rule([[0, 5], [2, 0], [0, 0]]).tolist() == ([1, 0] if rule is deim else [0, 1])


@pytest.mark.parametrize("rule", [deim, qdeim])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dependent_modes_are_refused(rule, dtype):
    modes = orthonormal(dtype, 30, 5)
    modes[:, 3] = modes[:, 0] + modes[:, 1] / 2
    with pytest.raises(
        ValueError, match=r"mode \d depends on the modes before it \(what is left .*\): orthonormalise first"
    ):
        rule(modes)


@pytest.mark.parametrize("rule", [deim, qdeim])
@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (np.zeros((3, 2)), "mode 0 is zero; leave it out"),
        (np.eye(3)[:, [1, 1]], r"mode 1 depends on the modes before it \(what is left of it is 0.0e\+00 of its size\)"),
        (np.ones((2, 3)), "3 modes in a space of dimension 2 cannot be independent"),
        (np.ones(3), r"modes must be a matrix of shape \(n, m\), got an array of shape \(3,\)"),
        (np.array([[1.0], [np.nan]]), r"modes has 1 entries that are NaN or infinite, the first at index \(1, 0\)"),
    ],
)
def test_bad_input_is_named(rule, modes, message):
    with pytest.raises(ValueError, match=message):
        rule(modes)


@pytest.mark.parametrize("rule", [deim, qdeim])
def test_the_dependent_mode_is_named(rule):
    modes = orthonormal(np.float64, 30, 5)
    modes[:, 3] = modes[:, 0]
    with pytest.raises(ValueError, match="mode 3 depends"):
        rule(modes)


@pytest.mark.parametrize("rule", [deim, qdeim])
@pytest.mark.parametrize("dtype", DTYPES)
def test_points_do_not_depend_on_the_units_of_the_modes(rule, dtype):
    rng = np.random.default_rng(3)
    modes = orthonormal(dtype, 70, 9) @ np.triu(rng.uniform(0.3, 1, (9, 9)))  # neither orthogonal nor of one size
    modes = modes.astype(dtype)
    points = rule(modes)
    for span in (30, 100, 240) if np.finfo(dtype).bits == 64 else (10, 30):
        units = 10.0 ** rng.uniform(-span, span, 9)
        assert np.array_equal(rule((modes * units).astype(dtype)), points)
        assert np.array_equal(rule((modes * 2.0 ** np.rint(np.log2(units))).astype(dtype)), points)


@pytest.mark.parametrize("rule", [deim, qdeim])
def test_a_small_mode_is_not_a_dependent_one_nor_the_other_way_round(rule):
    modes = orthonormal(np.float64, 30, 4)
    modes[:, 2] *= 1e-30
    assert len(set(rule(modes))) == 4
    modes[:, 2] = 1e-30 * (modes[:, 0] + modes[:, 1])
    with pytest.raises(ValueError, match="mode 2 depends on the modes before it"):
        rule(modes)
    modes[:, 2] = 1e250 * (modes[:, 0] + modes[:, 1])
    with pytest.raises(ValueError, match="mode 2 depends on the modes before it"):
        rule(modes)


def test_qdeim_points_are_those_of_the_span():
    modes = orthonormal(np.complex128, 50, 6)
    mixed = modes @ (np.eye(6) + np.triu(orthonormal(np.complex128, 6, 6, 4)))
    assert np.array_equal(qdeim(mixed), qdeim(modes))
