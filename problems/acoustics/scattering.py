"""Acoustic scattering by an obstacle with admittances on the parts of its surface, as a full-order model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from problems.acoustics import boundary_elements as bem
from problems.acoustics.energy import EnergyBalance, radiated_power, warn_of_defect
from problems.acoustics.mesh_files import read_surface
from problems.acoustics.scattering_problem import Formulation, Range, ScatteringProblem, read_admittances, read_coupling
from problems.acoustics.scattering_terms import ScatteringTerms, affine_terms, assembled, terms_at, terms_over_range
from problems.acoustics.shapes import Parts, cut, surface
from problems.acoustics.surface_fields import check_points, far_field, scattered_field
from problems.acoustics.surfaces import SurfaceMesh
from problems.user_input import as_array
from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.reduced.model import Solution
from rbm.stability.bound import Anchored

__all__ = ["ScatteringModel", "acoustic_scattering", "affine_terms"]


class ScatteringModel(FullOrderModel):
    """The model that :func:`acoustic_scattering` makes: unknowns are the total pressures at `mesh.vertices`.

    problem : the obstacle, the wave and the ranges of the parameters
    terms : the equation in affine form, of :func:`problems.acoustics.scattering_terms.terms_at` or `terms_over_range`
    stability : anything :class:`rbm.FullOrderModel` takes
    """

    def __init__(self, problem: ScatteringProblem, terms: ScatteringTerms, stability: Any) -> None:
        self.problem = problem
        super().__init__(
            operators=terms.operators,
            rhs=terms.rhs,
            product=terms.product,
            parameters=problem.parameters,
            stability=stability,
            outputs=terms.outputs,
            projection="least-squares",
            interpolation_error=terms.error,
        )

    @property
    def mesh(self) -> SurfaceMesh:
        """The surface of the obstacle."""
        return self.problem.mesh

    @property
    def wavenumber(self) -> float | Range:
        """The wavenumber k, or its range (low, high)."""
        return self.problem.wavenumber

    @property
    def direction(self) -> np.ndarray:
        """Unit vector (3,), where the incident wave goes."""
        return self.problem.direction

    def wavenumbers(self, mus: Any) -> np.ndarray:
        """The wavenumbers k (M,) at parameter points."""
        mus = self.parameters.validate(mus, extrapolate=True)
        return mus[:, 0] if self.problem.varies else np.full(len(mus), self.wavenumber)

    def admittances(self, mus: Any) -> np.ndarray:
        """The admittances beta (M, d) of the parts at parameter points, complex."""
        mus = self.parameters.validate(mus, extrapolate=True)
        betas = mus[:, 1:] if self.problem.varies else mus
        return betas.astype(complex) if betas.shape[1] == self.mesh.n_parts else betas[:, 0::2] + 1j * betas[:, 1::2]

    def far_field(self, mus: Any, pressures: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """The far field f (M, D) of surface pressures (M, n) in directions (3, D): u_s ~ exp(ikr) / r f."""
        return self._each_wavenumber(far_field, mus, pressures, directions)

    def scattered_field(self, mus: Any, pressures: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The field u - u_inc (M, P) of surface pressures (M, n) at points (3, P), NaN inside the obstacle."""
        return self._each_wavenumber(scattered_field, mus, pressures, points)

    def total_field(self, mus: Any, pressures: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The total field u (M, P) of surface pressures (M, n) at points (3, P), NaN inside the obstacle."""
        phase = np.outer(self.wavenumbers(mus), self.direction @ check_points(points))
        return self.scattered_field(mus, pressures, points) + np.exp(1j * phase)

    def scattering_cross_section(self, mus: Any, pressures: np.ndarray) -> np.ndarray:
        """The scattering cross-section int |f|^2 (M,) of surface pressures (M, n), integrated over all directions.

        It is never negative. Take it where waves are long: there Im f(d), by which :meth:`cross_sections` goes, is the
        small difference of large numbers and all error of the mesh.
        """
        return self._each_wavenumber(radiated_power, mus, pressures).real[:, 0]

    @cached_property
    def energy_balance(self) -> EnergyBalance:
        """The extinction, absorption and scattering at three parameter points, each computed by itself.

        The points are both ends of all ranges and the middle.

        Measured once, at the first use: three full-order solves.
        """
        low, high = np.asarray(self.parameters.bounds, dtype=float).T
        mus = np.stack([low, (low + high) / 2, high])
        u, scale = self.solve(mus), 4 * np.pi / self.wavenumbers(mus)
        forward = self.far_field(mus, u, self.direction[:, None])[:, 0]
        absorption = np.real(self.outputs["absorption"](mus, u))
        scattering = self.scattering_cross_section(mus, u)
        return EnergyBalance(mus, scale * forward.imag, absorption, scattering, scale * np.abs(forward))

    def energy_defect(self, solution: Solution) -> np.ndarray:
        """About |extinction - absorption - scattering| (M,) of a reduced solution, which no reduced basis bound covers.

        It is zero for the exact solution. Estimate: the relative defect of :attr:`energy_balance` times (4 pi / k)
        |f(d)|. Raises ModelError where the wavenumber is a parameter.
        """
        k = self._fixed_wavenumber("the defect is estimated from", "energy_balance has it at three parameter points")
        self._check(solution)
        return self.energy_balance.share * 4 * np.pi / k * np.abs(solution.outputs["forward"])

    def cross_sections(self, solution: Solution) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Extinction, absorption and scattering cross-sections of a reduced solution, with error bounds.

        Returns {"extinction" | "absorption" | "scattering": (values (M,), error bounds (M,))}. Extinction is
        (4 pi / k) Im f(d) by the optical theorem, absorption int Re(beta) |u|^2, scattering their difference. The
        bounds are about the discrete solution. The theorem itself holds for it only up to the error of the mesh,
        which is measured once per model (:attr:`energy_balance`), estimated for each point (:meth:`energy_defect`),
        and warned of above 1 % of the extinction; :meth:`scattering_cross_section` does without the theorem.

        Raises ModelError where the wavenumber is a parameter: the far field is no output there (use :meth:`far_field`).
        """
        k = self._fixed_wavenumber(
            "cross-sections come from",
            "use far_field(mus, pressures, directions) and scattering_cross_section(mus, pressures) of reconstructed "
            "pressures",
        )
        self._check(solution)
        if solution.estimate is None:
            raise ModelError("this solution was made with estimate=False; call solve(mus) again without it")
        scale = 4 * np.pi / k
        extinction, absorption = scale * solution.outputs["forward"].imag, solution.outputs["absorption"].real
        of_extinction = scale * solution.output_bounds["forward"]
        of_absorption = solution.output_bounds["absorption"]
        host = solution.to("numpy")
        on_host, defect = scale * host.outputs["forward"].imag, self.energy_defect(host)
        warn_of_defect(self.energy_balance, defect, on_host, self.parameters.describe)
        return {
            "extinction": (extinction, of_extinction),
            "absorption": (absorption, of_absorption),
            "scattering": (extinction - absorption, of_extinction + of_absorption),
        }

    def _fixed_wavenumber(self, why: str, instead: str) -> float:
        """The wavenumber of a model with the output "forward"; ModelError where the wavenumber is a parameter."""
        if self.problem.varies:
            raise ModelError(
                f"{why} the output 'forward', which a model with the wavenumber as a parameter does not have; {instead}"
            )
        return self.problem.middle

    def _check(self, solution: Solution) -> None:
        """Raise ModelError for answers about other parameters or without the outputs of this model."""
        missing = [name for name in ("forward", "absorption") if name not in solution.outputs]
        if missing or (solution.names and solution.names != self.parameters.names):
            raise ModelError(
                f"this solution is of another model, with parameters {', '.join(solution.names)} and outputs "
                f"{', '.join(solution.outputs) or 'none'}; this one has {', '.join(self.parameters.names)}, and needs "
                "the outputs forward and absorption: use solutions of its reduced models"
            )

    def _each_wavenumber(self, function: Any, mus: Any, pressures: np.ndarray, *where: np.ndarray) -> np.ndarray:
        ks, betas = self.wavenumbers(mus), self.admittances(mus)
        pressures = np.atleast_2d(as_array(f"pressures must be numbers (M, {self.dimension})", pressures, dtype=None))
        if pressures.shape != (len(ks), self.dimension):
            raise ModelError(f"pressures must have shape ({len(ks)}, {self.dimension}), got {pressures.shape}")
        result: np.ndarray | None = None
        for k in np.unique(ks):
            rows = ks == k
            values = function(self.mesh, float(k), *where, pressures[rows], betas[rows])
            if result is None:
                result = np.empty((len(ks), values.shape[1]), dtype=complex)
            result[rows] = values
        assert result is not None
        return result


def acoustic_scattering(
    shape: str | SurfaceMesh | os.PathLike[str] = "sphere",
    parts: Parts | None = None,
    wavenumber: float | Range = 2.0,
    level: int = 3,
    direction: Sequence[float] = (0.0, 0.0, 1.0),
    *,
    conductance: Range | Sequence[Range] = (0.0, 2.0),
    susceptance: Range | Sequence[Range] | None = None,
    far_field_directions: np.ndarray | None = None,
    axes: tuple[float, float, float] | None = None,
    formulation: Formulation = "burton-miller",
    coupling: float = 1.0,
    stability: Any = None,
    separation_tol: float = 1e-10,
    quadrature: int = 4,
    cache: bem.Cache = True,
    progress: bool = False,
) -> ScatteringModel:
    """A plane wave exp(ik d.x) scattered by an obstacle with admittances beta_j on the parts of its surface.

    Time factor exp(-iwt), n the unit normal out of the obstacle, beta = rho c / Z:

        Lap u + k^2 u = 0 outside,  du/dn + i k beta u = 0 on the surface,  u - exp(ik d.x) radiating;

    beta = 0 is rigid, beta = 1 matched at normal incidence, a surface is passive if Re beta >= 0. Burton-Miller
    equation with eta = i coupling / k, G = exp(ikr) / (4 pi r), continuous piecewise linear Galerkin:

        A(beta) = A_0 + sum_j beta_j A_j,   A_0 = M/2 - K + eta W,   A_j = [-ik V + coupling (M/2 + K')] on part j,
        b_i = int phi_i (u_inc + eta du_inc/dn),

    uniquely solvable for all k > 0. Unknowns: the total pressures at `mesh.vertices` (3, n), in that order. P: the
    H^{1/2} inner product. Projection: least squares. Stability: :class:`rbm.stability.Anchored`.

    Parameters
    ----------
    shape : "sphere", "ellipsoid", "peanut" (:func:`problems.acoustics.shapes.surface`), a SurfaceMesh, or a mesh file
    parts : 2 for ready-made shapes, what the mesh says for others; see :func:`problems.acoustics.shapes.surface`
    wavenumber : k, or (low, high): then k is the first parameter, and A(k) is interpolated (below)
    level : refinement; 2, 3, 4 give 66, 258, 1026 unknowns
    direction : d, where the incident wave goes; normalised
    conductance : range of Re beta, or one range per part, from 0 up: parameters beta_1..beta_d
    susceptance : range of Im beta, or one per part: then the parameters are beta_1_re, beta_1_im, beta_2_re, ...
    far_field_directions : (3, D): outputs far_field_1..far_field_D; beside "forward", f(d), and "absorption", int
        Re(beta) |u|^2
    axes : half axes of the shape
    formulation, coupling : "direct" takes the plain equation (coupling 0 whatever is given), which loses its inf-sup
        constant near interior resonances
    stability : anything :class:`rbm.FullOrderModel` takes, in place of Anchored
    separation_tol : `rtol` of :func:`eim.separate`, for the interpolation in k; raise it for a smaller model
    quadrature, cache, progress : of :func:`problems.acoustics.boundary_elements.assemble`

    With a range of wavenumbers, A(k) ~ sum_m lambda_m(k) A(k_m), lambda from the empirical interpolation of exp(ikr)
    and its companions (:func:`problems.acoustics.wavenumber.separate_wavenumber`); its error, *measured* between the
    nodes and doubled, is part of every bound, and outside the range no bound is given. P is the one of the geometric
    mean of the range; the outputs are "absorption" only.

    Raises ModelError for bad input (a surface that is open or oriented inwards, parts and ranges that do not match,
    Re beta < 0, k <= 0, ...), ImportError without bempp-cl unless the matrices are cached; warns below six elements
    per wavelength. Cost: about 47 s compilation in the first process, 13 s for 1026 unknowns; read from the cache 0.1
    s. Memory (3 + 2 d) n^2 complex.

    Source of the test case: Casenave, Ern, Lelievre, arXiv 1212.0970; formulation: Burton and Miller, Proc. R. Soc. A
    323 (1971).
    """
    mesh = _mesh(shape, parts, level, axes)
    betas, coupling = read_admittances(mesh.n_parts, conductance, susceptance), read_coupling(formulation, coupling)
    problem = ScatteringProblem(mesh, wavenumber, direction, betas, coupling, far_field_directions)  # type: ignore[arg-type]
    assemble = partial(assembled, problem, quadrature=quadrature, cache=cache, progress=progress)
    terms = terms_over_range(problem, assemble, separation_tol) if problem.varies else terms_at(problem, assemble)
    if stability is None:
        stability = Anchored(training=problem.parameters.sample(1000), progress=progress, cache=bem.folder(cache))
    return ScatteringModel(problem, terms, stability)


def _mesh(
    shape: str | SurfaceMesh | os.PathLike[str],
    parts: Parts | None,
    level: int,
    axes: tuple[float, float, float] | None,
) -> SurfaceMesh:
    if isinstance(shape, SurfaceMesh):
        mesh = shape
    elif isinstance(shape, os.PathLike) or (isinstance(shape, str) and ("." in shape or os.sep in shape)):
        mesh = read_surface(shape)
    elif isinstance(shape, str):
        return surface(shape, level, 2 if parts is None else parts, axes)
    else:
        raise ModelError(f"shape must be a name, a SurfaceMesh or a mesh file, got {type(shape).__name__}")
    if axes is not None:
        raise ModelError("axes stretch ready-made shapes; scale the vertices of your own mesh instead")
    return mesh if parts is None else cut(mesh, parts)
