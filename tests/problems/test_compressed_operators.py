"""Kernel blocks against assembled matrices, and compressed operators against their dense far field."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from helpers.scattering_models import DATA

from benchmarks.block_figures import block_ranks
from lowrank import cross_approximation
from problems import SurfaceMesh, compress_far_field, kernel_block, surface
from problems.acoustics import boundary_elements
from problems.acoustics import compressed_operators as module
from problems.acoustics.clusters import cluster_tree
from problems.acoustics.compressed_operators import CompressedOperator
from problems.acoustics.kernel_blocks import OPERATORS, SurfaceKernel, green
from problems.acoustics.surface_fields import _reference_rule

EPS = np.finfo(float).eps


@lru_cache(maxsize=4)
def assembled(shape: str = "sphere") -> dict[str, np.ndarray]:
    """The four matrices as bempp-cl has assembled them: 66 unknowns, k = 2."""
    (o,) = boundary_elements.assemble(surface(shape, 2, 2), 2.0, cache=DATA)
    return {
        "single_layer": np.add.reduce(o.single_layers),
        "double_layer": o.double_layer,
        "adjoint_double_layer": np.add.reduce(o.adjoint_layers),
        "hypersingular": o.hypersingular,
    }


def caps(mesh: SurfaceMesh, height: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Vertices above, and below minus half of, a height: their triangles do not touch."""
    z = mesh.vertices[2] / mesh.vertices[2].max()
    return np.flatnonzero(z > height), np.flatnonzero(z < -height / 2)


# ---- the kernel


@pytest.mark.parametrize("k", [0.0, 0.3, 7.0])
def test_green_and_its_slope_are_exact(k) -> None:
    rng = np.random.default_rng(0)
    r = np.concatenate([rng.uniform(0.01, 9, 5000), np.pi * np.arange(1, 40) / max(k, 1)])  # poles of the tangent
    slope = rng.standard_normal(len(r))
    long = r.astype(np.longdouble)
    plain = 1 / (4 * np.longdouble(np.pi) * long)
    exact = plain * (np.cos(k * long) + 1j * np.sin(k * long))
    tolerance = 8 * EPS * (1 + k * r)  # the phase itself is rounded
    assert np.all(np.abs(green(r, k) - exact) <= tolerance * plain)
    exact = exact * (1j * k * long - 1) / long**2 * slope
    assert np.all(np.abs(green(r, k, slope) - exact) <= tolerance * np.abs(exact))
    assert np.isrealobj(green(r, k)) == (k == 0)


def test_the_rule_is_that_of_bempp() -> None:
    tables = pytest.importorskip("bempp_cl.api.integration.triangle_gauss", reason="pip install bempp-cl")
    (p, w), (x, v) = tables.rule(4), _reference_rule(4)
    ours, theirs = (a[:, np.lexsort(np.rint(1e9 * a))] for a in (np.vstack([x, v]), np.vstack([p, w])))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=8 * EPS)


@pytest.mark.every(3)
@pytest.mark.parametrize("shape", ["sphere", "ellipsoid"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_all_entries_of_separated_vertices_are_those_of_bempp(operator, shape) -> None:
    """Every pair of the 66 vertices whose triangles do not touch; the tables of the two rules differ by 3e-16."""
    mesh, dense = surface(shape, 2, 2), assembled(shape)[operator]
    n = len(dense)
    star = np.zeros((n, mesh.triangles.shape[1]), dtype=int)
    star[mesh.triangles, np.arange(star.shape[1])] = 1
    shares = star @ (mesh.triangles.T[:, :, None] == np.arange(n)).any(
        axis=1
    )  # of each vertex's triangles: which vertices
    i, j = np.nonzero((shares > 0).astype(int) @ (shares > 0).T == 0)
    assert len(i) > 1000
    ours = SurfaceKernel(mesh, operator, 2.0).pairs(i, j)
    np.testing.assert_allclose(ours, dense[i, j], rtol=0, atol=100 * EPS * np.abs(dense[i, j]).max())
    rows, columns = caps(mesh)
    block, some = kernel_block(mesh, operator, 2.0, rows, columns), dense[np.ix_(rows, columns)]
    np.testing.assert_allclose(block.to_dense(), some, rtol=0, atol=100 * EPS * np.abs(some).max())


@pytest.mark.every(3)
@pytest.mark.parametrize("k", [0.0, 2.0])
@pytest.mark.parametrize("operator", OPERATORS)
def test_rows_columns_and_entries_are_those_of_the_block(operator, k) -> None:
    mesh = surface("ellipsoid", 4)
    rows, columns = caps(mesh)
    block = kernel_block(mesh, operator, k, rows, columns)
    dense = block.to_dense()
    assert block.shape == dense.shape == (len(rows), len(columns))
    assert block.dtype == dense.dtype == (complex if k else float)
    atol = 64 * EPS * np.abs(dense).max() * (30 if operator == "hypersingular" else 1)  # its curls cancel
    rng = np.random.default_rng(0)
    for count in (0, 1, 3, 9):
        i, j = rng.integers(0, len(rows), count), rng.integers(0, len(columns), count)
        np.testing.assert_allclose(block.rows(i), dense[i], rtol=0, atol=atol)
        np.testing.assert_allclose(block.columns(j), dense[:, j], rtol=0, atol=atol)
        np.testing.assert_allclose(block.entries(i, j), dense[i, j], rtol=0, atol=atol)
    flipped = kernel_block(mesh, transposed(operator), k, columns, rows).to_dense()
    np.testing.assert_allclose(flipped.T, dense, rtol=0, atol=atol)


def transposed(operator: str) -> str:
    pair = {"double_layer": "adjoint_double_layer", "adjoint_double_layer": "double_layer"}
    return pair.get(operator, operator)


def test_a_small_wavenumber_gives_the_laplace_operator_and_its_first_correction() -> None:
    """G_k = G_0 + ik / (4 pi) + O(k^2): the first correction of the single layer is ik / (4 pi) int phi_i int phi_l."""
    mesh, k = surface("peanut", 3), 1e-3
    rows, columns = caps(mesh)
    near, limit = (kernel_block(mesh, "single_layer", x, rows, columns).to_dense() for x in (k, 0.0))
    integrals = np.bincount(mesh.triangles.ravel(), np.tile(mesh.areas / 3, 3))
    correction = np.outer(integrals[rows], integrals[columns]) * k / (4 * np.pi)
    np.testing.assert_allclose(near.imag, correction, rtol=4 * k**2, atol=0)
    np.testing.assert_allclose(near.real, limit, rtol=4 * k**2, atol=0)
    # of constants there is no surface curl
    one = np.ones(mesh.vertices.shape[1])
    everything = SurfaceKernel(mesh, "hypersingular", 0.0).quadrature.side(np.arange(len(one)))
    assert all(np.abs(w @ one).max() <= 8 * EPS * abs(w).max() for w in everything.weights[:3])


@pytest.mark.parametrize("operator", OPERATORS)
def test_blocks_do_not_depend_on_where_the_surface_lies(operator) -> None:
    mesh = surface("sphere", 3)
    moved = SurfaceMesh(mesh.vertices + np.array([[1024.0], [-512.0], [256.0]]), mesh.triangles)
    back = SurfaceMesh(moved.vertices - np.array([[1024.0], [-512.0], [256.0]]), mesh.triangles)  # the same rounding
    here, there = (kernel_block(m, operator, 2.0, *caps(back)).to_dense() for m in (back, moved))
    # coordinates of the points are rounded to 1024 u, and curls amplify that
    assert np.abs(here - there).max() <= 1024 * 64 * EPS * np.abs(here).max()


@pytest.mark.every(3)
@pytest.mark.parametrize("operator", OPERATORS)
def test_rows_and_columns_suit_the_cross_approximation(operator) -> None:
    mesh = surface("sphere", 4)
    block = kernel_block(mesh, operator, 2.0, *caps(mesh))
    cross = cross_approximation((block.rows, block.columns), shape=block.shape, rtol=1e-5, entries=block.entries)
    dense = block.to_dense()
    assert np.linalg.norm(cross.recompress().to_dense() - dense) <= 1e-5 * np.linalg.norm(dense)
    assert cross.entries_read < 0.5 * dense.size


@pytest.mark.parametrize(("operator", "k"), [("single_layer", 2.0), *(("hypersingular", k) for k in (0.0, 2.0, 50.0))])
def test_errors_of_the_kernel_grow_no_more_than_said(operator, k) -> None:
    """||sum_c B_c^T D^-1 E D'^-1 B'_c||_F <= size size' ||E||_F for the worst E.

    This is the norm of the linear map of E, as a matrix.
    """
    mesh = surface("ellipsoid", 2)
    kernel = SurfaceKernel(mesh, operator, k)
    left, right = (kernel.quadrature.side(c[:3]) for c in caps(mesh))
    scaled = [[np.asarray(w) / s.root[:, None] for w in s.weights] for s in (left, right)]
    signs = [1.0] * 3 + [-(k**2)] * 3
    linear = sum(sign * np.kron(a.T, b.T) for sign, a, b in zip(signs, *scaled, strict=False))
    norm, bound = np.linalg.norm(linear @ linear.T, 2) ** 0.5, kernel.size(left) * kernel.size(right)
    assert 0.1 * bound < norm <= bound * (1 + 64 * EPS)
    e = np.random.default_rng(0).standard_normal((len(left.points), len(right.points)))
    block = kernel.from_points(e, np.eye(len(right.points)), left, right)
    np.testing.assert_allclose(block.to_dense().ravel(), linear @ e.ravel(), rtol=0, atol=1000 * EPS * bound)


# ---- compression


@lru_cache(maxsize=8)
def compressed(operator: str, k: float = 2.0, rtol: float = 1e-6) -> CompressedOperator:
    """A stretched obstacle, on which a third is far."""
    mesh = surface("peanut", 3, axes=(0.7, 0.5, 2.0))
    return compress_far_field(mesh, operator, k, rtol=rtol, leaf=24, eta=1.5, progress=False)


def blocks(found: CompressedOperator) -> list[np.ndarray]:
    """The far blocks with all their entries."""
    side = lru_cache(maxsize=None)(lambda c: found.kernel.quadrature.side(found.tree.items(c)))
    return [found.kernel.integrate(side(a), side(b)) for a, b in found.partition.far.tolist()]


def far_field(found: CompressedOperator) -> np.ndarray:
    result = np.zeros(found.shape, dtype=found.dtype)
    for (a, b), block in zip(found.partition.far, blocks(found), strict=True):
        result[np.ix_(found.tree.items(a), found.tree.items(b))] = block
    return result


@pytest.mark.every(7)
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-10])
@pytest.mark.parametrize("k", [0.0, 2.0])
@pytest.mark.parametrize("operator", OPERATORS)
def test_errors_keep_the_tolerance(operator, k, rtol) -> None:
    found = compressed(operator, k, rtol)
    dense = far_field(found)
    assert found.dtype == found.to_dense().dtype == dense.dtype
    errors = []
    for block, exact in zip(found.far, blocks(found), strict=True):
        errors.append(np.linalg.norm(block.to_dense() - exact) / np.linalg.norm(exact))
    assert np.all(np.array(errors) <= found.errors)
    assert found.errors.max() <= rtol
    assert np.max(errors) > rtol / 100  # ranks are not wasted
    assert np.linalg.norm(found.to_dense() - dense) <= rtol * np.linalg.norm(dense)
    assert np.all(found.values_read < found.values_dense)


@pytest.mark.every(3)
@pytest.mark.parametrize("operator", OPERATORS)
def test_products_are_those_of_the_dense_far_field(operator) -> None:
    found = compressed(operator)
    dense, rng = far_field(found), np.random.default_rng(0)
    x = rng.standard_normal((found.shape[0], 2)) @ np.array([[1, 2j], [1, 1]])
    bound = 1e-6 * np.linalg.norm(dense)
    assert np.linalg.norm(found.matvec(x) - dense @ x) <= bound * np.linalg.norm(x)
    assert np.linalg.norm(found.rmatvec(x) - dense.conj().T @ x) <= bound * np.linalg.norm(x)
    linear = found.aslinearoperator()
    np.testing.assert_array_equal(linear @ x, found.matvec(x))
    np.testing.assert_array_equal(linear.H @ x[:, 0], found.rmatvec(x[:, 0]))
    matrix = found.to_dense()
    atol = 64 * EPS * np.linalg.norm(matrix) * np.linalg.norm(x)
    np.testing.assert_allclose(matrix @ x, found.matvec(x), rtol=0, atol=atol)


def test_far_and_near_make_the_whole_operator() -> None:
    """The assembled matrix of 66 unknowns: what is far comes from our kernel, what is near from there."""
    for operator, dense in assembled("ellipsoid").items():
        far = compress_far_field(surface("ellipsoid", 2), operator, 2.0, rtol=1e-5, eta=3, leaf=4, progress=False)
        assert len(far.far) > 10
        whole = far.with_near_field(dense)
        x = np.random.default_rng(0).standard_normal(66)
        scale = np.linalg.norm(dense)
        assert np.linalg.norm(whole.matvec(x) - dense @ x) <= 1e-5 * scale * np.linalg.norm(x)
        assert np.linalg.norm(whole.rmatvec(x) - dense.conj().T @ x) <= 1e-5 * scale * np.linalg.norm(x)
        difference = whole.to_dense() - dense
        far_part = np.abs(far.to_dense()) > 0
        assert np.linalg.norm(difference) <= 1e-5 * np.linalg.norm(dense[far_part])
        for a, b in far.partition.near:
            assert not difference[np.ix_(far.tree.items(a), far.tree.items(b))].any()
        assert whole.dense_nbytes == dense.nbytes
        assert far.near is None
        assert "with near field" in repr(whole)


def test_a_block_that_crosses_cannot_reach_is_computed_as_a_whole(monkeypatch) -> None:
    """Below round-off of the crosses, and where every try fails."""
    mesh = surface("sphere", 3)
    tight = compress_far_field(mesh, "hypersingular", 2.0, rtol=1e-13, leaf=20, progress=False)
    assert np.linalg.norm(tight.to_dense() - far_field(tight)) <= 64 * EPS * np.linalg.norm(far_field(tight)) + 1e-13
    assert np.any(tight.values_read >= tight.values_dense)
    monkeypatch.setattr(module, "TRIES", 0)
    plain = compress_far_field(mesh, "double_layer", 2.0, rtol=1e-8, leaf=20, progress=False)
    dense = far_field(plain)
    assert np.linalg.norm(plain.to_dense() - dense) <= 1e-8 * np.linalg.norm(dense)
    assert np.all(plain.values_read == plain.values_dense)


def test_the_sampled_error_is_the_true_one() -> None:
    found = compressed("double_layer", rtol=1e-3)
    true = np.linalg.norm(found.to_dense() - far_field(found))
    value, deviation = found.estimate_error(samples=4000)
    assert abs(value - true) <= 5 * deviation
    assert deviation < 0.2 * value
    assert found.estimate_error(samples=50, rng=3) == found.estimate_error(samples=50, rng=np.random.default_rng(3))
    nothing = compress_far_field(surface("sphere", 1), "single_layer", 1.0, progress=False)
    assert nothing.estimate_error() == (0.0, 0.0)


def test_statistics_and_figure() -> None:
    found = compressed("single_layer")
    s = found.statistics()
    assert s["far_blocks"] == len(found.far) == len(found.partition.far)
    assert s["largest_rank"] == found.ranks.max()
    assert s["nbytes"] == sum(b.nbytes for b in found.far)
    assert s["values_read"] == found.values_read.sum()
    assert repr(found).startswith("CompressedOperator(single_layer, k = 2, 258 unknowns, ")
    figure = block_ranks(found)
    near, far = figure.axes[0].collections
    assert len(far.get_paths()) == s["far_blocks"]
    assert len(near.get_paths()) == s["near_blocks"]
    np.testing.assert_array_equal(far.get_array(), found.ranks)
    area = sum(np.prod(np.ptp(p.vertices, axis=0)) for c in (near, far) for p in c.get_paths())
    assert area == pytest.approx(258**2)
    nothing = compress_far_field(surface("sphere", 1), "single_layer", 1.0, progress=False)
    assert nothing.statistics()["far_blocks"] == 0
    assert not nothing.to_dense().any()
    block_ranks(nothing)


def test_the_same_seed_gives_the_same_blocks() -> None:
    mesh = surface("sphere", 3)
    first, second = (
        compress_far_field(mesh, "single_layer", 2.0, leaf=20, rng=r, progress=False)
        for r in (5, np.random.default_rng(5))
    )
    np.testing.assert_array_equal(first.to_dense(), second.to_dense())


def test_fewer_kernel_values_are_read_the_finer_the_mesh() -> None:
    """For one pair of patches the crosses need a fixed number of rows and columns.

    The values read grow like n, the block like n^2.
    """
    read, full = [], []
    for level in (3, 4, 5):
        mesh = surface("sphere", level)
        kernel = SurfaceKernel(mesh, "single_layer", 2.0)
        order = cluster_tree(mesh.vertices).order
        z = mesh.vertices[2, order]
        left, right = (kernel.quadrature.side(order[p]) for p in (z > 0.75, z < -0.75))
        _, error, count, _ = module._compress(
            kernel, left, right, kernel.size(left) * kernel.size(right), 1e-6, 1.0, np.random.default_rng(0)
        )
        assert error <= 1e-6
        read.append(count)
        full.append(len(left.points) * len(right.points))
    growth = np.log(np.array(read)[1:] / read[:-1]) / np.log(np.array(full)[1:] / full[:-1])
    assert np.all(growth < 0.65)
    assert read[-1] < 0.015 * full[-1]


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operator": "triple_layer"}, "unknown operator 'triple_layer'; the operators are single_layer, double_layer"),
        ({"wavenumber": -1.0}, r"the wavenumber must be a number >= 0 \(0 for the Laplace equation\), got -1.0"),
        ({"wavenumber": np.inf}, "the wavenumber must be a number >= 0"),
        ({"wavenumber": np.nan}, "the wavenumber must be a number >= 0"),
        ({"wavenumber": 1j}, "the wavenumber must be a number >= 0"),
        ({"eta": 0}, "eta must be a positive number, got 0"),
        ({"rtol": 0}, "rtol must be a number between 0 and 1, got 0"),
        ({"rtol": -1e-3}, "rtol must be a number between 0 and 1, got -0.001"),
        ({"rtol": np.nan}, "rtol must be a number between 0 and 1, got nan"),
        ({"leaf": 0}, "leaf must be a whole number >= 1, got 0"),
    ],
)
def test_bad_arguments(arguments, message) -> None:
    good = {"operator": "single_layer", "wavenumber": 1.0, "progress": False}
    with pytest.raises(ValueError, match=message):
        compress_far_field(surface("sphere", 1), **(good | arguments))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([0], [0], "the triangles around the rows and around the columns meet in 5 vertices, the first is vertex 0"),
        ([0], [66], "columns must lie between 0 and 65, got 66"),
        ([-1], [3], "rows must lie between 0 and 65, got -1"),
        ([0.5], [3], r"rows must be whole numbers \(k,\), got float64 \(1,\)"),
    ],
)
def test_bad_blocks(rows, columns, message) -> None:
    with pytest.raises(ValueError, match=message):
        kernel_block(surface("sphere", 2), "single_layer", 1.0, rows, columns)


def test_bad_indices_and_matrices() -> None:
    mesh = surface("sphere", 3)
    block = kernel_block(mesh, "single_layer", 1.0, *caps(mesh))
    with pytest.raises(ValueError, match=r"row indices must lie between 0 and \d+, got 999"):
        block.rows([999])
    with pytest.raises(ValueError, match="row and column indices must be as many, got 2 and 1"):
        block.entries([0, 1], [0])
    assert kernel_block(mesh, "single_layer", 1.0, [], [3]).to_dense().shape == (0, 1)
    found = compressed("single_layer")
    with pytest.raises(ValueError, match=r"must have shape \(258, 258\), got \(3, 3\)"):
        found.with_near_field(np.eye(3))
    with pytest.raises(ValueError, match=r"has \(?nan.* for the entry \(\d+, \d+\); recompute it"):
        found.with_near_field(np.full((258, 258), np.nan))
    with pytest.raises(ValueError, match=r"a 258 x 258 operator cannot be applied to shape \(3,\)"):
        found.matvec(np.ones(3))
    with pytest.raises(ValueError, match="samples must be a whole number >= 2, got 1"):
        found.estimate_error(samples=1)
