"""What is done with a reduced model: parameters are fitted to measurements, outputs are minimised.

``calibrate`` is the search, ``measurements`` compares data with the model and bounds the difference to the full model,
``searches`` calls optimisers, and ``sensitivity`` says what the data leave open. ``minimize``
descends along the derivatives of an output; ``automatic_derivatives`` makes it a function of torch or JAX.
"""

from rbm.uses.automatic_derivatives import jax_function, torch_function
from rbm.uses.calibrate import Calibration, calibrate
from rbm.uses.minimize import Minimum, minimize

__all__ = ["Calibration", "Minimum", "calibrate", "jax_function", "minimize", "torch_function"]
