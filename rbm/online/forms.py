"""The forms of estimators for the compiled kernels: the numbers that make a residual norm and its floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["SHARP", "Energy", "Finish", "Form", "NormForm", "ProductForm", "SquareForm", "speaks_for"]

#: A value is computed again in a higher precision if it is less than this many times what its floor gains by that.
SHARP = 100.0


@dataclass(frozen=True)
class NormForm:
    """The norm of F c: value = ||F c||_2, floor = sum_j w_j |c_j| + relative value + absolute.

    With `refined`, points are evaluated once more in twice the precision, with `refined` for w, where that lowers the
    floor by a hundredth of the value or more.
    """

    factor: np.ndarray  #: F (k, m)
    weights: np.ndarray  #: w (m,)
    refined: np.ndarray | None  #: (m,)
    relative: float
    absolute: float


@dataclass(frozen=True)
class SquareForm:
    """The root of a square: value = (c^H G c)^{1/2}, floor = factor sum_j w_j |c_j| + absolute.

    Where the square is negative, the value is the floor.
    """

    gram: np.ndarray  #: G (m, m), Hermitian
    weights: np.ndarray  #: w (m,)
    factor: float
    absolute: float


@dataclass(frozen=True)
class ProductForm:
    """The root of an interpolated square.

    value = (sum_r lambda_r V_r)^{1/2} or, where the square is negative, the floor
    B C lambda = (s_i s_j part(c_i conj(c_j)))_p over the selected products
    floor = (sum_r e_r |lambda_r|)^{1/2} + sum_j w_j |c_j| + (deviation + absolute)
    """

    products: np.ndarray  #: (3, sigma'): i, j, and 0 for the real, 1 for the imaginary part
    scales: np.ndarray  #: s (m,)
    lower: np.ndarray  #: B (sigma', sigma'), unit lower triangular
    upper: np.ndarray  #: C (sigma', sigma')
    squares: np.ndarray  #: V (sigma',)
    errors: np.ndarray  #: e (sigma',)
    weights: np.ndarray  #: w (m,)
    deviation: float
    absolute: float  #: added where the residual is not zero


@dataclass(frozen=True)
class Energy:
    """What a compliant output's bound adds to beta bound^2 (:class:`rbm.reduced.compliant.ReducedCompliant`).

    (sum_q |theta_q|^{1/2} sum_i weights_qi |gamma_i|)^2 + sum_i magnitudes_i |gamma_i|
    + (mismatch + sum_q skew_q |theta_q| (size ||gamma||_2 + bound)) bound
    """

    weights: np.ndarray  #: (Qa, N)
    skew: np.ndarray  #: (Qa,)
    size: float
    mismatch: float
    magnitudes: np.ndarray  #: (N,)


@dataclass(frozen=True)
class Finish:
    """The stability bound and the outputs that turn residual norms into answers, if the kernels know their kinds."""

    #: (1 + 3 Qa,): beta = s_0 min_q (s_q theta_q + s_{2Qa+q}) - sum_q s_{Qa+q} |theta_q|, where s_{2Qa+q} is 0, or
    #: infinite for terms that the minimum leaves out; (0,): beta (M,) is given
    stability: np.ndarray
    functionals: np.ndarray  #: (outputs, N)
    magnitudes: np.ndarray  #: (outputs, N): the rounding error of output o is at most sum_i magnitudes_oi |gamma_i|
    norms: np.ndarray  #: (outputs,): |s - s_N| <= norms_o bound + rounding
    #: of each output that is compliant; all are about the same operators and basis
    energies: tuple[Energy | None, ...] = ()


Form = NormForm | SquareForm | ProductForm


def speaks_for(what: object, form: str, *values: str) -> bool:
    """Say whether the method `form`, for the compiled kernels, belongs to the methods that define the values.

    It does where none of these is overridden below the class that has `form`: a subclass with a value of its own is
    evaluated by that, and not by the form of its parent.
    """
    line = type(what).__mro__

    def place(name: str) -> int:
        return next((k for k, cls in enumerate(line) if name in vars(cls)), len(line))

    made = place(form)
    return made < len(line) and callable(vars(line[made])[form]) and all(made <= place(name) for name in values)
