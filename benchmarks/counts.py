"""Flops that a query needs, whoever computes it: additions and multiplications of real numbers."""

from __future__ import annotations

import numpy as np

from rbm import ReducedModel
from rbm.online.kernels.packed import pack_system
from rbm.reduced.outputs import ReducedLinear, ReducedQuadratic

__all__ = ["output_flops", "residual_flops", "solve_flops"]


def solve_flops(model: ReducedModel) -> float:
    """Assembly of the matrix and the right-hand side, factorisation and solution.

    Hermitian: Q N (N + 1) + N^3 / 3 + 2 N^2; other square matrices: 2 Q N^2 + 2 N^3 / 3 + 2 N^2; tall ones, with
    columns of height h_j: 2 Q sum h_j + 4 sum_j (h_j - j) (N - j) + N^2. Four times that for complex matrices.
    """
    q, k, n = model.operators.shape
    hermitian = k == n and all(np.allclose(a, a.conj().T, rtol=0, atol=1e-12 * abs(a).max()) for a in model.operators)
    if k > n:
        height = pack_system(model.operators, model.rhs, False).height
        flops = 2 * q * height[:-1].sum() + 4 * sum((height[j] - j) * (n - j) for j in range(n)) + n**2
    elif hermitian:
        flops = q * n * (n + 1) + n**3 / 3 + 2 * n**2
    else:
        flops = 2 * q * n**2 + 2 * n**3 / 3 + 2 * n**2
    return float(flops) * _arithmetic(model)


def residual_flops(model: ReducedModel) -> float:
    """Flops of c, of norm(R c) over the entries of R that are not zero, and of the floor, 2 m.

    Four times the product for complex numbers.
    """
    factor = model.estimators["orthonormal"].factor  # type: ignore[attr-defined]
    return (
        _arithmetic(model) * (2.0 * np.count_nonzero(factor) + 2 * len(factor) + factor.shape[1]) + 2 * factor.shape[1]
    )


def output_flops(model: ReducedModel) -> float:
    """Flops of the values of outputs: 2 Q N of Q functionals, 2 Q N^2 of Q quadratic forms.

    Four times that for complex numbers. Bounds of outputs, of about the same cost, are not counted.
    """
    flops = 0.0
    for output in model.outputs.values():
        if isinstance(output, ReducedLinear):
            flops += 2.0 * output.vectors.size
        elif isinstance(output, ReducedQuadratic):
            flops += 2.0 * output.matrices.size
    return flops * _arithmetic(model)


def _arithmetic(model: ReducedModel) -> int:
    return 4 if np.iscomplexobj(model.operators) else 1
