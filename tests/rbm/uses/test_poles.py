"""Enclosed poles against closed forms and exact eigenvalues, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest

import rbm
from lowrank import gram_schmidt
from problems import frequency_sweep, frequency_sweep_grid
from problems.interval import Interval, on_rectangle
from rbm.stability.bound import bind
from rbm.uses.enclosures import Spectrum, grouped, sharpened
from rbm.uses.poles import found_poles
from rbm.uses.ritz_pairs import RitzPairs

#: What the entries of assembled matrices are off by moves closed forms by such a share.
ENTRIES = 2e-12


def of_elements(cells: int, h: float) -> np.ndarray:
    """The eigenvalues of linear elements, whose eigenvectors are sines or cosines: the closed form."""
    c = np.cos(np.pi * np.arange(cells + 1) / cells)
    return 6 / h**2 * (1 - c) / (2 + c)


def membrane(cells: tuple[int, int] = (16, 12), size: tuple[float, float] = (1.0, 0.7), **options: Any) -> Any:
    """K - lam M on a rectangle with fixed edges, and all its eigenvalues."""
    x, y = (Interval(n, side) for n, side in zip(cells, size, strict=True))
    inside = np.add.outer((cells[0] + 1) * np.arange(1, cells[1]), np.arange(1, cells[0])).ravel()

    def within(a: Any) -> Any:
        return a[inside][:, inside]

    k = within(on_rectangle(x.stiffness, y.mass) + on_rectangle(x.mass, y.stiffness))
    m = within(on_rectangle(x.mass, y.mass))
    values = np.add.outer(of_elements(cells[0], x.h)[1:-1], of_elements(cells[1], y.h)[1:-1])
    load = np.random.default_rng(0).random(len(inside))
    product = m if options.pop("product", "stiffness") == "mass" else k
    made: dict[str, Any] = {"stability": rbm.stability.Pencil(), "projection": "least-squares", **options}
    return rbm.FullOrderModel(
        [(1.0, k), ("-lam", m)], [(1.0, load)], product, {"lam": (1.0, 250.0)}, outputs={"mean": load}, **made
    ), np.sort(values.ravel())


def reduced_at(model: rbm.FullOrderModel, points: Any, **options: Any) -> rbm.ReducedModel:
    snapshots = model.solve(np.asarray(points, dtype=float)[:, None])
    return rbm.project(model, gram_schmidt(snapshots.T, product=model.product).basis, **options)


def check(poles: rbm.Poles, truth: np.ndarray, share: float = ENTRIES) -> None:
    """Every interval holds as many of the true poles as it says, and if it is complete, all are in one."""
    low, high = poles.intervals.T
    off = share * np.abs(truth)
    for a, b, holds in zip(low, high, poles.holds, strict=True):
        assert np.sum((truth + off >= a) & (truth - off <= b)) >= holds
    assert np.all(low[1:] > high[:-1])
    assert np.all((low > poles.range[0]) & (high < poles.range[1]))
    inside = truth[(truth > poles.range[0]) & (truth < poles.range[1])]
    if poles.number is not None:
        assert poles.number == len(inside)
    if poles.complete:
        assert len(inside) == poles.holds.sum()


@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
@pytest.mark.parametrize("product", ["stiffness", "mass"])
def test_the_membrane_s_closed_form_is_inside_the_radii(projection: Any, product: str) -> None:
    model, truth = membrane(projection=projection, product=product)
    reduced = reduced_at(model, np.linspace(2, 245, 40))
    poles = rbm.poles(reduced)
    check(poles, truth)
    assert poles.complete
    assert poles.undecided == 0
    assert len(poles.values) == np.sum(truth < 250)
    assert np.max(poles.radii / poles.values) < 1e-6
    values, radii = poles
    assert np.all(np.abs(values - truth[: len(values)]) <= radii + ENTRIES * values)
    low, high = poles.eigenvalues.T
    assert np.all((low <= truth[: len(low)] * (1 + ENTRIES)) & (truth[: len(low)] * (1 - ENTRIES) <= high))


def test_a_poor_basis_has_wide_intervals_that_are_true() -> None:
    model, truth = membrane()
    for count in (3, 6, 9, 14, 20):
        for extra in (None, model):
            reduced = reduced_at(model, np.linspace(2, 245, count))
            poles = found_poles(reduced, full_model=extra)
            check(poles, truth)
            assert not (poles.complete and count < 9)


def test_modes_are_what_the_intervals_speak_of() -> None:
    model, truth = membrane()
    poles = rbm.poles(reduced := reduced_at(model, np.linspace(2, 245, 40)))
    modes = reduced.reconstruct(poles.coefficients)
    k, m = model.operator_terms
    quotients = np.einsum("ij,ij->i", modes, modes @ k) / np.einsum("ij,ij->i", modes, modes @ m)
    assert quotients == pytest.approx(truth[: len(poles)], rel=1e-8)
    assert poles.owner.tolist() == list(range(len(poles)))


def test_the_square_s_double_eigenvalues_hold_two_where_the_basis_has_both() -> None:
    model, truth = membrane((14, 14), (1.0, 1.0))
    reduced = reduced_at(model, np.linspace(2, 245, 30))
    poles = rbm.poles(reduced)
    check(poles, truth)
    assert not poles.complete  # one load excites one of the two modes
    assert poles.missing is not None
    assert len(poles.missing) > 0
    doubles = truth[:-1][np.abs(np.diff(truth)) < 1e-9 * truth[:-1]]
    doubles = doubles[doubles < 250]
    assert np.all(np.min(np.abs(poles.missing.mean(axis=1)[:, None] - doubles), axis=0) < 1e-6)
    with pytest.raises(rbm.ModelError, match=r"the full model has \d+ poles .* missing, at .* not in its basis"):
        poles.check_complete()
    # a basis of eigenvectors has both
    k, m = (a.toarray() for a in model.operator_terms)
    import scipy.linalg

    vectors = scipy.linalg.eigh(k, m)[1][:, :14]
    both = rbm.poles(rbm.project(model, vectors))
    check(both, truth)
    assert both.complete
    assert both.check_complete() is both
    assert np.count_nonzero(both.holds == 2) == len(doubles)


@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_the_duct_s_closed_form_is_inside_the_radii(damping: float) -> None:
    """With damping they are the resonances, k^2 an eigenvalue."""
    model = frequency_sweep("duct", n=800, damping=damping, wavenumbers=(2.0, 11.9))
    x, y = frequency_sweep_grid("duct", 800)
    truth = np.sort(np.add.outer(of_elements(len(x) - 1, x[1]), of_elements(len(y) - 1, y[1])).ravel())
    truth = np.sqrt(truth[truth > 1])
    reduced = reduced_at(model, np.linspace(2, 11.9, 60)[::2])
    poles = rbm.poles(reduced, damped=damping > 0)
    check(poles, truth)
    assert poles.complete
    assert poles.radii.max() < 1e-6
    assert poles.damped is (damping > 0)
    part = rbm.poles(reduced, (4.0, 8.0), damped=damping > 0)
    check(part, truth)
    assert part.complete
    assert 0 < len(part) < len(poles)


def test_a_model_without_damping_is_none_that_is_damped() -> None:
    model, _ = membrane()
    reduced = reduced_at(model, np.linspace(2, 245, 20))
    a, b = rbm.poles(reduced), rbm.poles(reduced, damped=True)
    assert b.damped is False
    np.testing.assert_allclose(a.values, b.values, rtol=1e-12)
    np.testing.assert_array_equal(a.holds, b.holds)


def test_a_range_that_ends_at_a_pole_leaves_it_undecided() -> None:
    model, truth = membrane()
    reduced = reduced_at(model, np.linspace(2, 245, 40))
    for pole in rbm.poles(reduced).values[2:5]:
        for made, full in ((reduced, None), (replace(reduced, stability=bind(1e-4, model)), model)):
            poles = found_poles(made, (5.0, float(pole)), full_model=full)
            assert not poles.complete
            assert len(poles) == np.sum(truth < pole - 1e-9)
            check(replace(poles, number=None), truth)


def exact_eigenvalues(k: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of K v = lambda M v with K + M definite, in 300-bit ball arithmetic, rounded."""
    flint.ctx.prec = 300

    def balls(x: np.ndarray) -> flint.acb_mat:
        return flint.acb_mat([[flint.acb(float(np.real(y)), float(np.imag(y))) for y in row] for row in x])

    b = balls(m)
    t = (balls(k) + b).solve(b).eig()
    return np.array([float((1 / v - 1).real.mid()) for v in t])


@pytest.mark.parametrize("seed", range(16))
def test_no_interval_of_a_random_pencil_is_wrong(seed: int) -> None:
    """Real and complex, clustered and multiple eigenvalues, indefinite M, poor and good bases, single precision."""
    rng = np.random.default_rng(seed)
    n, complex_valued = 14, seed % 2 == 1
    x = rng.standard_normal((n, n)) + 1j * complex_valued * rng.standard_normal((n, n))
    x = x if complex_valued else x.real
    p = x @ x.conj().T + n * np.eye(n)
    t = np.sort(rng.uniform(-1.0 if seed % 4 > 1 else 0.05, 1.0, n))
    t[: n // 2] = t[0] + np.repeat([0.0, 1e-3, 1e-7, 0.3], 2)[: n // 2]  # multiple up to rounding, and clusters
    lower = np.linalg.cholesky(p)
    q = np.linalg.qr(x)[0]
    b = lower @ (q * t) @ q.conj().T @ lower.conj().T
    b = (b + b.conj().T) / 2
    k = p - b  # P = K + B
    k = (k + k.conj().T) / 2
    for a in (k, b):
        np.fill_diagonal(a, a.diagonal().real)
    model = rbm.FullOrderModel(
        [(1.0, k), ("-s", b)], [(1.0, rng.standard_normal(n))], k + b, {"s": (-0.9, 4.0)},
        rbm.stability.Pencil(), projection="least-squares",
    )  # fmt: skip
    truth = exact_eigenvalues(k, b)
    vectors = np.linalg.inv(lower).conj().T @ q
    for level in (1.0, 1e-2, 1e-4, 1e-8, 0.0):
        count = int(rng.integers(2, n))
        some = rng.permutation(n)[:count]
        basis = vectors[:, some] + level * rng.standard_normal((n, count)) * np.abs(vectors).max()
        reduced = rbm.project(model, basis)
        for made in (reduced, reduced.astype("float32"), replace(reduced, stability=bind(1e-6, model))):
            poles = found_poles(made, full_model=model)  # all eigenvalues known, or their number
            check(poles, truth, 1e-15)


def test_a_file_gives_the_same(tmp_path: Path) -> None:
    model, _ = membrane()
    reduced = reduced_at(model, np.linspace(2, 245, 20))
    reduced.save(tmp_path / "m.rbm")
    a, b = rbm.poles(reduced), rbm.poles(rbm.load(tmp_path / "m.rbm"))
    np.testing.assert_array_equal(a.intervals, b.intervals)
    assert repr(a) == repr(b)
    assert "Poles(" in repr(a)


def test_counts_of_pivots_prove_what_the_stability_bound_does() -> None:
    model, truth = membrane(stability=1e-4)
    reduced = reduced_at(model, np.linspace(2, 245, 40))
    with pytest.raises(rbm.ModelError, match=r"stability=rbm.stability.Pencil\(\), or give full_model="):
        rbm.poles(reduced)
    poles = rbm.poles(reduced, full_model=model)
    check(poles, truth)
    assert poles.complete
    assert poles.number == np.sum(truth < 250)
    assert poles.missing is None
    few = found_poles(reduced_at(model, np.linspace(2, 60, 6)), full_model=model)
    assert few.number == poles.number
    assert not few.complete
    with pytest.raises(rbm.ModelError, match="missing are others"):
        few.check_complete()
    unknown, _ = membrane(stability=rbm.stability.Pencil(cut=100.0))
    made = found_poles(reduced_at(unknown, np.linspace(2, 245, 40)))
    assert made.number is None
    with pytest.raises(rbm.ModelError, match="is not known: give full_model="):
        made.check_complete()


def test_the_square_of_the_residual_needs_the_distance_from_all_others() -> None:
    """H = [[0, e], [e, g]] and v = (1, 0): rho = 0, residual e; the eigenvalue is -e^2 / g to first order."""
    e, g = 1e-3, 1.0
    pairs = RitzPairs(np.array([0.0]), np.ones((1, 1)), np.array([e]), np.array([0.0]))
    (group,) = grouped(pairs, np.array([0]))
    assert (group.low, group.high) == (pytest.approx(-e), pytest.approx(e))
    low, high = np.linalg.eigvalsh([[0.0, e], [e, g]])
    known = Spectrum(
        -np.inf, np.inf, np.array([[low - 1e-9, low + 1e-9], [high - 1e-9, high + 1e-9]]), np.array([1, 1])
    )
    (sharp,) = sharpened([group], pairs, known)
    assert sharp.low <= low <= sharp.high
    assert sharp.high - sharp.low < 1.01e-6
    assert sharp.low == pytest.approx(-(e**2) / high, rel=1e-6)
    two = replace(known, numbers=np.array([2, 1]))
    assert sharpened([group], pairs, two) == [group]
    far = replace(known, low=5e-4)
    assert sharpened([group], pairs, far) == [group]


def test_a_pair_with_a_large_residual_spoils_no_good_one() -> None:
    values, residuals = np.array([1.0, 1.1, 1.1 + 1e-9, 3.0]), np.array([1e-8, 0.3, 1e-8, 0.5])
    pairs = RitzPairs(values, np.eye(4), residuals, np.zeros(4))
    groups = grouped(pairs, np.arange(4))
    assert [g.members for g in groups] == [(0,), (2,), (3,)]
    assert groups[0].high - groups[0].low < 3e-8
    together = grouped(replace(pairs, residuals=np.array([0.2, 0.3, 0.25, 0.5])), np.arange(4))
    assert [g.members for g in together] == [(0, 1, 2), (3,)]
    assert together[0].holds == 3
    assert together[0].high - together[0].low == pytest.approx(0.1 + 2 * np.sqrt(0.04 + 0.09 + 0.0625), rel=1e-6)


def test_bad_input_is_one_clear_error() -> None:
    model, truth = membrane()
    reduced = reduced_at(model, np.linspace(2, 245, 10))
    between = (float(truth[0]) * 1.1, float(truth[1]) * 0.9)
    with pytest.raises(rbm.ModelError, match=r"there is no pole for lam in .* which is proved"):
        rbm.poles(reduced, between)
    few = reduced_at(model, [100.0])
    with pytest.raises(rbm.ModelError, match=r"the reduced model shows no pole .* the full model has 1 there"):
        rbm.poles(few, (5.0, float(truth[1]) * 0.9))
    for bad in (3.0, (1, 2, 3), "ab", ("a", "b")):
        with pytest.raises(rbm.ParameterError, match="range must be a pair of numbers"):
            rbm.poles(reduced, bad)
    for ends in ((5.0, 5.0), (7.0, 2.0), (np.nan, 3.0)):
        with pytest.raises(rbm.ParameterError, match="low < high"):
            rbm.poles(reduced, ends)
    with pytest.raises(rbm.ParameterError, match=r"not inside that of the model, \[1, 250\]"):
        rbm.poles(reduced, (0.5, 10.0))
    with pytest.raises(rbm.ModelError, match="asks a reduced model, got a FullOrderModel"):
        rbm.poles(model)
    with pytest.raises(rbm.ModelError, match=r"full_model must be a rbm.FullOrderModel, got a ReducedModel"):
        rbm.poles(reduced, full_model=reduced)  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match="mass must be the number of an operator term"):
        rbm.poles(reduced, mass=7)
    with pytest.raises(rbm.ModelError, match="are not the stiffness and the mass"):
        rbm.poles(reduced, mass=0)
    with pytest.raises(rbm.ModelError, match="no estimator 'orthonormal'"):
        rbm.poles(reduced_at(model, [3.0, 9.0], estimators=("expanded",)))


def test_models_that_are_no_pencil_of_one_parameter_are_refused() -> None:
    k, m, b = np.diag([1.0, 4.0, 9.0]), np.eye(3), np.diag([1.0, 0.0, 0.0])

    def made(operators: Any, space: dict[str, tuple[float, float]], stability: Any = 1e-3) -> rbm.FullOrderModel:
        return rbm.FullOrderModel(operators, [(1.0, np.ones(3))], k + m, space, stability, projection="least-squares")

    two = made([(1.0, k), ("-w**2 * c", m)], {"w": (0.5, 3.5), "c": (1.0, 2.0)})
    with pytest.raises(rbm.ModelError, match="one parameter, and the model has 2, w, c"):
        rbm.poles(rbm.project(two, np.eye(3)[:, :2]))
    other = made([(1.0, k), ("-w**2", m), ("w", b)], {"w": (0.5, 3.5)})
    with pytest.raises(
        rbm.ModelError, match=r"no pencil, so rbm.poles cannot tell .* operator term 2 is no combination"
    ):
        rbm.poles(rbm.project(other, np.eye(3)[:, :2]), full_model=other)
    damped = made([(1.0, k), ("-w**2 * (1 + 0.1j)", m)], {"w": (0.5, 3.5)}, rbm.stability.Pencil())
    with pytest.raises(rbm.ModelError, match=r"is damped: at w = .* damped=True encloses the resonances"):
        rbm.poles(rbm.project(damped, np.eye(3)[:, :2]))
    turning = made([(1.0, k), ("-(w - 1)**2", m)], {"w": (-3.0, 3.5)}, rbm.stability.Pencil())
    with pytest.raises(rbm.ModelError, match="forwards and backwards between w = -3 and"):
        rbm.poles(rbm.project(turning, np.eye(3)[:, :2]))
    assert rbm.poles(rbm.project(turning, np.eye(3)[:, :2]), (1.1, 3.5)).values == pytest.approx([2.0, 3.0])
    whole = made([("w", k), ("1 - w", m)], {"w": (0.0, 1.0)}, 1e-3)
    with pytest.raises(rbm.ModelError, match="is a multiple of the product at w = 0"):
        rbm.poles(rbm.project(whole, np.eye(3)[:, :2]), full_model=whole)
    interpolated = rbm.FullOrderModel(
        [(1.0, k), ("-w**2", m)], [(1.0, np.ones(3))], k + m, {"w": (1.2, 1.8)}, rbm.stability.Pencil(),
        interpolation_error=(1e-6, 0.0), projection="least-squares",
    )  # fmt: skip
    with pytest.raises(rbm.ModelError, match="not affine, whose poles are elsewhere"):
        rbm.poles(rbm.project(interpolated, np.eye(3)[:, :2]))


def diagonal(values: Any, product: Any, stability: Any, ends: tuple[float, float], terms: Any = None) -> Any:
    """K - w^2 M of a diagonal K on a basis of three eigenvectors, and its full model."""
    k, m = np.diag(np.array(values, dtype=float)), np.eye(len(values))
    terms = [(1.0, k), ("-w**2", m)] if terms is None else [(1.0, k), *terms(m)]
    model = rbm.FullOrderModel(
        terms, [(1.0, np.ones(len(k)))], product(k, m), {"w": ends}, stability, projection="least-squares"
    )
    return model, rbm.project(model, np.eye(len(k))[:, :3] + 1e-9)


@pytest.mark.parametrize(
    "product", [lambda k, m: k + m, lambda k, m: 2 * m, lambda k, m: m / 8, lambda k, m: 600 * m - k]
)
@pytest.mark.parametrize("with_full_model", [False, True])
def test_eigenvalues_are_those_of_k_and_m_for_every_product(product: Any, with_full_model: bool) -> None:
    model, reduced = diagonal([1, 4, 9, 400, 500], product, rbm.stability.Pencil(), (0.5, 3.5))
    found = rbm.poles(reduced, full_model=model if with_full_model else None)
    check(found, np.array([1.0, 2.0, 3.0]))
    low, high = found.eigenvalues.T
    assert np.all((low <= [1, 4, 9]) & (high >= [1, 4, 9]))
    assert np.all(high - low < 1e-3)
    # the bound of 600 M - K does not know all of its spectrum
    assert found.complete or (found.number is None and not with_full_model)


def test_a_bound_of_another_pencil_tells_nothing() -> None:
    values = [1.0, 1.0004, 3.0008, 40.0, 50.0]
    model = diagonal(
        values, lambda k, m: k + m, rbm.stability.Pencil(mass=2), (0.5, 1.4),
        lambda m: [("-w**2 / 2", m), ("-w**2 / 4", 2 * m)],
    )[0]  # fmt: skip
    basis = np.zeros((5, 2))
    basis[0, 0] = basis[1, 0] = basis[3, 1] = 1
    found = found_poles(rbm.project(model, basis), full_model=model)
    check(found, np.sqrt(values[:2]))
    assert not found.complete


@pytest.mark.parametrize("ends", [(0.3, 3.7), (0.5, 3.5), (1e-9, 10.0)])
def test_no_range_of_a_square_goes_backwards(ends: tuple[float, float]) -> None:
    _, reduced = diagonal([1, 4, 9, 400, 500], lambda k, m: k + m, rbm.stability.Pencil(), ends)
    for low in np.round(np.arange(max(ends[0], 0.3), 0.9, 0.1), 2):
        for high in np.round(np.arange(low + 0.5, 3.45, 0.3), 2):
            check(found_poles(reduced, (low, high)), np.array([1.0, 2.0, 3.0]))
    assert len(rbm.poles(reduced)) == 3


@pytest.mark.parametrize("high", [3 - 1e-11, 3 - 1e-12, 3 - 1e-13])
def test_a_pole_beside_the_end_is_not_counted(high: float) -> None:
    model, reduced = diagonal([1, 4, 9, 400, 500], lambda k, m: k + m, 1e-9, (0.5, 3.5))
    found = found_poles(reduced, (0.5, high), full_model=model)
    check(found, np.array([1.0, 2.0, 3.0]))
    assert found.number in (None, 2)
    assert found_poles(reduced, (0.5, 2.5), full_model=model).number == 2
    assert found_poles(reduced, (2.2, 2.5), full_model=model).number == 0


@pytest.mark.parametrize("mus", ["abc", [1.5 + 1j], None, [[1.0, 2.0], [3.0]]])
def test_points_that_are_no_real_numbers_are_refused(mus: Any) -> None:
    _, reduced = diagonal([1, 4, 9, 400, 500], lambda k, m: k + m, rbm.stability.Pencil(), (0.5, 3.5))
    with pytest.raises(rbm.ParameterError):
        rbm.uses.training_between(reduced, mus, 1e-3)
    with pytest.raises((rbm.ParameterError, rbm.ModelError)):
        rbm.frequency_response(reduced, mus)


@pytest.mark.parametrize("tol", ["x", None, np.nan, -1.0, True])
def test_a_tolerance_that_is_none_is_refused(tol: Any) -> None:
    _, reduced = diagonal([1, 4, 9, 400, 500], lambda k, m: k + m, rbm.stability.Pencil(), (0.5, 3.5))
    with pytest.raises(rbm.ParameterError, match="tol must be a number"):
        rbm.uses.training_between(reduced, [1.5, 1.6], tol)
