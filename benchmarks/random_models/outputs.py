"""Families that aim at the bounds of outputs."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

import rbm
from benchmarks.random_models.bases import RANGE, coercive, family, general, rhs_of
from benchmarks.random_models.case import Case
from benchmarks.random_models.kit import Kit


@family
def cancelling_outputs(rng: np.random.Generator) -> Case:
    """Linear outputs that are small differences, cond(P) 1e9 to 1e14."""
    kit = Kit(rng, 6, rng.uniform() < 0.2, condition=10 ** rng.uniform(9, 14))
    a, d = kit.functional(), kit.functional()
    g = kit.normal(kit.n, kit.n)
    return Case(
        [(1.0, kit.product), ("mu", kit.inner(g @ g.conj().T / kit.n))],
        rhs_of(kit),
        kit.product,
        RANGE,
        kit.vectors(2),
        None,
        {f"1e-{k}": [(1.0, a), (-1.0, a + 10.0**-k * d)] for k in (4, 5, 6, 7)},
    )


@family
def linear_outputs(rng: np.random.Generator) -> Case:
    """Functionals that nearly cancel, of 1e-300 to 1e150.

    With zeros, complex, with coefficients that undo their size.
    """
    kit = Kit.draw(rng, decades=13, exponent=int(rng.choice([0, 0, 30])))
    case = general(kit, 0.2)
    a, d = kit.functional(), kit.functional()
    eps = 10.0 ** rng.uniform(-14, -3)
    power = int(rng.choice([-300, -200, -165, -150, 150, 160, 250]))
    tiny = kit.functional() * 10.0**power
    zeros = kit.functional()
    zeros[: kit.n - 1] = 0
    case.outputs = {
        "cancelling": [(1.0, a), (-1.0, a + eps * d)],
        "varying": [("mu", a), ("-mu*(1 + 1e-9*mu)", a + eps * d), ("1j*mu", eps * d)],
        "scaled": tiny,
        "undone": [(f"mu*1e{-power}", tiny), (kit.phase(), kit.functional())],
        "zero": 0 * a,
        "few": zeros,
        "twice": [(1.0, a), (1.0, a)],
    }
    return case


@family
def quadratic_outputs(rng: np.random.Generator) -> Case:
    """Energies in mixed units, indefinite and cancelling forms.

    Also forms of 1e-150 to 1e150, and forms that hide a part that is not Hermitian.
    """
    kit = Kit.draw(rng, sizes=(3, 5), decades=10, exponent=int(rng.choice([0, 30, 44])))
    case = coercive(kit) if rng.uniform() < 0.6 else general(kit, 0.2)
    q, eps = kit.indefinite(), 10.0 ** rng.uniform(-12, -2)
    power = int(rng.choice([-300, -150, 150, 250]))
    case.outputs = {
        "energy": kit.given(kit.product),
        "mass": np.diag(kit.units**2),
        "cancelling": [("mu", q), ("-mu", q + eps * kit.indefinite()), (kit.phase(), eps * kit.product)],
        "scaled": q * 10.0**power,
        "undone": [(f"mu*1e{-power}", q * 10.0**power)],
    }
    return case


@family
def energies(rng: np.random.Generator) -> Case:
    """The energy of solutions that the product hardly sees, in mixed units: its terms are far larger than itself."""
    n = int(rng.integers(3, 6))
    kit = Kit(rng, n, rng.uniform() < 0.2, np.exp2(rng.integers(-44, 45, n)), 10 ** rng.uniform(4, 10))
    v = np.linalg.eigh(kit.plain)[1][:, 0] + 10.0 ** rng.uniform(-6, -3) * kit.normal(n)
    return Case(
        [("mu", kit.product)],
        [(1.0, kit.units * (kit.plain @ v))],
        kit.product,
        RANGE,
        None,
        rbm.stability.MinTheta([1.0]),
        {"energy": kit.product, "mass": np.diag(kit.units**2)},
        snapshots=np.array([[1.0]]),
    )


@family
def hidden_outputs(rng: np.random.Generator) -> Case:
    """Quadratic outputs that are not Hermitian, beside a unit that hides it; some are."""
    n, unit = int(rng.integers(3, 6)), 2.0 ** float(rng.choice([0, 20, 23, 25, 40]))
    s = np.ones(n)
    s[0] = unit
    p, q = np.diag(s**2), np.diag(s**2 * rng.uniform(0, 1, n))
    i, j = 1 + rng.permutation(n - 1)[:2]
    q[i, j] = 10.0 ** rng.uniform(0, 3)
    if rng.uniform() < 0.4:
        q[j, i] = q[i, j]
    f = np.concatenate([[0.0], rng.standard_normal(n - 1)])
    a = np.diag(np.concatenate([[0.0], rng.uniform(0, 3, n - 1)]))
    kept = np.eye(n)[:, [0, i]] if rng.uniform() < 0.5 else np.eye(n)[:, :1]
    hold = sp.csr_array if rng.uniform() < 0.7 else np.asarray
    return Case([(1.0, hold(p)), ("mu", hold(a))], [(1.0, f)], hold(p), {"mu": (0.1, 2.4)}, kept, 1.0, {"q": hold(q)})
