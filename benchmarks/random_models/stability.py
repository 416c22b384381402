"""Families that aim at the stability constant, and at what an interpolated model adds to the bound."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

import rbm
from benchmarks.random_models.bases import RANGE, coercive, family, general
from benchmarks.random_models.case import Case
from benchmarks.random_models.kit import Kit, draw_units


@family
def reference_product(rng: np.random.Generator) -> Case:
    """P = A(mu_ref) as doubles: the constant there is 1 but for the rounding of that sum, which cond(P) magnifies."""
    kit = Kit.draw(rng, sizes=(2, 5), decades=13, exponent=int(rng.choice([0, 30])))
    case = coercive(kit, equal=True)
    case.basis = kit.vectors(1)
    return case


@family
def coercivity(rng: np.random.Generator) -> Case:
    """Min-theta with a computed constant, an error in the direction where it is attained, cond(P) up to 1e14."""
    kit = Kit.draw(rng, sizes=(3, 7), exponent=int(rng.choice([0, 20])))
    kit = Kit(rng, kit.n, kit.complex_valued, kit.units, 10 ** rng.uniform(6, 14))
    v = kit.unitary(kit.n)
    a = kit.inner((v * np.array([1.0] + [3.0] * (kit.n - 1))) @ v.conj().T)
    z = np.linalg.solve(kit.half.conj().T, v) / kit.units[:, None]
    return Case(
        [("mu", a)],
        [(1.0, a @ z[:, 0])],
        kit.product,
        RANGE,
        z[:, 1:2],
        rbm.stability.MinTheta([1.0]),
        {"l": kit.functional()},
        mus=np.array([[1.0]]),
    )


@family
def nearly_semidefinite(rng: np.random.Generator) -> Case:
    """A term that is semi-definite but for its last bits, or for an unknown in a small unit; large coefficients."""
    n = int(rng.integers(2, 6))
    hidden, unit = 10.0 ** rng.uniform(-17, 0), 2.0 ** int(rng.choice([0, 0, 20, 40]))
    p, a = np.eye(n), np.eye(n) * rng.uniform(0.1, 1.0, n)
    a[1, 1] = -hidden
    p[0, 0], a[0, 0] = unit**2, unit**2
    top = 0.9 / hidden
    f = rng.standard_normal(n)
    basis = np.eye(n)[:, :1]
    if rng.uniform() < 0.5:  # the same in other coordinates; rounding then hides more than is there
        q = np.linalg.qr(rng.standard_normal((n - 1, n - 1)))[0]
        for m in (a, p):
            m[1:, 1:] = q @ m[1:, 1:] @ q.T
            m[1:, 1:] = (m[1:, 1:] + m[1:, 1:].T) / 2
        f[1:] = q @ f[1:]
    return Case(
        [(1.0, p), ("mu", sp.csr_array(a) if rng.uniform() < 0.5 else a)],
        [(1.0, f)],
        p,
        {"mu": (top / 100, top)},
        basis,
        rbm.stability.MinTheta([top / 10]),
        {"l": rng.standard_normal(n)},
    )


@family
def hidden_skew_part(rng: np.random.Generator) -> Case:
    """Min-theta with a term that is not Hermitian, beside a unit that hides it.

    Its skew part may be harmless or not.
    """
    n, unit = int(rng.integers(3, 6)), 2.0 ** float(rng.choice([0, 10, 21, 22, 23, 40]))
    s = np.ones(n)
    s[0] = unit
    p, a = np.diag(s**2), np.diag(s**2 * rng.uniform(0.5, 1.0, n))
    a[1, 2] = float(rng.choice([-1, 1])) * rng.uniform(0.5, 2.5) * np.sqrt(a[1, 1] * a[2, 2])
    if rng.uniform() < 0.3:
        a[2, 1] = -a[1, 2]
    elif rng.uniform() < 0.5:
        a = a.T.copy()
    f = np.concatenate([[0.0], rng.standard_normal(n - 1)])
    top = float(rng.choice([2.4, 50.0]))
    hold = sp.csr_array if rng.uniform() < 0.7 else np.asarray
    return Case(
        [(1.0, hold(p)), ("mu", hold(a))],
        [(1.0, f)],
        hold(p),
        {"mu": (0.1, top)},
        np.eye(n)[:, :1],
        rbm.stability.MinTheta([1.0]),
        {"l": rng.standard_normal(n)},
    )


@family
def signs(rng: np.random.Generator) -> Case:
    """Coefficients that vanish or change their sign in the range.

    Min-theta must refuse those points, the true constant need not.
    """
    kit = Kit.draw(rng, complex_share=0.0, exponent=int(rng.choice([0, 20])))
    case = coercive(kit)
    terms = [a for _, a in case.operators]
    case.operators = list(zip(["1 + mu**2", "mu - 0.75", "2*mu - 3"], terms, strict=False))
    if rng.uniform() < 0.5:
        case.stability = None
    else:
        case.stability = rbm.stability.MinTheta([1.7])
    case.mus = np.array([[0.75], [1.5]])
    return case


@family
def anchored(rng: np.random.Generator) -> Case:
    """A bound by perturbation from anchors, terms of all kinds, products up to 1e10."""
    kit = Kit.draw(rng, sizes=(2, 5), decades=float(rng.choice([6.0, 6.0, 10.0])), exponent=int(rng.choice([0, 40])))
    case = general(kit, 0.2)
    case.stability = rbm.stability.Anchored(training(rng), ratio=float(rng.uniform(0.3, 0.9)), progress=False)
    case.kind = kit.condition <= 1e6
    return case


def training(rng: np.random.Generator) -> np.ndarray:
    """Training points of the anchors; the ends of the range are among them."""
    return np.concatenate([[[0.5], [2.0]], rng.uniform(0.5, 2.0, (30, 1))])


@family
def interpolated(rng: np.random.Generator) -> Case:
    """A model that stands for another one, with as large an interpolation error as it says."""
    n = int(rng.integers(2, 9))
    kit = Kit(rng, n, rng.uniform() < 0.3, draw_units(rng, n, int(rng.choice([0, 0, 30]))), 10 ** rng.uniform(0, 13))
    share, p, z = rng.uniform(0.01, 0.6), kit.product, kit.vectors(1)
    sign = float(rng.choice([-1.0, -1.0, 1.0]))
    case = Case(
        [("mu", p)],
        [(1.0, p @ z[:, 0])],
        p,
        RANGE,
        kit.vectors(2 if n > 2 else 1) if rng.uniform() < 0.3 else None,
        "mu",
        {"l": kit.functional(), "q": kit.given(p)},
        snapshots=np.array([[1.0]]),
        interpolation_error=(f"{share!r}*mu", 0.0),
        left_out=([(f"{sign * share!r}*mu", p)], []),
    )
    if rng.uniform() < 0.3:  # no entry of e_1 is off by more than P_11^{1/2} in the dual norm: P P^{-1} P = P
        size = float(rng.uniform(0.01, 1.0))
        case.left_out[1].append((size, p[:, 0]))
        case.interpolation_error = (f"{share!r}*mu", size * float(np.sqrt(p[0, 0].real)) * (1 + 1e-12))
    return case


@family
def nearly_orthonormal(rng: np.random.Generator) -> Case:
    """A basis that is orthonormal to about 1e-10, and is kept as it is.

    Bounds must not take ||Z gamma||_P for ||gamma||.
    """
    n = int(rng.integers(3, 9))
    kit = Kit(rng, n, rng.uniform() < 0.3, draw_units(rng, n, int(rng.choice([0, 30]))), 10 ** rng.uniform(0, 8))
    size = int(rng.integers(1, 3))
    q = kit.unitary(n)[:, :size] @ (np.eye(size) + 10.0 ** rng.uniform(-11, -9) * kit.normal(size, size))
    z = np.linalg.solve(kit.half.conj().T, q) / kit.units[:, None]
    share, p = rng.uniform(0.01, 0.9), kit.product
    return Case(
        [("mu", p)],
        [(1.0, p @ z[:, k]) for k in range(size)],
        p,
        RANGE,
        z,
        "mu",
        {"q": p, "other": kit.indefinite()},
        interpolation_error=(f"{share!r}*mu", 0.0),
        left_out=([(f"{-share!r}*mu", p)], []),
    )
