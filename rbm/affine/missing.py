"""Messages about arguments that were left out, with what to choose for each."""

from __future__ import annotations

from typing import Any

from rbm.errors import ModelError, ParameterError

__all__ = ["check_model_arguments", "check_training"]

CHOICES = {
    "operators": (
        "the terms of A(mu) = sum_q theta_q(mu) A_q, pairs [(1.0, K), ('mu', M)] of a coefficient and a matrix (n, n)"
    ),
    "rhs": "the terms of f(mu) = sum_q phi_q(mu) f_q, pairs [(1.0, f)] of a coefficient and a vector (n,)",
    "product": (
        "the matrix P (n, n), Hermitian positive definite, of the norm in which errors are measured: the stiffness "
        "matrix K, K + M where there are no Dirichlet conditions (M the mass matrix), or the operator at one "
        "parameter point if it is Hermitian positive definite"
    ),
    "parameters": "names and ranges, rbm.ParameterSpace({'mu': (1.0, 100.0)})",
    "stability": (
        "a lower bound of the coercivity or inf-sup constant with respect to P: "
        "rbm.stability.MinTheta(reference=[...]) if all terms are positive semi-definite and their coefficients "
        "positive, rbm.stability.Pencil() for a(mu) K + b(mu) M, rbm.stability.SCM() for other coercive models, "
        "rbm.stability.NaturalNorm() for all others, or a number or an expression that "
        "is known to be below, such as 1.0 if P is A(mu_ref) and A(mu) - A(mu_ref) is positive semi-definite"
    ),
}


def check_model_arguments(needs: str = "also needs", **given: Any) -> None:
    """Raise one ModelError for all arguments of a full-order model that were left out or are None.

    It says for each what to choose.
    """
    missing = [name for name, value in given.items() if value is None]
    if missing:
        choices = "\n".join(f"  {name}: {CHOICES[name]}" for name in missing)
        raise ModelError(f"FullOrderModel {needs} {' and '.join(missing)}:\n{choices}")


def check_training(training: Any) -> None:
    """Raise an error for a greedy run without training parameters."""
    if training is None:
        raise ParameterError(
            "greedy also needs training, the parameter points (M, p) among which it selects: "
            "model.parameters.sample(500), or more where there are several parameters"
        )
