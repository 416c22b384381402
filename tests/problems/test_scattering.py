"""Acoustic scattering.

The discretisation against the series, physics, certified reduction, the wavenumber, bad input.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.oracle import Oracle
from helpers.scattering_models import DATA, UNSEEN, scattering, wavenumber_model

import rbm
from problems import SurfaceMesh, acoustic_scattering, surface
from problems.acoustics import boundary_elements as bem
from problems.acoustics.scattering import ScatteringModel, affine_terms
from problems.acoustics.scattering_problem import ScatteringProblem, read_admittances
from problems.acoustics.scattering_series import sphere_pressure, two_part_sphere_pressure
from problems.acoustics.scattering_terms import terms_at
from problems.acoustics.surface_fields import plane_wave_load, sphere_rule
from rbm.errors import ModelError
from rbm.stability.bound import inf_sup

EPS = np.finfo(float).eps
K = 2.0


def l2(vector: np.ndarray, m: np.ndarray) -> float:
    return float(np.sqrt((vector.conj() @ m @ vector).real))


def mu(*betas: complex) -> np.ndarray:
    return np.array([[x for b in betas for x in (np.real(b), np.imag(b))]])


# ---- the series


def test_the_series_fulfils_the_boundary_condition() -> None:
    """Checks by finite differences of the field outside.

    Also through the far simpler case beta = 1, and against the two-part system.
    """
    z = np.linspace(-1, 1, 50)
    for beta in (0.0, 0.7, 0.3 - 0.7j):
        uniform = sphere_pressure(z, K, beta)
        np.testing.assert_allclose(two_part_sphere_pressure(z, K, beta, beta, 60), uniform, atol=1e-11)
    np.testing.assert_allclose(
        two_part_sphere_pressure(z, K, 1.0, 0.2, 400), two_part_sphere_pressure(z, K, 1.0, 0.2, 800), atol=5e-3
    )


def test_the_series_is_that_of_a_rigid_sphere_for_long_waves() -> None:
    """ka -> 0: u = 1 + 3/2 i k a cos + O(k^2)."""
    k = 1e-3
    np.testing.assert_allclose(
        sphere_pressure(np.array([-1.0, 0.0, 1.0]), k, 0.0, 20), 1 + 1.5j * k * np.array([-1, 0, 1]), atol=3 * k**2
    )


# ---- the discretisation, from stored matrices with 66 unknowns


@pytest.mark.parametrize(
    ("front", "back", "limit"), [(0, 0, 6.1e-2), (1, 1, 8.4e-2), (1, 0, 8.2e-2), (0.2, 1 - 0.5j, 7.5e-2)]
)
def test_surface_pressure_against_the_series(front: complex, back: complex, limit: float) -> None:
    model = scattering(complex_valued=True)
    m, z = bem.mass(model.mesh), model.mesh.vertices[2]
    exact = two_part_sphere_pressure(z, K, front, back)
    error = l2(model.solve(mu(front, back))[0] - exact, m) / l2(exact, m)
    assert limit / 2 < error < limit


def test_far_field_and_near_field_against_the_series() -> None:
    from scipy.special import eval_legendre, spherical_jn, spherical_yn

    model = scattering()
    n = np.arange(20)

    def h(x: float, slope: bool = False) -> np.ndarray:
        return spherical_jn(n, x, slope) + 1j * spherical_yn(n, x, slope)

    b = -(spherical_jn(n, K, True) + 0.5j * spherical_jn(n, K)) / (h(K, True) + 0.5j * h(K))
    u = model.solve([[0.5, 0.5]])
    points = np.array([[0.0, 0.0, 2.5], [1.5, 0.0, -1.5], [0.0, 3.0, 0.3]]).T
    exact = []
    for x in points.T:
        r = float(np.linalg.norm(x))
        exact.append(np.sum(1j**n * (2 * n + 1) * b * h(K * r) * eval_legendre(n, x[2] / r)))
    np.testing.assert_allclose(model.scattered_field([[0.5, 0.5]], u, points)[0], exact, atol=0.1 * np.abs(exact).max())
    total = model.total_field([[0.5, 0.5]], u, points)[0]
    np.testing.assert_allclose(total - model.scattered_field([[0.5, 0.5]], u, points)[0], np.exp(1j * K * points[2]))
    cosines = np.array([-1.0, 0.2, 1.0])
    directions = np.stack([np.sqrt(1 - cosines**2), 0 * cosines, cosines])
    pattern = [np.sum((2 * n + 1) * b * eval_legendre(n, c)) / (1j * K) for c in cosines]
    np.testing.assert_allclose(
        model.far_field([[0.5, 0.5]], u, directions)[0], pattern, atol=0.08 * np.abs(pattern).max()
    )
    inside = model.scattered_field([[0.5, 0.5]], u, np.array([[0.1, 0.0, 0.2]]).T)
    assert np.all(np.isnan(inside))


def test_the_far_field_is_the_limit_of_the_near_field() -> None:
    model = scattering()
    u = model.solve([[1.0, 0.3]])
    d = np.array([0.6, 0.0, 0.8])
    r = 2000.0
    near = model.scattered_field([[1.0, 0.3]], u, (r * d)[:, None])[0, 0] * r * np.exp(-1j * K * r)
    far = model.far_field([[1.0, 0.3]], u, d)[0, 0]
    assert abs(near - far) < 3e-3 * abs(far)


@pytest.mark.parametrize(("shape", "tolerance"), [("sphere", 1e-2), ("ellipsoid", 1e-3)])
def test_optical_theorem(shape: str, tolerance: float) -> None:
    model = scattering(complex_valued=True, shape=shape)
    mus = np.concatenate([mu(0.2, 1 - 0.5j), mu(2.0, 1.0), mu(0.0, 0.5j)])
    u = model.solve(mus)
    directions, weights = sphere_rule(12)
    scattered = np.abs(model.far_field(mus, u, directions)) ** 2 @ weights
    extinction = 4 * np.pi / K * model.outputs["forward"](mus, u).imag
    absorbed = model.outputs["absorption"](mus, u)
    np.testing.assert_allclose(scattered + absorbed, extinction, rtol=tolerance)
    reduced = rbm.project(model, np.linalg.qr(u.T)[0])
    sections = model.cross_sections(reduced.solve(mus))
    np.testing.assert_allclose(sections["scattering"][0], scattered, rtol=3 * tolerance)
    for values, bounds in sections.values():
        assert np.all(bounds >= 0)
        assert np.all(np.isfinite(values))


def test_cross_sections_are_within_their_bounds() -> None:
    model = scattering()
    result = rbm.greedy(model, model.parameters.sample(100), max_basis=8, progress=False)
    mus = model.parameters.sample(30, "random", rng=1)
    u = model.solve(mus)
    sections = model.cross_sections(result.reduced_model.solve(mus))
    exact = {
        "extinction": 4 * np.pi / K * model.outputs["forward"](mus, u).imag,
        "absorption": model.outputs["absorption"](mus, u),
    }
    exact["scattering"] = exact["extinction"] - exact["absorption"]
    for name, (value, bound) in sections.items():
        assert np.all(np.abs(value - exact[name]) <= bound), name
        assert np.max(np.abs(value - exact[name])) > 1e-9  # the claim is not empty


def test_the_affine_form_is_linear_in_the_admittances_and_parts_add_up() -> None:
    two = scattering()
    whole = acoustic_scattering("sphere", 1, K, 2, stability=0.1, cache=DATA, progress=False)
    np.testing.assert_allclose(two.operator_terms[1] + two.operator_terms[2], whole.operator_terms[1], atol=1e-14)
    np.testing.assert_allclose(two.operator_terms[0], whole.operator_terms[0], atol=1e-14)


def test_turning_the_wave_turns_the_solution() -> None:
    """A wave along -z on the mirrored parts gives the mirrored pressure: signs of normals, direction and parts."""
    up = scattering()
    down = acoustic_scattering("sphere", 2, K, 2, (0, 0, -1), stability=0.1, cache=DATA, progress=False)
    z = up.mesh.vertices * np.array([[1.0], [1.0], [-1.0]])
    mirror = np.array([int(np.argmin(np.linalg.norm(up.mesh.vertices - x[:, None], axis=0))) for x in z.T])
    # quadrature is not symmetric under reflection, to the accuracy of the matrices
    np.testing.assert_allclose(down.solve([[0.3, 1.2]])[0][mirror], up.solve([[1.2, 0.3]])[0], atol=1e-3)


def test_far_field_outputs_are_those_of_far_field() -> None:
    directions = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).T
    model = acoustic_scattering(
        "sphere", 2, K, 2, stability=0.1, cache=DATA, progress=False, far_field_directions=directions
    )
    mus = [[0.1, 0.9], [2.0, 0.0]]
    u = model.solve(mus)
    expected = model.far_field(mus, u, directions)
    for i in (1, 2):
        np.testing.assert_allclose(model.outputs[f"far_field_{i}"](np.array(mus), u), expected[:, i - 1], rtol=1e-13)


# ---- certified reduction


@pytest.mark.parametrize("complex_valued", [False, True])
def test_reduced_bases_are_certified_down_to_a_relative_bound_of_1e_10(complex_valued: bool) -> None:
    model = scattering(complex_valued)
    training = model.parameters.sample(300)
    result = rbm.greedy(model, training, tol=1e-10, relative=True, estimators=("E_onb", "E1", "E2"), progress=False)
    assert result.stopped == "tolerance"
    assert result.reduced_model.projection == "least-squares"
    mus = model.parameters.sample(100, "random", rng=1)
    truth = model.solve_extended(mus)
    theta = model.operator_coefficients(mus)
    exact = inf_sup(model, mus[:20], progress=False)
    assert np.all(model.stability(mus[:20], theta[:20]) <= exact)
    oracle = Oracle(model, result.basis)
    for n in (2, 6, 12, len(result.parameters)):
        reduced = result.reduced_model.truncate(n)
        solution = reduced.solve(mus)
        error = model.error_norm(mus, solution.coefficients, result.basis[:, :n], truth)
        assert np.all(solution.bound >= error), n
        assert np.median(solution.bound / error) < 10 or n == len(result.parameters), n  # there it is round-off
        few = slice(0, 20)
        norm = oracle.norm(theta[few], model.rhs_coefficients(mus[few]), solution.coefficients[few])
        e = reduced.estimators["orthonormal"].evaluate(
            theta[few], model.rhs_coefficients(mus[few]), solution.coefficients[few]
        )
        assert np.all(np.abs(e.value - norm) <= e.floor), n
    expanded = result.reduced_model.estimate(mus, method="E2")
    assert not expanded.resolved.any()  # the usual estimator stagnates, and says so
    assert np.median(expanded.bound) > 1e3 * np.median(result.reduced_model.solve(mus).bound)


def test_interpolated_squares_follow_on_complex_data() -> None:
    model = scattering(complex_valued=True)
    training = model.parameters.sample(400)
    basis = rbm.greedy(model, training, max_basis=5, progress=False).basis
    reduced = rbm.project(model, basis, ("E_onb", "E4"), training)
    mus = model.parameters.sample(100, "random", rng=1)
    gamma = reduced.solve(mus, estimate=False).coefficients
    state = reduced.estimators["interpolated"]
    ratio = state.evaluate(model.operator_coefficients(mus), model.rhs_coefficients(mus), gamma).value
    ratio = ratio / model.residual_norm(mus, gamma, basis)
    assert state.products_total == (1 + 3 * 5) ** 2
    assert len(state.squares) < state.products_total
    assert np.all(np.abs(ratio - 1) < 0.05)
    bound = reduced.estimate(mus, method="E4").bound
    assert np.all(bound >= model.error_norm(mus, gamma, basis))


# ---- the wavenumber as a parameter


@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_total_bound_holds_against_directly_assembled_matrices(complex_valued: bool) -> None:
    model = wavenumber_model(complex_valued)
    result = rbm.greedy(model, model.parameters.sample(200), tol=1e-9, relative=True, progress=False)
    rng = np.random.default_rng(0)
    others = model.parameters.bounds[1:]
    mus = np.column_stack([UNSEEN, rng.uniform(others[:, 0], others[:, 1], (len(UNSEEN), len(others)))])
    for n in (3, len(result.parameters)):
        reduced = result.reduced_model.truncate(n)
        solution = reduced.solve(mus)
        u = reduced.reconstruct(solution.coefficients)
        beta = model.admittances(mus)
        for i, k in enumerate(UNSEEN):
            a = affine_terms(model.mesh, bem.assemble(model.mesh, k, cache=DATA, progress=False)[0])
            b = plane_wave_load(model.mesh, k, model.direction, 1.0)
            truth = np.linalg.solve(a[0] + beta[i, 0] * a[1] + beta[i, 1] * a[2], b)
            assert solution.bound[i] >= l2(truth - u[i], model.product), (n, k)
    assert solution.estimate is not None
    assert solution.estimate.interpolation is not None
    assert np.all(solution.estimate.interpolation <= solution.estimate.floor)
    assert np.all(solution.estimate.interpolation > 0)


def test_the_interpolation_error_is_bounded_by_what_the_model_says() -> None:
    model = wavenumber_model()
    factor = np.linalg.cholesky(model.product)
    assert model.interpolation_error is not None
    for k in UNSEEN:
        point = np.array([[k, 1.3, 0.4]])
        a = affine_terms(model.mesh, bem.assemble(model.mesh, k, cache=DATA, progress=False)[0])
        error = a[0] + 1.3 * a[1] + 0.4 * a[2] - model.assemble(model.operator_coefficients(point)[0])
        whitened = np.linalg.solve(factor, np.linalg.solve(factor, error).conj().T)
        of_operator, of_rhs = model.interpolation_error(point)[0].real
        assert np.linalg.norm(whitened, 2) <= of_operator
        b = plane_wave_load(model.mesh, k, model.direction, 1.0)
        off = b - model.rhs_terms @ model.rhs_coefficients(point)[0]
        assert np.linalg.norm(np.linalg.solve(factor, off)) <= of_rhs


def test_a_model_with_interpolated_coefficients_survives_a_file(tmp_path: Path) -> None:
    model = wavenumber_model()
    result = rbm.greedy(model, model.parameters.sample(50), max_basis=5, progress=False)
    result.reduced_model.save(tmp_path / "m.rbm")
    again = rbm.load(tmp_path / "m.rbm")
    mus = model.parameters.sample(20, "random", rng=1)
    a, b = again.solve(mus), result.reduced_model.solve(mus)
    np.testing.assert_array_equal(a.bound, b.bound)
    np.testing.assert_array_equal(a.estimate.interpolation, b.estimate.interpolation)  # type: ignore[union-attr]


def test_an_interpolation_error_above_the_stability_constant_is_an_error() -> None:
    base = scattering()
    settings = {
        "operators": list(zip([1.0, "beta_1", "beta_2"], base.operator_terms, strict=True)),
        "rhs": [(1.0, base.rhs_terms[:, 0])],
        "product": base.product,
        "parameters": base.parameters,
        "stability": 0.2,
        "projection": "least-squares",
    }
    reduced = rbm.project(rbm.FullOrderModel(**settings, interpolation_error=("0.15*beta_1", 0.0)), np.eye(66)[:, :2])
    assert np.isfinite(reduced.solve([[1.0, 0.0]]).bound).all()
    with pytest.raises(
        rbm.StabilityError, match=r"interpolation error 0.3 .* at beta_1 = 2, beta_2 = 0 .* is not below"
    ):
        reduced.solve([[1.0, 0.0], [2.0, 0.0]])
    negative = rbm.project(rbm.FullOrderModel(**settings, interpolation_error=("-beta_1", 0.0)), np.eye(66)[:, :2])
    with pytest.raises(rbm.ModelError, match="must be real and >= 0"):
        negative.solve([[1.0, 0.0]])
    with pytest.raises(rbm.ModelError, match="interpolation_error must be a pair"):
        rbm.FullOrderModel(**settings, interpolation_error=1e-3)


# ---- near an interior resonance


def test_burton_miller_keeps_its_inf_sup_constant_where_the_plain_equation_loses_it() -> None:
    from helpers.scattering_models import RESONANCE

    constants, errors = {}, {}
    for formulation in ("burton-miller", "direct"):
        with pytest.warns(UserWarning, match="elements per wavelength"):
            model = acoustic_scattering(
                "sphere", 2, RESONANCE, 2, formulation=formulation, stability=1e-6, cache=DATA, progress=False
            )
        constants[formulation] = inf_sup(model, [[0.0, 0.0]], progress=False)[0]
        m = bem.mass(model.mesh)
        exact = sphere_pressure(model.mesh.vertices[2], RESONANCE, 0.0)
        errors[formulation] = l2(model.solve([[0.0, 0.0]])[0] - exact, m) / l2(exact, m)
    assert constants["burton-miller"] > 0.2
    assert constants["direct"] < 0.1 * constants["burton-miller"]
    assert errors["direct"] < 1.5 * errors["burton-miller"]  # the solution stays usable: only the certificate is lost


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wavenumber": 0.0}, "wavenumber must be a positive number or a pair"),
        ({"wavenumber": -2.0}, "wavenumber must be a positive number"),
        ({"wavenumber": (1.0, np.inf)}, "wavenumber must be a positive number"),
        ({"wavenumber": (2.0, 1.0)}, "range of wavenumbers must have low < high"),
        ({"wavenumber": "two"}, "wavenumber must be a number or a pair"),
        ({"conductance": (-0.1, 1.0)}, "conductance of part 1 starts at -0.1: Re beta must be >= 0"),
        ({"conductance": [(0, 1), (-3, 1)]}, "conductance of part 2 starts at -3"),
        ({"conductance": [(0, 1)] * 3}, r"conductance gives ranges for 3 part\(s\), the mesh has part numbers 1 to 2"),
        ({"susceptance": [(0, 1)]}, r"susceptance gives ranges for 1 part\(s\)"),
        ({"conductance": "all"}, "conductance must be a pair"),
        ({"direction": (0, 0, 0)}, "direction 0 is"),
        ({"direction": np.eye(3)}, r"direction must be one vector \(3,\)"),
        ({"direction": "zzz"}, "direction must be one vector"),
        ({"far_field_directions": "x"}, "directions must be numbers of shape"),
        ({"wavenumber": True}, "wavenumber must be a number or a pair"),
        ({"coupling": 1j}, "coupling must be a number >= 0"),
        ({"coupling": "a"}, "coupling must be a number >= 0"),
        ({"cache": 7}, "cache must be True, False or a folder, got 7"),
        ({"axes": "abc"}, "axes must be three positive numbers"),
        ({"parts": ["a"] * 128}, "parts must be finite real numbers"),
        ({"parts": "two"}, "parts"),
        ({"formulation": "galerkin"}, "formulation must be 'burton-miller' or 'direct'"),
        ({"coupling": -1.0}, "coupling must be a number >= 0"),
        ({"shape": 7}, "shape must be a name, a SurfaceMesh or a mesh file, got int"),
        ({"shape": "none.msh"}, "none.msh does not exist"),
        ({"shape": surface("sphere", 2), "axes": (1, 2, 3)}, "axes stretch ready-made shapes"),
        ({"wavenumber": (1.0, 2.0), "far_field_directions": np.eye(3)}, "outputs at a fixed wavenumber"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    settings = {"shape": "sphere", "wavenumber": K, "level": 2, "cache": DATA, "progress": False, **arguments}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        acoustic_scattering(**settings)


def test_parts_that_do_not_match_the_ranges_are_refused() -> None:
    mesh = SurfaceMesh(surface("sphere", 2).vertices, surface("sphere", 2).triangles)
    with pytest.raises(
        rbm.ModelError, match=r"conductance gives ranges for 2 part\(s\), the mesh has part numbers 1 to 1"
    ):
        acoustic_scattering(mesh, None, K, conductance=[(0, 1), (0, 1)], cache=DATA)


def test_negative_conductance_online_is_outside_the_ranges() -> None:
    model = scattering()
    reduced = rbm.project(model, model.solve([[1.0, 1.0]]).T)
    with pytest.raises(rbm.ParameterError, match=r"beta_1 = -0.2 \(row 0\) is outside \[0, 2\]"):
        reduced.solve([[-0.2, 0.0]])


def test_wrong_shapes_of_fields() -> None:
    model = scattering()
    u = model.solve([[1.0, 1.0]])
    with pytest.raises(rbm.ModelError, match=r"points must have shape \(3, P\)"):
        model.scattered_field([[1.0, 1.0]], u, np.ones((2, 5)))
    with pytest.raises(rbm.ModelError, match=r"pressures must have shape \(1, 66\), got \(1, 65\)"):
        model.far_field([[1.0, 1.0]], u[:, 1:], np.eye(3))
    with pytest.raises(rbm.ModelError, match="does not have"):
        wavenumber_model().cross_sections(None)  # type: ignore[arg-type]


def test_bounds_end_where_the_range_of_wavenumbers_ends() -> None:
    model = wavenumber_model()
    reduced = rbm.greedy(model, model.parameters.sample(40), max_basis=4, progress=False).reduced_model
    with pytest.raises(
        rbm.ParameterError, match=r"k = 1.3, .* outside the parameter ranges, where the interpolation error"
    ):
        reduced.solve([[1.3, 1.0, 1.0]], extrapolate=True)


def test_the_field_is_given_close_to_the_surface_and_not_inside() -> None:
    model = scattering()
    u = model.solve([[1.0, 1.0]])
    centroids = model.mesh.vertices[:, model.mesh.triangles].mean(axis=1)
    outside = centroids + 0.02 * model.mesh.normals
    inside = centroids - 0.02 * model.mesh.normals
    assert np.all(np.isfinite(model.scattered_field([[1.0, 1.0]], u, outside)))
    assert np.all(np.isnan(model.scattered_field([[1.0, 1.0]], u, inside)))
    with pytest.raises(rbm.ModelError, match="points hold 1 coordinates that are NaN"):
        model.total_field([[1.0, 1.0]], u, np.array([[np.nan, 0.0, 2.0]]).T)
    with pytest.raises(rbm.ModelError, match=r"points must have shape \(3, P\).*transpose them"):
        model.total_field([[1.0, 1.0]], u, np.ones((5, 3)))
    with pytest.raises(rbm.ModelError, match="pressures hold entries that are NaN"):
        model.scattered_field([[1.0, 1.0]], u * np.nan, outside)


def test_cross_sections_need_an_error_estimate() -> None:
    model = scattering()
    reduced = rbm.project(model, model.solve([[1.0, 1.0]]).T)
    with pytest.raises(rbm.ModelError, match="made with estimate=False"):
        model.cross_sections(reduced.solve([[1.0, 1.0]], estimate=False))


def test_cross_sections_are_of_solutions_of_this_model() -> None:
    model = scattering()
    solution = rbm.project(model, model.solve([[1.0, 1.0]]).T).solve([[1.0, 1.0]])
    for other in (replace(solution, names=("a", "b")), replace(solution, outputs={"mean": np.ones(1)})):
        for use in (model.cross_sections, model.energy_defect):
            with pytest.raises(rbm.ModelError, match="this solution is of another model, with parameters"):
                use(other)


def test_interpolated_squares_refuse_a_training_set_that_is_used_up() -> None:
    model = scattering(complex_valued=True)
    basis = rbm.greedy(model, model.parameters.sample(100), max_basis=5, progress=False).basis
    with pytest.raises(rbm.EstimatorUnusable, match=r"E4 with N = 5: \d+ of 60 training parameters were selected"):
        rbm.project(model, basis, ("E4",), model.parameters.sample(60))
    assert (
        "larger training set"
        in rbm.project(model, basis, ("E_onb", "E4"), model.parameters.sample(60)).refused["interpolated"]
    )


def test_a_model_by_its_own_constructor_is_whole() -> None:
    """The description holds all that the methods ask for; nothing is hung on afterwards."""
    problem = ScatteringProblem(
        surface("sphere", 1, 2), 1.5, np.array([0.0, 0.0, 2.0]), read_admittances(2, (0, 2), None)
    )
    n = problem.mesh.vertices.shape[1]
    terms = terms_at(problem, lambda ks: [[np.eye(n, dtype=complex)] * 3 for _ in ks])
    model = ScatteringModel(problem, terms, 1.0)
    assert model.wavenumber == 1.5
    assert model.direction.tolist() == [0, 0, 1]
    assert model.far_field([[1.0, 2.0]], np.ones(n), np.eye(3)).shape == (1, 3)
    with pytest.raises(FrozenInstanceError):
        problem.coupling = 0.0  # type: ignore[misc]
    with pytest.raises(ModelError, match="far_field_directions are outputs at a fixed wavenumber"):
        replace(problem, wavenumber=(1.0, 2.0), far_field_directions=np.eye(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"direction": [[1, 2], [3]]}, r"direction must be one vector \(3,\), got"),
        ({"parts": [[1, 2], [3]]}, "parts must be one number per triangle, got"),
        ({"wavenumber": (1.0, 2.0), "separation_tol": "tight"}, "separation_tol must be a number >= 0, got 'tight'"),
        ({"wavenumber": (1.0, 2.0), "separation_tol": -1.0}, "separation_tol must be a number >= 0, got -1.0"),
    ],
)
def test_what_is_no_number_is_a_model_error(arguments: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        acoustic_scattering(level=1, stability=0.1, progress=False, **arguments)
