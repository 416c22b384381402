"""Parameters and what depends on them: the space, formulas, coefficients theta(mu), families of coefficients.

``space`` has names, ranges and sampling; ``named_points`` reads points from tables and dictionaries; ``expressions``
are checked formulas, which differentiate themselves by the rules of ``derivatives``; ``differentiable`` gives a
function its derivative; ``coefficients`` evaluate them for a batch; ``interpolated_family`` are weights of an
interpolation.
"""

from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.differentiable import Differentiable, differentiable
from rbm.parameters.interpolated_family import InterpolatedCoefficient, InterpolatedFamily
from rbm.parameters.space import ParameterSpace

__all__ = [
    "Coefficient", "Coefficients", "Differentiable", "InterpolatedCoefficient", "InterpolatedFamily", "ParameterSpace",
    "differentiable",
]  # fmt: skip
