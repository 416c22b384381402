"""Six error estimators: five that the papers compare, and a randomised one.

Each is a frozen state of small arrays with two halves: ``prepare(reduction, training)`` works offline, and
``evaluate(theta, phi, gamma)`` works online: it returns the residual norms of a batch as an :class:`rbm.Estimate`. The
reduced model divides them by the stability bound. In the order of the paper (Casenave, Ern, Lelievre, arXiv 1212.0970):

============  ======  ============================================  ===========  =====================================
method        alias   formula for the residual norm                 online cost  floor
============  ======  ============================================  ===========  =====================================
direct        E1      r formed in extended precision                O(n)         8 u value, and 2^-70 of the terms
expanded      E2      (c^H G c)^{1/2}, G = W^H P^{-1} W             O(m^2)       sqrt(m u) s(mu): about 1e-7 s
sampled       E3      (sum lambda_r V_r)^{1/2}, T lambda = X(mu)    O(sigma^2)   sqrt(cond(T) u sum |lambda| max V)
interpolated  E4      the same with lambda from EIM                 O(sigma'^2)  sqrt(u kappa sum |lambda_r| V_r)
orthonormal   E_onb   norm(R c), W = D R, D orthonormal             O(m^2)       defects(mu) + m u s(mu), 1e-16..1e-15
sketched      none    norm(Omega R c) / sqrt(k), Omega random       O(k m)       bound - value
============  ======  ============================================  ===========  =====================================

The term m u s(mu) of E_onb nearly vanishes where it matters, because such points are evaluated once more. The bound of
"sketched" holds with a probability. The floors of E3 and E4 hold a deviation, epsilon s(mu), that is measured at points
of the parameter space and not proved: they estimate. All but "direct" can be held in single precision
(:meth:`rbm.ReducedModel.astype`).
"""

from collections.abc import Mapping

from rbm.estimators.base import Estimator
from rbm.estimators.direct import Direct
from rbm.estimators.expanded import Expanded
from rbm.estimators.interpolated import Interpolated
from rbm.estimators.orthonormal import Orthonormal
from rbm.estimators.sampled import Sampled
from rbm.estimators.sketched import Sketched
from rbm.storage.registry import known

E1, E2, E3, E4, E_onb = Direct, Expanded, Sampled, Interpolated, Orthonormal
#: All estimators by name; those that are registered later appear here, too.
METHODS: Mapping[str, type[Estimator]] = known("estimator")

__all__ = [
    "E1", "E2", "E3", "E4", "METHODS", "Direct", "E_onb", "Estimator", "Expanded", "Interpolated", "Orthonormal",
    "Sampled", "Sketched",
]  # fmt: skip
