"""The wavenumber as a parameter: boundary element matrices made affine by empirical interpolation of exp(ikr)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from eim import Separation, separate
from problems.acoustics.scattering_problem import ScatteringProblem
from problems.acoustics.surface_fields import plane_wave_load
from problems.acoustics.surfaces import SurfaceMesh
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient
from rbm.parameters.interpolated_family import InterpolatedFamily

__all__ = ["Assemble", "SeparatedWavenumber", "separate_wavenumber"]

#: Candidates for the nodes, and distances r (or positions along the wave) at which the scalar families are
#: interpolated.
CANDIDATES, GRID = 121, 121
#: Wavenumbers at which the matrices are assembled once more, to measure the interpolation error; safety factor on
#: what was measured.
VALIDATION, SAFETY = 4, 2.0
FINE = 1000

Assemble = Callable[[Sequence[float]], list[list[np.ndarray]]]
Terms = list[tuple[Coefficient, np.ndarray]]


@dataclass(frozen=True, eq=False)
class SeparatedWavenumber:
    """A scattering problem in affine form over a range of wavenumbers, with the errors of the interpolation.

    A(k, beta) ~ sum_m lambda_m(k) [k_m/k A_0(k_m) + sum_j beta_j A_j(k_m)], b(k) ~ sum_m lambda'_m(k) b(k'_m).
    """

    operators: Terms
    rhs: Terms
    error: tuple[Coefficient, Coefficient]  #: eps_A(k, beta), eps_f
    matrices: Separation
    loads: Separation
    constants: np.ndarray  #: (1 + d,) largest measured ||error of A_j|| / (error of the scalar family), from P to P'

    def __repr__(self) -> str:
        return (
            f"SeparatedWavenumber({len(self.matrices.nodes)} matrix and {len(self.loads.nodes)} load nodes, "
            f"eps_A = {self.error[0]}, eps_f = {self.error[1]:.2e})"
        )


def separate_wavenumber(
    problem: ScatteringProblem, product: np.ndarray, assemble: Assemble, rtol: float
) -> SeparatedWavenumber:
    """The affine form of the scattering problem for k in a range.

    As functions of k, the entries of k A_0 = k M/2 - k K + i coupling W and of A_j = -ik V + coupling (M/2 + K') are
    integrals of

        k (1 - ikr) e^{ikr}, e^{ikr}, k^2 e^{ikr}          (r = 0 in the first is k, for M)
        k e^{ikr}, (1 - ikr) e^{ikr}                       (r = 0 in the second is 1, for M)

    over distances r up to the diameter of the obstacle; k A_0 is interpolated because A_0 has a pole at k = 0. One
    empirical interpolation of all five, on a grid of r, gives nodes and coefficients for all matrices; b needs
    e^{iks} alone. Each of the five is divided by its own largest value, so that `rtol` is relative to each of them,
    in whatever unit lengths are given.

    Errors: ||E_j(k)||, from P to P', is at most a constant times the error of the scalar families. The constant is
    measured, at 4 wavenumbers between the nodes where the matrices are assembled once more, and doubled; the scalar
    error is taken as its largest value on 1000 wavenumbers. So eps is a measurement with a margin, not a proof; b,
    which is cheap, is compared at all of them.

    product : P (n, n), in which errors are measured; assemble : k's -> [A_0, A_1 .. A_d] each
    """
    mesh, direction, (low, high) = problem.mesh, problem.direction, problem.bounds
    betas = problem.admittances.formulas
    candidates = np.linspace(low, high, CANDIDATES)
    fine = np.linspace(low, high, FINE)
    diameter = _diameter(mesh)
    r = np.linspace(0, diameter, GRID)

    # the largest |1 - ikr| and k: what the functions are relative to
    steepest = float(np.hypot(1.0, high * diameter))

    def family(k: np.ndarray) -> np.ndarray:
        wave, relative = np.exp(1j * np.outer(r, k)), k / high
        slope = (1 - 1j * np.outer(r, k)) * wave / steepest
        return np.concatenate([relative * slope, wave, relative**2 * wave, relative * wave, slope])

    formulas = (
        f"k/{high!r}*(1 - 1j*k*{{x}})*exp(1j*k*{{x}})/{steepest!r}",
        "exp(1j*k*{x})",
        f"(k/{high!r})**2*exp(1j*k*{{x}})",
        f"k/{high!r}*exp(1j*k*{{x}})",
        f"(1 - 1j*k*{{x}})*exp(1j*k*{{x}})/{steepest!r}",
    )
    positions = direction @ mesh.vertices
    s = np.linspace(positions.min(), positions.max(), GRID)
    matrices = separate(family, candidates, rtol=rtol)
    loads = separate(lambda k: np.exp(1j * np.outer(s, k)), candidates, rtol=rtol)

    between = _between(np.sort(matrices.nodes), matrices)
    assembled = assemble([*matrices.nodes, *between])
    terms = assembled[: matrices.rank]

    factor = scipy.linalg.cholesky(product, lower=True)
    constants = _constants(matrices, between, assembled, factor)
    sizes = (SAFETY * constants * matrices.error(fine).max()).tolist()

    load_vectors = [plane_wave_load(mesh, float(k), direction, problem.coupling) for k in loads.nodes]
    exact_loads = np.stack([plane_wave_load(mesh, float(k), direction, problem.coupling) for k in fine[::5]], axis=1)
    off = exact_loads - np.stack(load_vectors, axis=1) @ loads.coefficients(fine[::5]).T
    of_load = SAFETY * float(np.linalg.norm(scipy.linalg.solve_triangular(factor, off, lower=True), axis=0).max())

    of_matrices = _family(matrices, [f.format(x=_text(x)) for f in formulas for x in r])
    of_loads = _family(loads, [f"exp(1j*k*{_text(x)})" for x in s])
    operators: Terms = []
    for m, term in enumerate(terms):
        operators.append((of_matrices.terms(f"{float(matrices.nodes[m])!r}/k")[m], term[0]))
        operators += [(of_matrices.terms(beta)[m], a) for beta, a in zip(betas, term[1:], strict=True)]
    rhs: Terms = list(zip(of_loads.terms(), load_vectors, strict=True))
    shares = [f"{size!r}*abs({beta})" for size, beta in zip(sizes[1:], betas, strict=True)]
    bound = " + ".join([f"{sizes[0]!r}/k", *shares])
    return SeparatedWavenumber(operators, rhs, (bound, of_load), matrices, loads, constants)


def _constants(
    matrices: Separation, between: list[float], assembled: list[list[np.ndarray]], factor: np.ndarray
) -> np.ndarray:
    """Largest ||error of A_j|| / (error of the scalar family) (1 + d,) at the wavenumbers of the validation.

    assembled : [A_0, A_1 .. A_d] at the nodes, then at `between`; factor : Cholesky factor of P
    """
    terms = assembled[: matrices.rank]
    constants = np.zeros(len(assembled[0]))
    for k, exact in zip(between, assembled[matrices.rank :], strict=True):
        weights = matrices.coefficients(k)[0]
        scalar = matrices.error(k)[0]
        for j in range(len(constants)):
            parts = weights * matrices.nodes / k if j == 0 else weights
            error = exact[j] - sum(w * t[j] for w, t in zip(parts, terms, strict=True))
            constants[j] = max(constants[j], _norm(error, factor) * (k if j == 0 else 1.0) / scalar)
    return constants


def _between(nodes: np.ndarray, separation: Separation) -> list[float]:
    """Wavenumbers for validation: those of largest scalar error, one per quarter of the gaps between the nodes."""
    gaps = np.array_split(np.arange(len(nodes) - 1), VALIDATION)
    chosen = []
    for gap in (g for g in gaps if len(g)):
        k = np.concatenate([np.linspace(nodes[i], nodes[i + 1], 12)[1:-1] for i in gap])
        chosen.append(float(k[np.argmax(separation.error(k))]))
    if not chosen:
        raise ModelError(
            "one node interpolates the range of wavenumbers to the tolerance: lower separation_tol, or give a single "
            "wavenumber"
        )
    return chosen


def _family(separation: Separation, formulas: list[str]) -> InterpolatedFamily:
    found = separation.interpolation
    assert found is not None
    functions = tuple(formulas[int(p)] for p in separation.points)
    return InterpolatedFamily(functions, np.tril(found.triangle), np.triu(found.expansion))


def _text(x: float) -> str:
    """A number for a formula, in parentheses if negative."""
    return f"({float(x)!r})"


def _diameter(mesh: SurfaceMesh) -> float:
    from scipy.spatial.distance import pdist

    return float(pdist(mesh.vertices.T).max())


def _norm(matrix: np.ndarray, factor: np.ndarray) -> float:
    """The spectral norm ||L^{-1} E L^{-H}||_2 of an error E, L the Cholesky factor."""
    half = scipy.linalg.solve_triangular(factor, matrix, lower=True)
    return float(np.linalg.norm(scipy.linalg.solve_triangular(factor, half.conj().T, lower=True), 2))
