"""What is done with a reduced model: fits to data, minima, arrays of a cluster.

``calibrate`` is the search, ``measurements`` compares data with the model and bounds the difference to the full model,
``searches`` calls optimisers, and ``sensitivity`` says what the data leave open. ``minimize``
descends along the derivatives of an output; ``automatic_derivatives`` makes it a function of torch or JAX.
``dask_arrays`` answers the chunks of a dask array.
"""

from rbm.uses.automatic_derivatives import jax_function, torch_function
from rbm.uses.calibrate import Calibration, calibrate
from rbm.uses.dask_arrays import dask_solve
from rbm.uses.minimize import Minimum, minimize

__all__ = ["Calibration", "Minimum", "calibrate", "dask_solve", "jax_function", "minimize", "torch_function"]
