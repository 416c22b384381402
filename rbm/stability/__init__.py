"""Lower bounds beta(mu) > 0 of the coercivity or inf-sup constant, and the check that they are not too large.

Each bound has a file of its own.

``bound`` has the protocol, and bounds given as a number, a formula or a function; ``min_theta`` and
``successive_constraints`` are for coercive models, the latter by a linear program (``safe_dual``, ``vertex_walk``);
``pencil`` for two Hermitian matrices; ``natural_norm`` for all others, ``anchored`` where they are dense;
``inf_sup_constants`` are the constants themselves; ``check`` and ``verification`` test claims; ``options`` are checked
for all.
"""

from rbm.stability.anchored import Anchored, BoundAnchored
from rbm.stability.bound import CoefficientBound, StabilityBound, Unbound, bind
from rbm.stability.inf_sup_constants import inf_sup
from rbm.stability.min_theta import BoundMinTheta, MinTheta
from rbm.stability.natural_norm import BoundNaturalNorm, NaturalNorm
from rbm.stability.pencil import BoundPencil, Pencil
from rbm.stability.successive_constraints import SCM, BoundSCM

__all__ = [
    "SCM",
    "Anchored",
    "BoundAnchored",
    "BoundMinTheta",
    "BoundNaturalNorm",
    "BoundPencil",
    "BoundSCM",
    "CoefficientBound",
    "MinTheta",
    "NaturalNorm",
    "Pencil",
    "StabilityBound",
    "Unbound",
    "bind",
    "inf_sup",
]
