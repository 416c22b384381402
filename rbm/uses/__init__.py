"""What is done with a reduced model: parameters are fitted to measurements; arrays of a cluster are answered.

``calibrate`` is the search, ``measurements`` compares data with the model and bounds the difference to the full model,
``searches`` calls optimisers, and ``sensitivity`` says what the data leave open. ``dask_arrays``
answers the chunks of a dask array.
"""

from rbm.uses.calibrate import Calibration, calibrate
from rbm.uses.dask_arrays import dask_solve

__all__ = ["Calibration", "calibrate", "dask_solve"]
