"""The stability constants of a pencil at many points."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.kernels.compiler import kernel
from rbm.online.kernels.memory import bare

__all__ = ["pencil_constants"]

#: Points that go through all eigenvalues together, in registers of the processor.
GROUP = 64


@kernel
def pencil_constants(alpha: Any, kappa: Any, values: Any, radii: Any, rest: Any, beta: Any) -> None:
    """Write min( min_j |alpha + kappa t_j| - |kappa| delta_j,  min_{t in rest} |alpha + kappa t| ) to beta (M,).

    alpha, kappa : (2, M) real and imaginary parts
    values, radii : t, delta (J,); rest : (2,)
    """
    alpha, kappa, values, radii, rest, beta = bare((alpha, kappa, values, radii, rest, beta))
    for start in range(0, len(beta), GROUP):
        stop = min(start + GROUP, len(beta))
        for i in range(start, stop):
            a, b, c, d = alpha[0, i], alpha[1, i], kappa[0, i], kappa[1, i]
            size = max(abs(c), abs(d))
            size = size if size > 0 else 1.0
            c, d = c / size, d / size
            square = c * c + d * d
            nearest = -(a / size * c + b / size * d) / (square if square > 0 else 1.0)
            nearest = min(max(nearest, rest[0]), rest[1])
            x, y = a + kappa[0, i] * nearest, b + kappa[1, i] * nearest
            beta[i] = np.sqrt(x * x + y * y)
        for j in range(len(values)):
            t, radius = values[j], radii[j]
            for i in range(start, stop):
                x, y = alpha[0, i] + kappa[0, i] * t, alpha[1, i] + kappa[1, i] * t
                moved = np.sqrt(kappa[0, i] * kappa[0, i] + kappa[1, i] * kappa[1, i])
                distance = np.sqrt(x * x + y * y) - moved * radius
                beta[i] = distance if distance < beta[i] else beta[i]
