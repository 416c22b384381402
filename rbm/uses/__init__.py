"""What is done with a reduced model: fits to data, minima, arrays of a cluster.

``calibrate`` is the search, ``measurements`` compares data with the model and bounds the difference to the full model,
``searches`` calls optimisers, and ``sensitivity`` says what the data leave open. ``minimize``
descends along the derivatives of an output; ``automatic_derivatives`` makes it a function of torch or JAX.
``dask_arrays`` answers the chunks of a dask array. ``poles`` encloses resonances: ``pencil_path`` says which eigenvalue
a parameter meets, ``ritz_pairs`` and ``enclosures`` enclose eigenvalues, ``known_spectrum`` counts them;
``frequency_response`` puts poles and certified outputs together, ``resonant_training`` refines training sets.
``posterior`` says what data make of the prior: ``observations`` is the certified likelihood, ``enclosed_means``
encloses expectations, ``exact_chain`` is Metropolis' chain of the full model; ``sobol_indices`` puts intervals around
SALib's. ``state_from_sensors`` estimates whole fields: ``sensor_space`` certifies what sensors can see, by
``singular_values`` between proved ends, and ``sensor_placement`` chooses them.
"""

from rbm.uses.automatic_derivatives import jax_function, torch_function
from rbm.uses.calibrate import Calibration, calibrate
from rbm.uses.dask_arrays import dask_solve
from rbm.uses.exact_chain import Chain, chain_numbers
from rbm.uses.frequency_response import FrequencyResponse, frequency_response
from rbm.uses.minimize import Minimum, minimize
from rbm.uses.poles import Poles, poles
from rbm.uses.posterior import Posterior, posterior
from rbm.uses.resonant_training import away_from_poles, refined_greedy, training_between
from rbm.uses.sensor_placement import place_sensors
from rbm.uses.sobol_indices import SobolIndices, sobol_indices
from rbm.uses.state_from_sensors import PBDW, StateEstimate, pbdw

__all__ = [
    "PBDW", "Calibration", "Chain", "FrequencyResponse", "Minimum", "Poles", "Posterior", "SobolIndices",
    "StateEstimate", "away_from_poles", "calibrate", "chain_numbers", "dask_solve", "frequency_response",
    "jax_function", "minimize", "pbdw", "place_sensors", "poles", "posterior", "refined_greedy", "sobol_indices",
    "torch_function", "training_between",
]  # fmt: skip
