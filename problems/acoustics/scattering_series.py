"""Closed-form solutions for the unit sphere, against which the boundary elements are checked."""

from __future__ import annotations

import numpy as np
from scipy.special import eval_legendre, spherical_jn, spherical_yn

__all__ = ["sphere_pressure", "two_part_sphere_pressure"]


def sphere_pressure(cosine: np.ndarray, wavenumber: float, admittance: complex, terms: int | None = None) -> np.ndarray:
    """The total pressure (M,) on the unit sphere of uniform admittance beta.

    The wave is exp(ik d.x), and the points are given by cos(angle to d) (M,).

    u = sum_n i^n (2n+1) [j_n(k) + b_n h_n(k)] P_n(cos), b_n = -(j_n' + i beta j_n) / (h_n' + i beta h_n), time factor
    exp(-iwt). By the Wronskian j h' - j' h = i / k^2 the bracket is i / (k^2 (h_n' + i beta h_n)), which does not
    cancel.
    """
    count = terms or int(wavenumber + 4.05 * wavenumber ** (1 / 3) + 30)
    n = np.arange(count)
    h = spherical_jn(n, wavenumber) + 1j * spherical_yn(n, wavenumber)
    dh = spherical_jn(n, wavenumber, derivative=True) + 1j * spherical_yn(n, wavenumber, derivative=True)
    amplitude = 1j ** (n % 4) * (2 * n + 1) * 1j / (wavenumber**2 * (dh + 1j * admittance * h))
    finite = np.isfinite(amplitude)
    return np.asarray(_legendre(n, cosine)[:, finite] @ amplitude[finite])


def two_part_sphere_pressure(
    cosine: np.ndarray, wavenumber: float, front: complex, back: complex, terms: int = 400
) -> np.ndarray:
    """The total pressure (M,) on the unit sphere with two admittances, the wave along the axis.

    The admittance is `front` where cos > 0 and `back` where cos < 0.

    u_s = sum_n a_n h_n(kr) P_n with a from the Galerkin system (Legendre) of du/dn + i k beta u = 0, whose parts are
    coupled by int_0^1 P_m P_n, exact by Gauss-Legendre. The jump of beta makes the series converge slowly: its
    truncation is about 1e-4 of the solution with 400 terms (against 1200), 1e-3 with 80.
    """
    n = np.arange(terms)
    x, w = np.polynomial.legendre.leggauss(terms + 2)
    x, w = (x + 1) / 2, w / 2
    p = _legendre(n, x)
    half = p.T @ (w[:, None] * p)  # int_0^1
    coupling = front * half + back * (-1.0) ** (n[:, None] + n) * half
    # u = sum_n (incident_n j_n + x_n) P_n on the surface, x_n = a_n h_n: its unknowns do not overflow
    j, dj = spherical_jn(n, wavenumber), spherical_jn(n, wavenumber, derivative=True)
    incident = 1j ** (n % 4) * (2 * n + 1)
    norm = 2 / (2 * n + 1)
    known = -(norm * incident * dj + 1j * coupling @ (incident * j))
    scattered = np.linalg.solve(np.diag(norm * _hankel_slope(terms, wavenumber)) + 1j * coupling, known)
    return np.asarray(_legendre(n, cosine) @ (incident * j + scattered))


def _hankel_slope(terms: int, k: float) -> np.ndarray:
    """The ratios h_n'(k) / h_n(k), n < terms, by the recurrence of h_{n-1} / h_n, which is stable upwards."""
    ratio = 1j * np.ones(1)  # h_{-1} / h_0
    for n in range(terms - 1):
        ratio = np.append(ratio, 1 / ((2 * n + 1) / k - ratio[-1]))
    return ratio - (np.arange(terms) + 1) / k


def _legendre(n: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Legendre polynomials P_n(x) (M, N)."""
    return eval_legendre(n, np.asarray(x)[:, None])
