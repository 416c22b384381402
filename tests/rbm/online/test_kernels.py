"""The compiled kernels against their definition in plain NumPy, and against extended precision."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numba
import numpy as np
import pytest
from conftest import make_case
from helpers.oracle import exact_combination_norm

import rbm
from rbm.estimate import RESOLVED
from rbm.online import programs, reference
from rbm.online.compiled import CompiledModel
from rbm.online.forms import SHARP, Finish, NormForm, ProductForm, SquareForm
from rbm.online.kernels import compiler, lanes, packed
from rbm.online.kernels.batch_query import query
from rbm.online.kernels.interpolated_norm import interpolated
from rbm.online.programs import OPERATIONS
from rbm.online.splitting import split_constant

DTYPES = [np.float64, np.complex128, np.float32, np.complex64]
COUNTS = [1, 2, 8, 9, 16, 17, 33]


def random(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def eps_of(dtype: type) -> float:
    return float(np.finfo(dtype).eps)


def forward_errors(
    operators: np.ndarray, rhs: np.ndarray, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray
) -> np.ndarray:
    """Relative errors of gamma against a double-precision solution, in units of the matrix's condition number (M,)."""
    matrices = np.einsum("mq,qij->mij", theta.astype(complex), operators.astype(complex))
    vectors = phi.astype(complex) @ rhs.astype(complex)
    exact = np.stack([np.linalg.lstsq(a, f, rcond=None)[0] for a, f in zip(matrices, vectors, strict=True)])
    errors = np.linalg.norm(gamma - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return errors / np.linalg.cond(matrices)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13, 30])
@pytest.mark.parametrize("kind", ["definite", "indefinite", "general"])
def test_square_systems(dtype: type, n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    qa, qf = 3, 2
    operators = random(rng, (qa, n, n), dtype)
    real = np.dtype(dtype).type(0).real.dtype
    theta = rng.uniform(0.1, 2.0, (33, qa)).astype(real)
    if kind == "definite":
        operators = operators @ operators.conj().transpose(0, 2, 1) + np.eye(n, dtype=dtype)
    elif kind == "indefinite":
        operators = operators + operators.conj().transpose(0, 2, 1)
    elif np.dtype(dtype).kind == "c":
        theta = theta * np.exp(1j * rng.uniform(0, 6, theta.shape)).astype(dtype)
    rhs, phi = random(rng, (qf, n), dtype), random(rng, (33, qf), dtype)
    made = CompiledModel(operators, rhs)
    assert made.hermitian == (kind != "general" or (n == 1 and np.dtype(dtype).kind == "f"))
    whole = made.answer(theta, phi)
    assert whole.failed is None
    assert whole.gamma.dtype == dtype
    assert forward_errors(operators, rhs, theta, phi, whole.gamma).max() <= 8 * n * eps_of(dtype)
    plain = reference.solve(operators, rhs, theta, phi)
    assert forward_errors(operators, rhs, theta, phi, plain).max() <= 8 * n * eps_of(dtype)
    for count in COUNTS:  # whoever shares the tile
        np.testing.assert_array_equal(made.answer(theta[:count], phi[:count]).gamma, whole.gamma[:count])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "steps"), [(1, 2), (3, 1), (6, 3), (11, 4), (20, 2)])
def test_tall_systems(dtype: type, n: int, steps: int) -> None:
    """Columns in the staircase of a residual range, and full ones."""
    rng = np.random.default_rng(n)
    k = 2 + steps * n
    for staircase in (True, False):
        operators, rhs = random(rng, (2, k, n), dtype), random(rng, (1, k), dtype)
        if staircase:
            for j in range(n):
                operators[:, 2 + steps * (j + 1) :, j] = 0
            rhs[:, 2:] = 0
        theta, phi = random(rng, (33, 2), dtype), random(rng, (33, 1), dtype)
        made = CompiledModel(operators, rhs)
        whole = made.answer(theta, phi)
        assert whole.failed is None
        assert forward_errors(operators, rhs, theta, phi, whole.gamma).max() <= 40 * k * eps_of(dtype)
        for count in COUNTS:
            np.testing.assert_array_equal(made.answer(theta[:count], phi[:count]).gamma, whole.gamma[:count])


def test_a_staircase_is_cheaper_than_its_box() -> None:
    operators = np.ones((1, 41, 20))
    for j in range(20):
        operators[:, 2 * j + 3 :, j] = 0
    system = packed.pack_system(operators, np.ones((1, 41)), False)
    assert system.height[:20].tolist() == [min(2 * j + 3, 41) for j in range(20)]
    assert system.entries == system.height.sum() < 41 * 21


def test_partial_pivoting_chooses_a_row_for_each_lane() -> None:
    """Without it the first lane divides by zero and the second loses everything to a pivot of 1e-17."""
    operators = np.zeros((4, 2, 2))
    operators[[0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 0, 1]] = 1.0
    theta = np.array([[0.0, 1, 1, 0], [1e-17, 1, 1, 1], [3, 1, 1, 2], [1, 5, -8, 1]] * 3)
    gamma = CompiledModel(operators, np.array([[1.0, 2.0]])).answer(theta, np.ones((12, 1))).gamma
    exact = np.stack([np.linalg.solve(t.reshape(2, 2), [1.0, 2.0]) for t in theta])
    np.testing.assert_allclose(gamma, exact, rtol=8 * eps_of(np.float64))


def test_the_pivot_is_the_largest_of_its_column() -> None:
    """Any other that is not zero would do in exact arithmetic; 1e-12 loses twelve digits."""
    matrix = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [1e-12, 3.0, 1.0]])
    gamma = CompiledModel(matrix[None], np.ones((1, 3))).answer(np.ones((9, 1)), np.ones((9, 1))).gamma
    np.testing.assert_allclose(gamma, np.tile(np.linalg.solve(matrix, np.ones(3)), (9, 1)), rtol=1e-14)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_reflections_do_not_cancel(sign: float) -> None:
    """A column that is nearly the first unit vector already: the wrong sign leaves v = 0."""
    matrix = np.array([[sign, 0.3], [1e-9, 1.0], [1e-9, 2.0], [0.0, 1.0]])
    rhs = np.array([1.0, 2.0, 3.0, 5.0])
    gamma = CompiledModel(matrix[None], rhs[None]).answer(np.ones((9, 1)), np.ones((9, 1))).gamma
    np.testing.assert_allclose(gamma, np.tile(np.linalg.lstsq(matrix, rhs)[0], (9, 1)), rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["definite", "general", "tall"])
def test_the_unit_of_the_matrix_does_not_matter(kind: str, dtype: type) -> None:
    """No pivot and no column is squared beyond the range of its type: powers of two change no bit but the scale."""
    rng = np.random.default_rng(3)
    operators, rhs = (
        random(rng, (1, 14 if kind == "tall" else 6, 6), dtype),
        random(rng, (1, 14 if kind == "tall" else 6), dtype),
    )
    if kind == "definite":
        operators = operators @ operators.conj().transpose(0, 2, 1)
    one = np.ones((9, 1), np.dtype(dtype).type(0).real.dtype)
    whole = CompiledModel(operators, rhs).answer(one, one).gamma
    largest = np.finfo(dtype).maxexp - 40
    for power in (largest, largest // 2, -largest // 2, -largest):
        unit = np.ldexp(one.dtype.type(1), power)
        gamma = CompiledModel(operators * unit, rhs * unit).answer(one, one).gamma
        np.testing.assert_allclose(gamma, whole, rtol=100 * eps_of(dtype))


def test_a_skew_block_in_small_units_is_no_rounding() -> None:
    matrix = np.array([[1.0, 0, 0], [0, 1e-15, 3e-15], [0, -3e-15, 1e-15]])
    made = CompiledModel(matrix[None], np.array([[1.0, 1e-15, 1e-15]]))
    assert not made.hermitian
    gamma = made.answer(np.ones((1, 1)), np.ones((1, 1))).gamma
    np.testing.assert_allclose(gamma[0], np.linalg.solve(matrix, [1.0, 1e-15, 1e-15]), rtol=1e-14)


@pytest.mark.parametrize("kind", ["definite", "general", "tall"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_lane_that_fails_disturbs_no_other(kind: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    n = 5
    operators = random(rng, (2, 12 if kind == "tall" else n, n), dtype)
    if kind == "definite":
        operators = operators @ operators.conj().transpose(0, 2, 1)
    rhs = random(rng, (1, operators.shape[1]), dtype)
    theta = rng.uniform(1, 2, (40, 2)).astype(np.dtype(dtype).type(0).real.dtype)
    phi = np.ones((40, 1), theta.dtype)
    made = CompiledModel(operators, rhs)
    clean = made.answer(theta, phi).gamma
    theta[3], theta[17, 1], theta[18] = np.nan, np.inf, 0
    broken = made.answer(theta, phi)
    assert broken.failed is not None
    assert np.flatnonzero(broken.failed).tolist() == [3, 17, 18]
    rest = np.setdiff1d(np.arange(40), [3, 17, 18])
    np.testing.assert_array_equal(broken.gamma[rest], clean[rest])


def factor_of(rng: np.random.Generator, shape: str, m: int, dtype: type) -> np.ndarray:
    k = {"triangular": m, "wide": max(1, m // 3), "tall": m + 5}[shape]
    factor = random(rng, (k, m), dtype)
    return np.triu(factor) if shape == "triangular" else factor


@pytest.mark.parametrize("shape", ["triangular", "wide", "tall"])
@pytest.mark.parametrize(
    "types", ["real", "complex", "complex coefficients, real factor", "real coefficients, complex factor"]
)
@pytest.mark.parametrize(("qf", "qa", "n"), [(1, 1, 0), (1, 1, 1), (2, 3, 4), (1, 2, 9), (3, 5, 7)])
def test_residual_norms_and_floors(shape: str, types: str, qf: int, qa: int, n: int) -> None:
    rng = np.random.default_rng(qa)
    of_c = np.complex128 if types.startswith("complex") else np.float64
    of_f = np.complex128 if types in ("complex", "real coefficients, complex factor") else np.float64
    m = qf + qa * n
    theta, phi, gamma = (random(rng, (33, k), of_c) for k in (qa, qf, n))
    factor, w = factor_of(rng, shape, m, of_f), rng.uniform(0, 1, m)
    made = CompiledModel(np.zeros((qa, n, n)), np.zeros((qf, n)))
    c = reference.residual_coefficients(theta, phi, gamma)
    norm = made.answer(theta, phi, NormForm(factor, w, None, 0.25, 1e-3), gamma)
    exact = np.linalg.norm(c @ factor.T, axis=1)
    np.testing.assert_allclose(norm.value, exact, rtol=4 * (m + 4) * eps_of(float))
    np.testing.assert_allclose(norm.floor, np.abs(c) @ w + 0.25 * exact + 1e-3, rtol=4 * (m + 4) * eps_of(float))
    np.testing.assert_array_equal(norm.resolved, norm.value >= 11 * norm.floor)
    gram = factor.conj().T @ factor - 0.3 * np.eye(m)  # indefinite: negative squares are not hidden
    square = made.answer(theta, phi, SquareForm(gram, w, 0.5, 1e-3), gamma)
    values = np.sum((c.conj() @ gram) * c, axis=1).real
    floor = 0.5 * np.abs(c) @ w + 1e-3
    scale = np.sum(np.abs(c) @ np.abs(gram) * np.abs(c), axis=1)
    clear = np.abs(values) > 1e-10 * scale
    expected = np.where(values > 0, np.sqrt(np.abs(values)), floor)
    np.testing.assert_allclose(square.value[clear], expected[clear], rtol=1e-4 if n else 1e-12)
    np.testing.assert_allclose(
        square.value[clear] ** 2, expected[clear] ** 2, atol=(m + 4) * eps_of(float) * scale.max(), rtol=1e-14
    )
    np.testing.assert_allclose(square.floor, floor, rtol=4 * (m + 4) * eps_of(float))
    for form, whole in ((NormForm(factor, w, None, 0.25, 1e-3), norm), (SquareForm(gram, w, 0.5, 1e-3), square)):
        for count in COUNTS[1:]:
            part = made.answer(theta[:count], phi[:count], form, gamma[:count])
            np.testing.assert_array_equal(part.value, whole.value[:count])
            np.testing.assert_array_equal(part.floor, whole.floor[:count])
        one = made.answer(theta[:1], phi[:1], form, gamma[:1])  # sums in another order
        np.testing.assert_allclose(
            one.value[clear[:1]], whole.value[:1][clear[:1]], rtol=1e-5 if isinstance(form, SquareForm) else 1e-13
        )


def test_zero_stays_zero_and_nan_stays_nan() -> None:
    made = CompiledModel(np.zeros((1, 1, 1)), np.zeros((1, 1)))
    gamma, theta, phi = np.zeros((2, 1)), np.ones((2, 1)), np.array([[0.0], [np.nan]])
    for form in (NormForm(np.eye(2), np.ones(2), None, 0.1, 1e-3), SquareForm(np.eye(2), np.ones(2), 0.1, 1e-3)):
        got = made.answer(theta, phi, form, gamma)
        assert (got.value[0], got.floor[0]) == (0, 0)
        assert np.isnan(got.value[1])


@pytest.mark.parametrize("complex_valued", [False, True])
def test_cancelling_sums_are_right_in_twice_the_precision(complex_valued: bool) -> None:
    """R c cancels to 1e-14 of its terms; plain sums are noise there, sums in parts and compensated ones are right."""
    rng = np.random.default_rng(1)
    dtype = np.complex128 if complex_valued else np.float64
    qa, n = 2, 6
    theta, phi = random(rng, (24, qa), dtype), random(rng, (24, 1), dtype)
    gamma = random(rng, (24, n), dtype)
    m = 1 + qa * n
    c = reference.residual_coefficients(theta, phi, gamma)
    # rows that nearly annihilate the coefficients of the first point
    factor = random(rng, (m, m), dtype)
    factor = factor - np.outer(factor @ c[0], c[0].conj()) / np.linalg.norm(c[0]) ** 2
    form = NormForm(factor, np.full(m, 1e-10), np.full(m, 1e-25), 1e-15, 0.0)
    made = CompiledModel(np.zeros((qa, n, n)), np.zeros((1, n)))
    exact = exact_combination_norm(factor, theta, phi, gamma)
    size = np.abs(c) @ np.linalg.norm(factor, axis=0)
    bound = 2 * eps_of(float) * exact + 8 * ((m + 4) * eps_of(float)) ** 2 * size
    in_parts = bound + split_constant(m, m, complex_valued) * size  # a point alone has compensated sums
    assert exact[0] < 1e-13 * size[0]
    for rows in (slice(None), slice(0, 1)):
        got = made.answer(theta[rows], phi[rows], form, gamma[rows])
        assert np.abs(got.value - exact[rows])[0] <= (in_parts if len(got.value) > 1 else bound)[0]
        assert got.floor[0] < 1e-20 * size[0]
        plain = made.answer(theta[rows], phi[rows], dataclasses.replace(form, refined=None), gamma[rows])
        assert np.abs(plain.value - exact[rows])[0] > in_parts[0]
    by_reference = reference.compensated_norm(factor, theta, phi, gamma)
    assert np.all(np.abs(by_reference - exact) <= bound)


@pytest.mark.parametrize("name", ["real", "complex", "two parameters"])
@pytest.mark.parametrize("method", ["orthonormal", "expanded", "interpolated", "sampled", "sketched"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_models_give_what_their_definition_gives(name: str, method: str, dtype: str) -> None:
    """The whole online stage: solution, residual norm, floor; a bound is a bound on either way."""
    case = make_case(name)
    n = {"sampled": 3, "interpolated": 4, "expanded": 6}.get(method, case.result.reduced_model.size)
    training = case.model.parameters.sample(600, "random", rng=5)
    made = rbm.project(case.model, case.result.basis[:, :n], (method,), training=training)
    try:
        reduced = made.astype(dtype)
    except rbm.EstimatorUnusable:
        pytest.skip("float32 leaves nothing of this estimator, and says so")
    state, mus = reduced.estimators[method], case.tests[:50]
    solution = reduced.solve(mus)
    theta, phi = reduced.operator_coefficients(mus), reduced.rhs_coefficients(mus)
    narrow = [
        a.astype(
            np.result_type(reduced.operators.real.dtype, np.complex64)
            if a.dtype.kind == "c"
            else reduced.operators.real.dtype
        )
        for a in (theta, phi)
    ]
    gamma = reference.solve(reduced.operators, reduced.rhs, *narrow)
    eps = float(np.finfo(dtype).eps)
    assert np.abs(gamma - solution.coefficients).max() <= 1e3 * eps * np.abs(gamma).max()
    norm = state.evaluate(theta, phi, solution.coefficients)
    beta = reduced.stability(mus, theta)
    assert solution.estimate is not None
    both = (norm.floor + solution.estimate.floor * beta) * (1 + 1e-9)
    assert np.all(np.abs(norm.value - solution.estimate.value * beta) <= both)
    if dtype == "float64" and method != "interpolated":
        # whether a point is evaluated again may hang on a last bit
        close = np.isclose(solution.estimate.floor * beta, norm.floor, rtol=1e-6, atol=0)
        assert close.mean() >= 0.9


def test_products_of_e4() -> None:
    rng = np.random.default_rng(4)
    for complex_valued in (False, True):
        dtype = np.complex128 if complex_valued else np.float64
        theta, phi, gamma = (random(rng, (20, k), dtype) for k in (2, 1, 3))
        c = reference.residual_coefficients(theta, phi, gamma)
        products = np.array([[0, 1, 2, 3, 0], [0, 4, 2, 6, 5], [0, complex_valued, 0, complex_valued, 0]])
        lower = np.tril(rng.uniform(-1, 1, (5, 5)), -1) + np.eye(5)
        upper = np.triu(rng.uniform(-1, 1, (5, 5)), 1) + 2 * np.eye(5)
        scales, squares = rng.uniform(0.5, 2, 7), rng.uniform(0, 1, 5)
        form = ProductForm(
            products, scales, lower, upper, squares, rng.uniform(0, 1, 5), rng.uniform(0, 1, 7), 0.01, 0.02
        )
        x = (c * scales)[:, products[0]] * (c * scales)[:, products[1]].conj()
        x = np.where(products[2] == 1, x.imag, x.real)
        lam = np.linalg.solve(lower @ upper, x.T)
        square = squares @ lam
        floor = np.sqrt(form.errors @ np.abs(lam)) + np.abs(c) @ form.weights + form.deviation + form.absolute
        made = CompiledModel(np.zeros((2, 3, 3)), np.zeros((1, 3))).answer(theta, phi, form, gamma)
        assert (square < 0).any()
        np.testing.assert_allclose(made.value, np.where(square > 0, np.sqrt(np.abs(square)), floor), rtol=1e-11)
        np.testing.assert_allclose(made.floor, floor, rtol=1e-12)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("left_out", [None, 0, 1, 2])
def test_finished_answers(complex_valued: bool, left_out: int | None) -> None:
    """Stability bound and outputs inside the kernel are those outside it."""
    rng = np.random.default_rng(0)
    dtype = np.complex128 if complex_valued else np.float64
    operators = random(rng, (3, 4, 4), dtype)
    operators = operators @ operators.conj().transpose(0, 2, 1)
    theta, phi = rng.uniform(1, 2, (40, 3)), random(rng, (40, 1), dtype)
    form = NormForm(random(rng, (5, 13), dtype), np.full(13, 1e-9), None, 0.0, 0.0)
    scale = np.array([1.0, 2.0, 4.0]) * (np.arange(3) != left_out)  # zero for a term that the minimum leaves out
    finish = Finish(
        np.concatenate([[0.5], scale, [0.01, 0.02, 0.03], np.where(scale > 0, 0.0, np.inf)]),
        random(rng, (2, 4), dtype),
        rng.uniform(0, 1, (2, 4)),
        np.array([2.0, 3.0]),
    )
    made = CompiledModel(operators, random(rng, (1, 4), dtype))
    plain, done = made.answer(theta, phi, form), made.answer(theta, phi, form, finish=finish)
    beta = 0.5 * (theta * scale)[:, scale > 0].min(axis=1) - theta @ [0.01, 0.02, 0.03]
    given = made.answer(theta, phi, form, finish=dataclasses.replace(finish, stability=np.zeros(0)), beta=beta)
    for other in (done, given):
        np.testing.assert_array_equal(other.gamma, plain.gamma)
        np.testing.assert_allclose(other.value, plain.value / beta, rtol=4e-16)
        np.testing.assert_allclose(other.floor, plain.floor / beta, rtol=4e-16)
        np.testing.assert_allclose(other.outputs, plain.gamma @ finish.functionals.T, rtol=1e-13)
        bounds = np.outer(other.value + other.floor, finish.norms) + np.abs(plain.gamma) @ finish.magnitudes.T
        np.testing.assert_allclose(other.output_bounds, bounds, rtol=1e-14)
    theta[7, 1 - (left_out == 1)], theta[9, 2] = -0.1, np.nan
    broken = made.answer(theta, phi, form, finish=finish)
    assert broken.failed is not None
    assert broken.failed[9] > 0
    assert broken.failed[7] == 3


def test_lanes_calculate_as_numpy() -> None:
    @numba.njit
    def run(a, b, out):  # type: ignore[no-untyped-def]
        x, y = lanes.load(a, 0), lanes.load(b, 0)
        lanes.store(out, 0, x + y)
        lanes.store(out, 1, x - y)
        lanes.store(out, 2, x * y)
        lanes.store(out, 3, lanes.fma(x, y, x))
        lanes.store(out, 4, lanes.fnma(x, y, x))
        lanes.store(out, 5, lanes.conj(x) / lanes.square(x))
        lanes.store(out, 6, lanes.alike(lanes.modulus(x), x))
        lanes.store(out, 7, lanes.alike(lanes.root(lanes.square(y)), x))
        lanes.store(out, 8, lanes.real(x) * y)
        lanes.store(out, 9, lanes.alike(lanes.copysign(lanes.real(x), lanes.real(y)), x))
        lanes.store(out, 10, lanes.larger(lanes.real(x), lanes.real(y), x, y))
        lanes.store(out, 11, lanes.fma(lanes.imag(x), y, x))

    rng = np.random.default_rng(0)
    for dtype in DTYPES:
        width = lanes.BYTES // np.dtype(dtype).type(0).real.dtype.itemsize

        def flat(values: np.ndarray, dtype: type = dtype) -> np.ndarray:
            parts = [values.real, values.imag] if np.dtype(dtype).kind == "c" else [values]
            return np.stack(parts, axis=-2).ravel().view(dtype)

        x, y = random(rng, (width,), dtype), random(rng, (width,), dtype)
        out = np.zeros(12 * width, dtype)
        run(flat(x), flat(y), out)
        real = np.dtype(dtype).type(0).real.dtype
        got = out.view(real).reshape(12, -1, width)
        got = got[:, 0] + 1j * got[:, 1] if np.dtype(dtype).kind == "c" else got[:, 0]
        expected = [
            x + y,
            x - y,
            x * y,
            x * y + x,
            x - x * y,
            1 / x,
            np.abs(x),
            np.abs(y),
            x.real * y,
            np.copysign(x.real, y.real),
            np.where(x.real > y.real, x, y),
            x.imag * y + x,
        ]
        np.testing.assert_allclose(
            got, np.stack(expected), rtol=0, atol=40 * eps_of(dtype) * np.abs(np.stack(expected)).max()
        )


def test_the_cache_on_disk_follows_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba would go on with old code if a file, or a constant, changed that a kernel is made of."""
    digests = [compiler.source_digest()]
    for kernel in (query, interpolated):
        assert kernel._cache.source == digests[0]
    for name, value in (("RESOLVED", RESOLVED + 1), ("SHARP", SHARP + 1), ("OPERATIONS", OPERATIONS[::-1])):
        with monkeypatch.context() as patch:
            patch.setattr(compiler, name, value)
            digests.append(compiler.source_digest())
    folder = Path(compiler.__file__).parent
    for path in sorted(folder.glob("*.py")):
        read = Path.read_bytes
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda self, path=path, read=read: read(self) + b" " * (self == path))
            digests.append(compiler.source_digest())
    assert len(set(digests)) == len(digests) > 10


def test_what_is_compiled_takes_only_constants_from_elsewhere() -> None:
    """The digest sees the folder, the two constants by their values, and the operations of programs in their order."""
    folder, taken = Path(compiler.__file__).parent, set()
    for path in folder.glob("*.py"):
        for module, names in re.findall(r"^from (rbm[\w.]*|lowrank[\w.]*) import ([\w, ]+)", path.read_text(), re.M):
            if not module.startswith("rbm.online.kernels") and path.stem not in ("compiler", "kernel_cache", "packed"):
                taken |= {name.strip() for name in names.split(",")}
    assert taken == {"RESOLVED", "SHARP", "Program", "programs"}
    assert [getattr(programs, name.upper()) for name in OPERATIONS] == list(range(len(OPERATIONS)))
