"""Files of reduced models in time, and of POD-greedy runs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rbm.errors import FileFormatError
from rbm.files.model_file import header_of, model_from
from rbm.files.partition_file import KIND as PARTITIONED
from rbm.files.partition_file import partition_from
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.model import ReducedModel
from rbm.storage.archive import read_archive, write_archive
from rbm.storage.versions import making
from rbm.time.dual_files import read_dual, write_dual
from rbm.time.initial import ReducedInitial
from rbm.time.lost_digits import LostDigits
from rbm.time.model import checked_times
from rbm.time.reduced import ReducedTimeModel

__all__ = ["KIND", "MODELS", "RUN", "load", "load_run", "model_of", "save_run", "save_time_model"]

KIND, RUN = "reduced time model", "POD-greedy run"
#: The kinds of files that hold a reduced model.
MODELS = ("reduced model", KIND, PARTITIONED)


def save_time_model(
    model: ReducedTimeModel, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True
) -> None:
    """Write a reduced model in time; see :meth:`ReducedTimeModel.save`.

    The file is that of its reduced terms, with `time` in the header (dt, theta, slack, decay, the number of mass terms)
    and the arrays time/triangle, time/defects, time/control, and time/lost and time/rest of the digits that R lacks;
    `duals` in the header lists the dual problems, whose arrays are duals/0/... (:mod:`rbm.time.dual_files`).
    """
    target = Path(path)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace it")
    arrays: dict[str, np.ndarray] = {}
    header = header_of(model.terms, arrays, basis, {"initial": model.initial.coefficients})
    count = len(model.mass_coefficients)
    header["kind"] = KIND
    numbers = {"dt": model.dt, "theta": model.theta, "slack": model.slack, "decay": model.decay}
    header["time"] = {**numbers, "mass_terms": count}
    header["duals"] = [
        write_dual(name, dual, f"duals/{k}", arrays) for k, (name, dual) in enumerate(model.duals.items())
    ]
    arrays |= {
        "time/triangle": model.initial.triangle,
        "time/defects": model.initial.defects,
        "time/control": model.control,
    }
    if model.lost is not None:
        arrays |= {"time/lost": model.lost.factor, "time/rest": model.lost.rest}
        header["time"]["growth"] = model.lost.growth
    write_archive(target, header, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a reduced model, whichever the file holds.

    That is a :class:`rbm.ReducedModel`, a :class:`rbm.PartitionedModel` or a :class:`rbm.ReducedTimeModel`.

    solve gives the same bits as before.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        the file is truncated, altered, of a newer version, of another kind, or holds pickled objects; nothing in it is
        run.
    """
    return model_of(*read_archive(path, MODELS), os.fspath(path))


def model_of(header: dict[str, Any], arrays: dict[str, np.ndarray], file: str) -> Any:
    """Return the reduced model of a header and its arrays, of any of the kinds `MODELS`.

    Raises FileFormatError, with the name of the file, for entries that do not belong together.
    """
    if header["kind"] == "reduced model":
        return model_from(header, arrays, file)[0]
    if header["kind"] == PARTITIONED:
        return partition_from(header, arrays, file)
    try:
        of_time = header["time"]
        count = int(of_time["mass_terms"])
        if not 1 <= count < len(header["operator_coefficients"]):
            raise ValueError(f"it has {count} mass terms of {len(header['operator_coefficients'])}")
        terms, more = model_from(header, arrays, file, ("initial",), terms=count)
        model = _model(terms, more["initial"], of_time, arrays, count)
        duals = {}
        for k, entry in enumerate(header.get("duals", [])):
            duals[str(entry["name"])] = read_dual(entry, f"duals/{k}", arrays, model)
        return replace(model, duals=duals)
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise FileFormatError(f"{file} is not a complete {KIND}: {type(error).__name__} {error}") from error


def _model(
    terms: ReducedModel, initial: Coefficients, of_time: dict[str, Any], arrays: dict[str, np.ndarray], count: int
) -> ReducedTimeModel:
    """Return the model of parts that were read; raise ValueError for parts that do not fit each other."""
    control, triangle, defects = (arrays[f"time/{name}"] for name in ("control", "triangle", "defects"))
    dt, _, theta = checked_times(of_time["dt"], len(control), of_time["theta"])
    slack = float(of_time["slack"])
    width = len(triangle)
    fits = control.ndim == 1 and triangle.shape == (width, width) and defects.shape == (width,)
    if not fits or width - len(initial) < terms.size or not slack >= 0 or "orthonormal" not in terms.estimators:
        raise ValueError("its arrays do not fit each other")
    if not all(np.all(np.isfinite(a)) for a in (control, triangle, defects)) or np.any(defects < 0):
        raise ValueError("its arrays hold numbers that are not finite, or negative defects")
    lost = None
    if "time/lost" in arrays:
        lost = LostDigits(arrays["time/lost"], arrays["time/rest"], float(of_time["growth"]))
        m = terms.rhs.shape[0] + terms.size * terms.operators.shape[0]
        right = lost.factor.ndim == 2 and lost.factor.shape[1] == m and lost.rest.shape == (m,)
        if not (right and np.all(np.isfinite(lost.factor)) and np.all(lost.rest >= 0) and 1 <= lost.growth < 2):
            raise ValueError("the lost digits of its factor do not fit it")
    decay = float(of_time["decay"])
    if not 0 <= decay < np.inf:
        raise ValueError(f"its rate of decay is {decay}")
    sources = terms.operator_coefficients.sources[-count:]
    start = ReducedInitial(initial, triangle, defects, terms.size)
    if not np.all(np.isfinite(start.start)):
        raise ValueError("its initial value has no finite coefficients")
    mass = Coefficients(sources, terms.parameters)
    return ReducedTimeModel(terms, mass, start, control, dt, theta, slack, lost, decay)


def save_run(
    path: str | os.PathLike[str], fingerprint: str, arrays: dict[str, np.ndarray], settings: dict[str, Any]
) -> None:
    """Write what a POD-greedy run needs to go on: basis, selected points, sizes and history."""
    write_archive(Path(path), {"kind": RUN, "fingerprint": fingerprint, "record": making(), **settings}, arrays)


def load_run(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what :func:`save_run` wrote; raise FileFormatError for arrays that do not fit each other."""
    header, arrays = read_archive(path, RUN)
    file = os.fspath(path)
    try:
        basis, selected, sizes, rows = (arrays[name] for name in ("basis", "selected", "sizes", "history"))
        fits = (
            arrays["control"].ndim == 1
            and basis.ndim == selected.ndim == rows.ndim == 2
            and sizes.shape == (len(selected),)
        )
        if not (fits and isinstance(header["fingerprint"], str) and np.all(np.diff(sizes) > 0)):
            raise ValueError("its arrays do not fit each other")
        if len(sizes) and sizes[-1] != basis.shape[1]:
            raise ValueError(f"it has {basis.shape[1]} basis vectors, its sizes end with {sizes[-1]}")
        if rows.shape[1] != 6 + selected.shape[1] or not np.all(np.isfinite(rows[:, [0, 3]])):
            raise ValueError(f"its history {rows.shape} is not that of {selected.shape[1]} parameters")
        if not all(np.all(np.isfinite(a)) for a in (basis, selected, arrays["control"])):
            raise ValueError("its arrays hold numbers that are not finite")
        values = header["eigenvalues"]
        if len(values) != len(rows) or not all(isinstance(v, list) and all(map(_is_number, v)) for v in values):
            raise ValueError("its eigenvalues do not belong to its history")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise FileFormatError(f"{file} is not a complete {RUN}: {type(error).__name__} {error}") from error
    return header, arrays


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
