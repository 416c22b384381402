"""Certified reduced basis methods: solve parametrised linear models online, with an error bound for each answer.

Words and symbols are explained in docs/glossary.md, the rooms of this package in docs/rooms.md.

>>> import numpy as np, rbm
>>> model = rbm.FullOrderModel(
...     operators=[(1.0, np.diag([2.0, 3.0, 4.0])), ("mu", np.eye(3))], rhs=[(1.0, np.ones(3))],
...     product=np.diag([2.0, 3.0, 4.0]), parameters=rbm.ParameterSpace({"mu": (1.0, 10.0)}), stability=1.0)
>>> result = rbm.greedy(model, model.parameters.sample(20), tol=1e-3)
>>> solution = result.reduced_model.solve([[2.0], [5.0]])
>>> bool(solution.bound.max() < 1e-3)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rbm import neighbours  # noqa: F401  # isort: skip  # first of all: are the packages beside this one ours?
from rbm import errors, estimators, stability
from rbm.affine.elimination import Constrained, constrain
from rbm.affine.foreign import csr
from rbm.affine.linear_rows import Linear
from rbm.affine.matrix_files import read_matrices
from rbm.affine.pymor_models import from_pymor
from rbm.arithmetic import extended
from rbm.errors import EstimatorUnusable, FileFormatError, Interrupted, ModelError, ParameterError, StabilityError
from rbm.estimate import Estimate
from rbm.files.partition_result import PartitionedResult
from rbm.full_order import FullOrderModel
from rbm.greedy import GreedyResult, GreedyStep, greedy
from rbm.parameters.differentiable import differentiable
from rbm.parameters.interpolated_family import InterpolatedFamily
from rbm.parameters.space import ParameterSpace
from rbm.project import project
from rbm.reduced.gradient import Gradient
from rbm.reduced.load_cases import CaseSolution, LoadCases
from rbm.reduced.model import ReducedModel, Solution
from rbm.reduced.partitioned import PartitionedModel
from rbm.reduction.memory import Memory, expected_memory
from rbm.reduction.projected_system import Reduction
from rbm.storage.registry import register
from rbm.storage.versions import VERSION
from rbm.time import (
    PODGreedyResult,
    PODGreedyStep,
    ReducedTimeModel,
    TimeModel,
    TimeSolution,
    load,
    pod_greedy,
    project_time,
)

if TYPE_CHECKING:
    from rbm.show import plots
    from rbm.show.explore import explore
    from rbm.show.fields import Fields, fields
    from rbm.uses.calibrate import Calibration, calibrate
    from rbm.uses.dask_arrays import dask_solve
    from rbm.uses.frequency_response import FrequencyResponse, frequency_response
    from rbm.uses.minimize import Minimum, minimize
    from rbm.uses.poles import Poles, poles
    from rbm.uses.posterior import Posterior, posterior
    from rbm.uses.sensor_placement import place_sensors
    from rbm.uses.sobol_indices import SobolIndices, sobol_indices
    from rbm.uses.state_from_sensors import PBDW, StateEstimate, pbdw

__version__ = VERSION

__all__ = [
    "PBDW",
    "Calibration",
    "CaseSolution",
    "Constrained",
    "Estimate",
    "EstimatorUnusable",
    "Fields",
    "FileFormatError",
    "FrequencyResponse",
    "FullOrderModel",
    "Gradient",
    "GreedyResult",
    "GreedyStep",
    "InterpolatedFamily",
    "Interrupted",
    "Linear",
    "LoadCases",
    "Memory",
    "Minimum",
    "ModelError",
    "PODGreedyResult",
    "PODGreedyStep",
    "ParameterError",
    "ParameterSpace",
    "PartitionedModel",
    "PartitionedResult",
    "Poles",
    "Posterior",
    "ReducedModel",
    "ReducedTimeModel",
    "Reduction",
    "SobolIndices",
    "Solution",
    "StabilityError",
    "StateEstimate",
    "TimeModel",
    "TimeSolution",
    "calibrate",
    "constrain",
    "csr",
    "dask_solve",
    "differentiable",
    "errors",
    "estimators",
    "expected_memory",
    "explore",
    "extended",
    "fields",
    "frequency_response",
    "from_pymor",
    "greedy",
    "load",
    "minimize",
    "pbdw",
    "place_sensors",
    "plots",
    "pod_greedy",
    "poles",
    "posterior",
    "project",
    "project_time",
    "read_matrices",
    "register",
    "sobol_indices",
    "stability",
]  # fmt: skip

#: Names that are imported when they are first asked for, and their modules: a process that only answers needs none.
_LATER = {
    "PBDW": "uses.state_from_sensors",
    "Calibration": "uses.calibrate",
    "Fields": "show.fields",
    "FrequencyResponse": "uses.frequency_response",
    "Minimum": "uses.minimize",
    "Poles": "uses.poles",
    "Posterior": "uses.posterior",
    "SobolIndices": "uses.sobol_indices",
    "StateEstimate": "uses.state_from_sensors",
    "calibrate": "uses.calibrate",
    "dask_solve": "uses.dask_arrays",
    "explore": "show.explore",
    "fields": "show.fields",
    "frequency_response": "uses.frequency_response",
    "minimize": "uses.minimize",
    "pbdw": "uses.state_from_sensors",
    "place_sensors": "uses.sensor_placement",
    "plots": "show.plots",
    "poles": "uses.poles",
    "posterior": "uses.posterior",
    "show": "show",
    "sobol_indices": "uses.sobol_indices",
    "uses": "uses",
}

if not TYPE_CHECKING:  # to a type checker, not every name is one of this package

    def __getattr__(name: str) -> Any:
        """Import what is asked for, and keep it."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"rbm.{_LATER[name]}")
        globals()[name] = found = getattr(module, name, module)
        return found

    def __dir__() -> list[str]:
        """Return all names, also of what is not yet imported."""
        return sorted({*globals(), *_LATER})
