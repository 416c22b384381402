"""Families of models of all sizes: units, conditions, coefficients, right-hand sides, ways to reduce them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

import rbm
from benchmarks.random_models.bases import RANGE, coercive, family, general
from benchmarks.random_models.case import Case
from benchmarks.random_models.kit import Kit


@family
def plain(rng: np.random.Generator) -> Case:
    """Units of one size, condition up to 1e6: nothing may be refused."""
    kit = Kit.draw(rng)
    case = coercive(kit, rank=kit.n - 1) if rng.uniform() < 0.5 else general(kit)
    case.kind = True
    return case


@family
def units(rng: np.random.Generator) -> Case:
    """A unit for every unknown, 2^-40 to 2^40."""
    kit = Kit.draw(rng, exponent=40, decades=8)
    case = coercive(kit) if rng.uniform() < 0.5 else general(kit)
    case.kind = True
    return case


@family
def extreme_units(rng: np.random.Generator) -> Case:
    """2^-300 to 2^300: products of two entries are beyond the range of doubles."""
    kit = Kit.draw(rng, exponent=int(rng.choice([120, 250, 300])), decades=4)
    case = coercive(kit) if rng.uniform() < 0.5 else general(kit)
    case.kind = True
    return case


@family
def ill_conditioned(rng: np.random.Generator) -> Case:
    """cond(P) 1e8 to 1e14, units or not."""
    kit = Kit.draw(rng, exponent=int(rng.choice([0, 0, 20, 40])))
    kit = Kit(rng, kit.n, kit.complex_valued, kit.units, 10 ** rng.uniform(8, 14))
    return coercive(kit) if rng.uniform() < 0.4 else general(kit)


@family
def singular_product(rng: np.random.Generator) -> Case:
    """cond(P) 1e15 to 1e19: hardly, or not, positive definite as the doubles it is."""
    n, theta = int(rng.integers(5, 9)), rng.uniform() < 0.3
    kit = Kit(rng, n, rng.uniform() < 0.3, condition=10 ** rng.uniform(15.5, 18.5))
    p = kit.product
    kit.half = np.linalg.cholesky(p + 1e-14 * np.eye(n))
    return Case(
        [(1.0, p), ("mu", kit.positive(0.0, 1.0) if theta else kit.any())],
        [(1.0, kit.functional())],
        p,
        RANGE,
        kit.normal(n, 3),
        rbm.stability.MinTheta([1.0]) if theta else None,
    )


@family
def coefficients(rng: np.random.Generator) -> Case:
    """Coefficients of 1e-150 to 1e150 with matrices of the opposite size, or with matrices of size 1."""
    kit = Kit.draw(rng, exponent=int(rng.choice([0, 30])))
    case = general(kit)
    power = int(rng.integers(-150, 151))
    scale = 10.0**-power if rng.uniform() < 0.6 else 1.0
    case.operators = [(f"({c})*1e{power}", a * scale) for c, a in case.operators]
    other = int(rng.integers(-150, 151))
    back = 10.0**-other if rng.uniform() < 0.6 else 1.0
    case.rhs = [(f"({c})*1e{other}", f * back) for c, f in case.rhs]
    return case


@family
def right_hand_sides(rng: np.random.Generator) -> Case:
    """Zero at some points, everywhere, or below the smallest double; 1e-300 to 1e300."""
    kit = Kit.draw(rng, complex_share=0.2, exponent=int(rng.choice([0, 20])))
    case = coercive(kit)
    vanishing: list[Any] = [
        "exp(-300*mu)",
        "exp(-300*mu)",
        "exp(-290*mu)",
        "exp(-370*mu)",
        "(mu - 0.5)",
        "1e-300*(mu - 1)",
        "0.0*mu",
        "1e300*mu",
    ]
    f = kit.functional() * 10.0 ** float(rng.choice([0] * 12 + [-100, -160, -300, 150]))
    if rng.uniform() < 0.1:
        f = 0 * f
    case.rhs = [(str(rng.choice(vanishing)), f)]
    if rng.uniform() < 0.3:
        case.rhs.append((str(rng.choice(vanishing)), kit.functional()))
    case.ranges = {"mu": (0.5, 2.6)}
    return case


@family
def wide_ranges(rng: np.random.Generator) -> Case:
    """Two parameters over up to sixteen decades."""
    kit = Kit.draw(rng, exponent=int(rng.choice([0, 40])))
    decades = float(rng.choice([2, 5, 8]))
    a, b, c = kit.positive(0.5, 2.0), kit.positive(rank=max(1, kit.n - 1)), kit.positive(rank=1)
    theta = rng.uniform() < 0.5
    last = "nu**2" if theta else "1j*nu" if kit.complex_valued else "nu*(1 - 2*exp(-mu))"
    return Case(
        [(1.0, a), ("10**mu", b), (last, c)],
        [("10**(-mu)", kit.functional()), ("nu", kit.functional())],
        kit.product,
        {"mu": (-decades, decades), "nu": (1e-6, 2.0)},
        kit.vectors(int(rng.integers(1, 3)) if kit.n > 2 else 1),
        rbm.stability.MinTheta([0.0, 1.0]) if theta else None,
        kit.outputs(),
        projection="galerkin" if theta else "least-squares",
    )


@family
def cancelling_terms(rng: np.random.Generator) -> Case:
    """Operators and right-hand sides that are small differences of large terms."""
    kit = Kit.draw(rng, exponent=int(rng.choice([0, 30])))
    big, eps = kit.any(3.0), 10.0 ** rng.uniform(-12, -1)
    f, a = kit.functional(), kit.product + eps * kit.any()
    large = 10.0 ** rng.uniform(0, 6)
    return Case(
        [(1.0, a), ("mu", large * big), ("-mu", large * big + eps * kit.any(0.2))],
        [("mu", f), ("-mu", f + eps * kit.functional())],
        kit.product,
        RANGE,
        kit.vectors(int(rng.integers(1, 3)) if kit.n > 2 else 1),
        None,
        kit.outputs(),
        projection="galerkin" if rng.uniform() < 0.5 else "least-squares",
    )


@family
def whole_space(rng: np.random.Generator) -> Case:
    """N = n: the error is rounding and the bound is its floor."""
    kit = Kit.draw(rng, sizes=(1, 4), decades=float(rng.choice([6.0, 12.0])), exponent=int(rng.choice([0, 40])))
    case = coercive(kit) if rng.uniform() < 0.5 else general(kit)
    case.basis = kit.vectors(kit.n)
    if kit.n == 1:  # a matrix (1, 1) would be taken for a vector
        del case.outputs["q"]
    return case


@family
def greedy(rng: np.random.Generator) -> Case:
    """The basis is that of a greedy run."""
    kit = Kit.draw(rng, sizes=(4, 7), exponent=int(rng.choice([0, 40])))
    case = coercive(kit) if rng.uniform() < 0.5 else general(kit)
    case.basis = None
    return case


@family
def given_coefficients(rng: np.random.Generator) -> Case:
    """Bounds for coefficients gamma of any kind."""
    kit = Kit.draw(rng, decades=float(rng.choice([6.0, 13.0])), exponent=int(rng.choice([0, 40])))
    case = coercive(kit) if rng.uniform() < 0.3 else general(kit)
    case.given = True
    return case


@family
def compressed(rng: np.random.Generator) -> Case:
    """E_onb with fewer rows; also truncated, and in single precision."""
    kit = Kit.draw(rng, sizes=(4, 8), exponent=int(rng.choice([0, 30])))
    case = coercive(kit) if rng.uniform() < 0.5 else general(kit)
    case.basis = kit.vectors(3)
    steps = [("compress",), ("truncate",), ("compress", "truncate"), ("compress", "float32")]
    case.steps = steps[int(rng.integers(0, len(steps)))]
    return case


@family
def single_precision(rng: np.random.Generator) -> Case:
    """float32 models, whose bounds are for the coefficients they return."""
    kit = Kit.draw(rng, decades=float(rng.choice([3.0, 8.0])), exponent=int(rng.choice([0, 30])))
    case = coercive(kit) if rng.uniform() < 0.5 else general(kit)
    case.steps = ("float32",)
    return case


@family
def odd_input(rng: np.random.Generator) -> Case:
    """Whole numbers, single precision, Fortran order, a basis of dependent vectors, one unknown."""
    n = int(rng.integers(1, 6))
    g = rng.integers(-3, 4, (n, n))
    p, s = g @ g.T + np.eye(n, dtype=int) * int(rng.integers(1, 4)), np.diag(rng.integers(0, 3, n))
    if rng.uniform() < 0.3:
        p = p.astype(np.float32)
    elif rng.uniform() < 0.3:
        p = np.asfortranarray(p.astype(float))
    basis = rng.integers(-2, 3, (n, min(n, 2)))
    if n > 2 and rng.uniform() < 0.2:
        basis = np.concatenate([basis, basis[:, :1]], axis=1)
    return Case(
        [(1, p), ("mu", sp.coo_array(s) if rng.uniform() < 0.5 else s)],
        [(1, rng.integers(-3, 4, n))],
        p,
        RANGE,
        basis,
        1 if rng.uniform() < 0.5 else rbm.stability.MinTheta([1]),
        {"l": rng.integers(-2, 3, n)} | ({"q": g + g.T} if n > 1 else {}),
    )
