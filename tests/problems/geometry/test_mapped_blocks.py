"""Forms on mapped blocks are those that are assembled on the moved mesh; bad maps get one clear message each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import skfem
from scipy.spatial import Delaunay
from skfem.models import poisson

import rbm
from problems import MappedBlocks, MappedTerm, mapped_blocks, mapped_grid, merged_terms
from problems.geometry.formulas import formula

#: A square of three blocks: a triangle and two quadrilaterals whose common corner moves; one has no affine map.
VERTICES = {
    "a": ((0, 0), (0, 0)), "b": ((1, 0), ("L", 0)), "c": ((1, 1), ("L", "1 + s*L")), "d": ((0, 1), (0, 1)),
    "m": ((0.5, 0.5), ("x", "y")), "e": (("1/2", 0), ("L/2", 0)),
}  # fmt: skip
BLOCKS = {"left": ("a", "e", "m", "d"), "right": ("e", "b", "c", "m"), "top": ("m", "c", "d")}
SPACE = {"L": (1.0, 1.5), "s": (0.0, 0.3), "x": (0.45, 0.6), "y": (0.4, 0.6), "k": (1.0, 2.0)}
RELATIVE = 1e-13


def square_mesh(count: int = 4) -> Any:
    """The unit square in triangles whose sides lie on all diagonals through the midpoint, and on those of BLOCKS."""
    mesh = skfem.MeshTri(
        np.array([[0, 1, 1, 0, 0.5, 0.5], [0, 0, 1, 1, 0.5, 0]], dtype=float),
        np.array([[0, 5, 4], [0, 4, 3], [5, 1, 2], [5, 2, 4], [4, 2, 3]]).T,
    )
    return mesh.refined(count - 2)


@lru_cache
def square(order: int = 1) -> MappedBlocks:
    element = skfem.ElementTriP1() if order == 1 else skfem.ElementTriP2()
    return mapped_blocks(square_mesh(), VERTICES, BLOCKS, SPACE, element=element)


def shear_grid() -> MappedBlocks:
    """Quadrilaterals: a rectangle in two columns."""
    mesh = skfem.MeshQuad.init_tensor(np.linspace(0, 3, 7), np.linspace(0, 1, 4))
    return mapped_grid(mesh, [(1, "L"), (2, "3 - L + x")], [(1, "k")], SPACE)


def close(ours: Any, theirs: Any) -> None:
    largest = abs(theirs).max()
    assert abs(ours - theirs).max() <= RELATIVE * largest


def assembled(domain: MappedBlocks, form: Any, mu: Any, block: str | None = None, facets: Any = None) -> Any:
    """A form on the moved mesh, by scikit-fem alone."""
    mesh = domain.mesh_at(mu)
    if facets is not None:
        return form.assemble(skfem.FacetBasis(mesh, domain.element, facets=facets))
    numbers = [n for n, piece in enumerate(domain.pieces) if block in (None, piece.block)]
    elements = np.flatnonzero(np.isin(domain.number, numbers))
    return form.assemble(skfem.Basis(mesh, domain.element, elements=elements))


@skfem.BilinearForm
def anisotropic(u, v, _):  # type: ignore[no-untyped-def]
    dx, dy = u.grad
    return (2 * dx - dy) * v.grad[0] + (3 * dy - dx) * v.grad[1]


@skfem.BilinearForm
def convective(u, v, _):  # type: ignore[no-untyped-def]
    return (0.5 * u.grad[0] - 2 * u.grad[1]) * v


DOMAINS = {"triangles": square, "quadratic": lambda: square(2), "grid": shear_grid}


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_forms_are_those_of_the_moved_mesh(domain: Any) -> None:
    d = domain()
    first = d.blocks[0]
    for mu in d.parameters.sample(4, "random", rng=1):
        for ours, form in (
            (d.diffusion(), poisson.laplace),
            (d.diffusion(((2, -1), (-1, 3))), anisotropic),
            (d.mass(), poisson.mass),
            (d.convection((0.5, "-2")), convective),
            (d.source(), poisson.unit_load),
        ):
            close(d.assemble(merged_terms(ours), mu), assembled(d, form, mu))
        close(d.assemble(merged_terms(d.mass({first: "k"})), mu), mu[4] * assembled(d, poisson.mass, mu, first))
        boundary = d.mesh.boundary_facets()
        close(d.assemble(merged_terms(d.boundary_mass()), mu), assembled(d, poisson.mass, mu, facets=boundary))
        load = assembled(d, poisson.unit_load, mu, facets=boundary)
        close(d.assemble(merged_terms(d.boundary_source("L")), mu), mu[0] * load)


@pytest.mark.parametrize("seed", range(6))
def test_forms_on_triangulations_at_random_are_those_of_the_moved_mesh(seed: int) -> None:
    """Each triangle of some points is a block, and each point moves by a formula of its own."""
    rng = np.random.default_rng(seed)
    points = np.round(np.vstack([[[0, 0], [1, 0], [1, 1], [0, 1]], rng.random((4, 2)) * 0.8 + 0.1]), 3)
    triangles = Delaunay(points).simplices
    moves = ("a*b", "b**2 - a", "a/(1 + b)", "0.3", "a - b", "b")
    vertices = {
        str(n): ((x, y), (f"{x} + 0.01*({rng.choice(moves)})", f"{y} - 0.01*({rng.choice(moves)})"))
        for n, (x, y) in enumerate(points)
    }
    vertices["0"] = ((0, 0), ("0.01*sin(3*a)", "0"))
    blocks = {f"block {n}": tuple(map(str, t)) for n, t in enumerate(triangles)}
    mesh = skfem.MeshTri(np.ascontiguousarray(points.T), np.ascontiguousarray(triangles.T)).refined(1)
    d = mapped_blocks(mesh, vertices, blocks, {"a": (0.1, 1.0), "b": (0.2, 0.5)})
    for mu in d.parameters.sample(3, "random"):
        close(d.assemble(merged_terms(d.diffusion("a")), mu), mu[0] * assembled(d, poisson.laplace, mu))
        close(d.assemble(merged_terms(d.convection((0.5, -2))), mu), assembled(d, convective, mu))
        lengths = d.assemble(merged_terms(d.boundary_source()), mu)
        close(lengths, assembled(d, poisson.unit_load, mu, facets=d.mesh.boundary_facets()))
        signed = np.linalg.det(np.diff(d.mesh_at(mu).p[:, d.mesh.t], axis=1).T)
        assert np.all(np.sign(signed) == np.sign(np.linalg.det(np.diff(d.mesh.p[:, d.mesh.t], axis=1).T)))


def test_every_vertex_goes_where_it_was_told_to() -> None:
    d, mu = square(), [1.3, 0.2, 0.5, 0.45, 1.0]
    mesh = d.mesh_at(mu)
    wanted = {(0.5, 0.5): (0.5, 0.45), (1, 1): (1.3, 1.26), (0.5, 0): (0.65, 0), (0, 1): (0, 1)}
    for place, image in wanted.items():
        node = np.flatnonzero(np.all(np.isclose(d.mesh.p.T, place), axis=1))[0]
        np.testing.assert_allclose(mesh.p[:, node], image, rtol=1e-15, atol=1e-15)
    # maps agree on common sides: nodes by the pieces of all elements they belong to
    p, t = d.mesh.p, d.mesh.t
    for n, piece in enumerate(d.pieces):
        x = np.array([[float(c.at(np.array([mu]), d.parameters.names)[0]) for c in v.image] for v in piece.corners[:3]])
        ref = np.array([[float(c) for c in v.reference] for v in piece.corners[:3]])
        mine = np.unique(t[:, d.number == n])
        bary = np.linalg.solve(np.vstack([ref.T, np.ones(3)]), np.vstack([p[:, mine], np.ones(len(mine))]))
        np.testing.assert_allclose(x.T @ bary, mesh.p[:, mine], atol=1e-14)


def test_a_quadrilateral_is_split_only_where_its_map_is_not_affine() -> None:
    assert [piece.block for piece in square().pieces] == ["left", "left", "right", "right", "top"]
    vertices = {**VERTICES, "c": ((1, 1), ("L + s", "1")), "d": ((0, 1), ("s", 1))}
    mesh = skfem.MeshTri().refined(2)
    sheared = mapped_blocks(mesh, vertices, {"all": ("a", "b", "c", "d")}, SPACE)
    assert len(sheared.pieces) == 1
    for mu in sheared.parameters.sample(3, "random"):
        close(sheared.assemble(merged_terms(sheared.diffusion()), mu), assembled(sheared, poisson.laplace, mu))


def test_blocks_may_be_written_clockwise() -> None:
    """The diagonal stays the one from the first vertex."""
    turned = {name: (corners[0], *corners[:0:-1]) for name, corners in BLOCKS.items()}
    one, two, mu = square(), mapped_blocks(square_mesh(), VERTICES, turned, SPACE), [1.2, 0.1, 0.5, 0.5, 1.0]
    np.testing.assert_allclose(one.nodes(mu), two.nodes(mu), rtol=0, atol=1e-15)
    close(two.assemble(merged_terms(two.diffusion()), mu), one.assemble(merged_terms(one.diffusion()), mu))


def test_equal_terms_are_merged_and_zero_terms_left_out() -> None:
    mesh = skfem.MeshTri.init_tensor(np.linspace(0, 2, 5), np.linspace(0, 3, 7))
    d = mapped_grid(mesh, [(1, "L"), (1, "2*L")], [(1, "t"), (1, "t"), (1, "3*t")], {"L": (1, 2), "t": (0.1, 1)})
    terms = d.diffusion() + d.mass("t/L")
    assert len(terms) == 18, "of six cells two each, as angles stay right ones, and six masses"
    merged = merged_terms(terms)
    assert [c for c, _ in merged] == ["t/L", "L/t", "t**2"]
    assert [c for c, _ in merged_terms(d.diffusion("L/t"))] == [1.0, "L**2/t**2"]
    with pytest.raises(rbm.ModelError, match=r"has \d{5} characters, multiplied out; 1000 are allowed: L\*t"):
        merged_terms(d.mass("(1 + L + t + L*t + exp(L) + sin(t))**7"))
    with pytest.raises(rbm.ModelError, match="no term is left"):
        merged_terms(d.mass("L - L"))
    mus = d.parameters.sample(5, "random")
    for mu in mus:
        values = [c.at(mu[None], d.parameters.names)[0] for c in (term.coefficient for term in terms)]
        plain = sum(v * term.matrix for v, term in zip(values, terms, strict=True))
        assert abs(plain - d.assemble(merged, mu)).max() <= 1e-15 * abs(plain).max() * 4


def test_semidefinite_matrices_stay_so() -> None:
    """c and -c are not merged where a difference would be taken of semi-definite matrices."""
    one, eye = np.diag([1.0, 0.0]), np.diag([0.0, 2.0])
    pair = [MappedTerm(formula(c, "t"), a, True, "") for c, a in (("t", one), ("-t", eye))]
    made = merged_terms(pair)
    assert [c for c, _ in made] == ["t", "-t"]
    assert all(np.all(np.linalg.eigvalsh(a) >= 0) for _, a in made)
    loose = [MappedTerm(term.coefficient, term.matrix, False, "") for term in pair]
    ((_, difference),) = merged_terms(loose)
    np.testing.assert_array_equal(difference, one - eye)
    for term in square().diffusion() + square().mass() + square().boundary_mass():
        assert np.linalg.eigvalsh(term.matrix.toarray())[0] > -1e-14


def model_of(d: MappedBlocks, stability: Any) -> rbm.FullOrderModel:
    """Diffusion with u = 0 on the lower side, the mean as output."""
    fixed = np.flatnonzero(d.mesh.p[1] < 1e-9)
    operators, rhs = merged_terms(d.diffusion()), merged_terms(d.source())
    reference = d.parameters.bounds.mean(axis=1)
    product = d.assemble(operators, reference)
    made = rbm.constrain(operators, rhs, product, fixed, parameters=d.parameters)
    return rbm.FullOrderModel(
        made.operators, made.rhs, made.product, d.parameters, stability, outputs={"mean": made.rhs}
    )


def test_without_obtuse_angles_min_theta_bounds_the_constant() -> None:
    """Three triangles around a corner that moves in a box where all angles of all images stay acute."""
    h = 3**0.5 / 2
    vertices = {
        "a": ((0, 0), (0, 0)),
        "b": ((1, 0), (1, 0)),
        "c": ((0.5, h), ("x", "y")),
        "d": ((1.5, h), ("1 + x", "y")),
    }
    mesh = skfem.MeshTri(np.array([[0, 1, 0.5, 1.5], [0, 0, h, h]]), np.array([[0, 1, 2], [1, 3, 2]]).T).refined(3)
    blocks = {"one": ("a", "b", "c"), "two": ("b", "d", "c")}
    d = mapped_blocks(mesh, vertices, blocks, {"x": (0.3, 0.7), "y": (0.7, 1.0)})
    merged = merged_terms(d.diffusion())
    assert len(d.diffusion()) == 6
    assert len(merged) == 3, "both triangles have the same angles"
    model = model_of(d, rbm.stability.MinTheta(reference=[0.5, 0.85]))
    model.verify(10)
    bounds_hold(model)


@pytest.mark.parametrize("low", [0.1, -0.5])
def test_of_a_parallelogram_the_triangle_without_obtuse_angles_is_taken(low: float) -> None:
    vertices = {"a": ((0, 0), (0, 0)), "b": ((1, 0), (1, 0)), "c": ((1, 1), ("1 + s", 1)), "d": ((0, 1), ("s", 1))}
    mesh = skfem.MeshTri().refined(2)
    d = mapped_blocks(mesh, vertices, {"all": ("a", "b", "c", "d")}, {"s": (low, low + 0.4)})
    theta = model_of(d, rbm.stability.MinTheta(reference=[low + 0.2])).operator_coefficients(d.parameters.sample(20))
    assert theta.shape == (20, 3)
    assert np.all(theta > 0)


def test_with_obtuse_angles_scm_does() -> None:
    d = square()
    with pytest.raises(rbm.errors.StabilityError, match="positive coefficients"):
        model_of(d, rbm.stability.MinTheta(reference=d.parameters.bounds.mean(axis=1)))
    small = {"L": (1.0, 1.2), "s": (0.0, 0.2), "x": (0.45, 0.55), "y": 0.5}
    vertices = {**VERTICES, "m": ((0.5, 0.5), ("x", 0.5))}
    d = mapped_blocks(square_mesh(), vertices, BLOCKS, {k: v for k, v in small.items() if k != "y"})
    model = model_of(d, rbm.stability.SCM(training=d.parameters.sample(40), tol=0.5))
    model.verify(10)
    bounds_hold(model)


def bounds_hold(model: rbm.FullOrderModel) -> None:
    reduced = rbm.greedy(model, model.parameters.sample(60), max_basis=6, progress=False).reduced_model
    mus = model.parameters.sample(40, "random", rng=5)
    answer = reduced.solve(mus)
    assert reduced.basis is not None
    errors = model.error_norm(mus, answer.coefficients, reduced.basis)
    assert np.all(errors <= answer.bound)
    assert np.all(answer.bound < 1e3 * errors)
    off = model.outputs["mean"](mus, model.solve(mus)) - answer.outputs["mean"]
    assert np.all(np.abs(off) <= answer.output_bounds["mean"])


GRID = skfem.MeshTri.init_tensor(np.linspace(0, 2, 5), np.linspace(0, 1, 3))
CORNERS = {"a": ((0, 0), (0, 0)), "b": ((1, 0), ("L", 0)), "c": ((1, 1), ("L", 1)), "d": ((0, 1), (0, 1)),
           "e": ((2, 0), ("L + 1", 0)), "f": ((2, 1), ("L + 1", 1)), "g": ((1, 0.5), ("L", "t"))}  # fmt: skip
TWO = {"one": ("a", "b", "c", "d"), "two": ("b", "e", "f", "c")}
BOX = {"L": (0.5, 2.0), "t": (0.1, 0.9)}


@pytest.mark.parametrize(
    ("change", "blocks", "message"),
    [
        ({"b": ((1, 0), ("L - 1", 0)), "c": ((1, 1), ("L - 1", 1))}, TWO,
         r"block 'one' folds its elements at L = 0\.5, t = 0\.1: its determinant -1 \+ L is -0\.5 there"),
        ({"b": ((1, 0), ("L - 0.5", 0)), "c": ((1, 1), ("L - 0.5", 1))}, TWO,
         r"block 'one' cannot be shown to keep its orientation near L = 0\.5"),
        ({"b": ((1, 0), ("width", 0))}, TWO,
         "unknown name 'width' in coefficient expression 'width'; the names are L, t"),
        ({"h": ((1, 0), ("2*L", 0))}, {**TWO, "two": ("h", "e", "f", "c")},
         r"do not fit: the vertices 'b' and 'h' are both at \(1, 0\), but their images are \(L, 0\) and \(2\*L, 0\)"),
        ({}, {**TWO, "two": ("b", "e", "f", "c"), "one": ("a", "b", "g", "c", "d")}, "three or four vertices"),
        ({}, {"one": TWO["one"], "low": ("b", "e", "g"), "up": ("g", "e", "f", "c")},
         r"vertex 'g' goes to \(L, t\), but the map of block 'one', on whose side it is, takes it to \(L, 0\.5\)"),
        ({}, {"one": TWO["one"]}, "element .* is in no block"),
        ({}, {**TWO, "three": ("a", "b", "c")}, "blocks 'one' and 'three' overlap"),
        ({}, {**TWO, "two": ("b", "e", "f", "z")}, "block 'two' has the vertex 'z', which is none of a, b, c"),
        ({}, {**TWO, "two": ("b", "f", "e", "c")}, "are not those of a convex quadrilateral"),
        ({"z": ((1, 0.7), (1, 0.7))}, {**TWO, "two": ("b", "c", "z")}, "are on one line"),
        ({"z": ((0.8, 0), ("L", 0)), "w": ((0.8, 1), ("L", 1))},
         {"one": ("a", "z", "w", "d"), "two": ("z", "e", "f", "w")}, "crosses a side of block"),
        ({"z": ((3, 0), (3, 0))}, {**TWO, "three": ("e", "z", "f")}, "block 'three' holds no element"),
        ({"b": ((1, 0), (1,))}, TWO, "'b' is"),
        ({"b": (("L", 0), (1, 0))}, TWO, "unknown name 'L'"),
        ({"c": ((1, 1), ("L", "1 + t"))}, {**TWO, "one": ("b", "c", "d", "a")},
         "crosses a side of block 'one', which is split from 'b'"),
    ],
)  # fmt: skip
def test_bad_domains_are_refused(change: Any, blocks: Any, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        mapped_blocks(GRID, {**CORNERS, **change}, blocks, BOX)


def test_bad_forms_are_refused() -> None:
    d = mapped_blocks(GRID, CORNERS, TWO, BOX)
    for call, message in (
        (lambda: d.diffusion({"three": 1}), "a coefficient is for block 'three', which is none of one, two"),
        (lambda: d.diffusion(((1, 0.5), (0, 1))), "a symmetric tensor"),
        (lambda: d.diffusion((1, 2)), r"a tensor of shape \(2, 2\)"),
        (lambda: d.diffusion("K"), "unknown name 'K'"),
        (lambda: d.convection(1.0), "a velocity is a pair"),
        (lambda: d.boundary_mass(1, "root"), "has no boundary 'root'"),
        (lambda: d.boundary_mass(1, [10**6]), "facets must be numbers from 0 to"),
        (lambda: d.boundary_mass(), None),
        (
            lambda: d.boundary_mass(1, np.setdiff1d(np.arange(d.mesh.nfacets), d.mesh.boundary_facets())),
            "is on no side of its block",
        ),
        (lambda: d.nodes(d.parameters.sample(2)), "one parameter point, got 2"),
        (
            lambda: mapped_blocks(GRID, CORNERS, TWO, BOX, element=skfem.ElementQuad1()),
            "a scalar one .* got ElementQuad1",
        ),
        (lambda: mapped_blocks(GRID, CORNERS, TWO, BOX, element=skfem.ElementVector(skfem.ElementTriP1())), "a scalar"),
        (lambda: mapped_blocks(GRID.p, CORNERS, TWO, BOX), "must be a skfem.MeshTri or MeshQuad, got ndarray"),
        (lambda: mapped_grid(GRID, [(1, "L"), (1, 1)], [(1, 1)], BOX, blocks={"x": [(2, 0)]}), r"the cell \(2, 0\)"),
        (lambda: mapped_grid(GRID, [(-1, "L")], [(1, 1)], BOX), "reference length -1"),
        (lambda: mapped_grid(GRID, [1, "L"], [(1, 1)], BOX), "lists of pairs"),
    ):
        if message is None:
            call()
        else:
            with pytest.raises(rbm.ModelError, match=message):
                call()


def test_a_side_that_turns_has_a_square_root_as_weight() -> None:
    d = square()
    written = [c for c, _ in merged_terms(d.boundary_mass())]
    assert "sqrt(" in " ".join(map(str, written))
    rigid = {
        n: (r, (f"{r[0]}*cos(w) - {r[1]}*sin(w)", f"{r[0]}*sin(w) + {r[1]}*cos(w)")) for n, (r, _) in CORNERS.items()
    }
    turned = mapped_blocks(GRID, rigid, TWO, {"w": (0, 1)})
    assert [c for c, _ in merged_terms(turned.boundary_mass() + turned.diffusion() + turned.mass())] == [1.0]


def test_models_of_mapped_blocks_are_saved(tmp_path: Any) -> None:
    d = mapped_blocks(GRID, CORNERS, TWO, BOX)
    model = model_of(d, rbm.stability.MinTheta(reference=[1.0, 0.5]))
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=3, progress=False).reduced_model
    reduced.save(tmp_path / "plate.rbm")
    mus = model.parameters.sample(5, "random")
    np.testing.assert_array_equal(rbm.load(tmp_path / "plate.rbm").solve(mus).bound, reduced.solve(mus).bound)
    assert sp.issparse(model.operator_terms[0])


@pytest.mark.parametrize(
    ("element", "named"),
    [
        (skfem.ElementTriRT0(), "ElementTriRT"),
        (skfem.ElementTriN1(), "ElementTriN1"),
        (skfem.ElementTriP1() * skfem.ElementTriP1(), "ElementComposite"),
        (skfem.ElementQuad1, "ElementQuad1"),
        ("P1", "str"),
    ],
)
def test_elements_that_are_not_scalar_are_refused(element: Any, named: str) -> None:
    with pytest.raises(rbm.ModelError, match=f"the element must be a scalar one of scikit-fem .* got {named}"):
        mapped_blocks(GRID, CORNERS, TWO, BOX, element=element)


@pytest.mark.parametrize(
    ("mesh", "blocks", "message"),
    [
        ("x", None, "the reference mesh must be a skfem.MeshTri or MeshQuad, got str"),
        (GRID, [(0, 0)], "blocks must be a dictionary"),
        (GRID, {"a": 3}, "block 'a' must be a list of cells"),
        (GRID, {"a": [0]}, "block 'a' has the cell 0, which is none of"),
    ],
)
def test_bad_grids_are_refused(mesh: Any, blocks: Any, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        mapped_grid(mesh, [(1, "L"), (1, 1)], [(1, "t")], BOX, blocks=blocks)


@pytest.mark.parametrize("blocks", [[("a", "b", "c")], {"one": 3}, {"one": "abc"}])
def test_blocks_that_are_no_names_of_vertices_are_refused(blocks: Any) -> None:
    with pytest.raises(rbm.ModelError, match="three or four vertices"):
        mapped_blocks(GRID, CORNERS, blocks, BOX)


@pytest.mark.parametrize("place", ["1e200*1e200*L", "L*1e308*1e308"])
def test_numbers_beyond_double_precision_are_refused(place: str) -> None:
    with pytest.raises(rbm.ModelError, match="beyond the range of double precision"):
        mapped_blocks(GRID, {**CORNERS, "b": ((1, 0), (place, 0))}, TWO, BOX)
