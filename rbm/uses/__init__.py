"""What is done with a reduced model: parameters are fitted to measurements.

``calibrate`` is the search, ``measurements`` compares data with the model and bounds the difference to the full model,
``searches`` calls optimisers, and ``sensitivity`` says what the data leave open.
"""

from rbm.uses.calibrate import Calibration, calibrate

__all__ = ["Calibration", "calibrate"]
