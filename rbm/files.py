"""Reduced models and greedy runs in one file each: what goes into :mod:`rbm.archive`, and comes back."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rbm.anchored import BoundAnchored
from rbm.archive import read_archive, write_archive
from rbm.coefficients import Coefficients
from rbm.errors import FileFormatError, ModelError, StabilityError
from rbm.estimators import METHODS
from rbm.full_order import check_projection
from rbm.interpolated import InterpolatedCoefficient, InterpolatedFamily
from rbm.outputs import ReducedLinear, ReducedOutput, ReducedQuadratic
from rbm.parameters import ParameterSpace, checked_units
from rbm.reduced import ReducedModel
from rbm.stability import BoundMinTheta, CoefficientBound, StabilityBound

__all__ = ["load", "load_greedy", "save", "save_greedy"]

#: kind of output: its class and the names of its arrays
OUTPUTS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    ReducedLinear.kind: (ReducedLinear, ("vectors", "dual", "defects", "rounding")),
    ReducedQuadratic.kind: (ReducedQuadratic, ("matrices", "norms", "rounding", "orthonormality")),
}


def save(model: ReducedModel, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True) -> None:
    """Write a reduced model; see :meth:`rbm.ReducedModel.save`. "direct" (E1) needs the full model and is left out."""
    target = Path(path)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace it")
    coefficients = [
        model.operator_coefficients,
        model.rhs_coefficients,
        *(o.coefficients for o in model.outputs.values()),
    ]
    if isinstance(model.stability, CoefficientBound):
        coefficients.append(model.stability.coefficient)
    if model.interpolation_error is not None:
        coefficients.append(model.interpolation_error)
    for c in coefficients:
        if not c.portable:
            source = next(s for s in c.sources if callable(s))
            raise ModelError(
                f"the coefficient {getattr(source, '__name__', source)!r} is a Python callable, which a file cannot hold; "
                'write it as an expression string, for example "exp(1j*k)"'
            )
    arrays: dict[str, np.ndarray] = {"operators": model.operators, "rhs": model.rhs}
    if basis and model.basis is not None:
        arrays["basis"] = model.basis
    if model.selected is not None:
        arrays["selected"] = model.selected
    states = {name: state for name, state in model.estimators.items() if state.portable}
    if model.estimators and model.method not in states:
        other = next(iter(states), "none")
        warnings.warn(
            f"the default estimator {model.method!r} needs the full model and is not saved; after loading the default is {other!r}",
            UserWarning,
            stacklevel=3,
        )
    refused = {
        **model.refused,
        **{
            name: "it needs the full-order model, which a file does not hold"
            for name, state in model.estimators.items()
            if not state.portable
        },
    }
    for name, state in states.items():
        arrays.update({f"estimators/{name}/{key}": value for key, value in state.arrays().items()})
    for k, output in enumerate(model.outputs.values()):
        for key in OUTPUTS[output.kind][1]:
            if getattr(output, key) is not None:
                arrays[f"outputs/{k}/{key}"] = np.asarray(getattr(output, key))
    families: list[InterpolatedFamily] = []
    header = {
        "kind": "reduced model",
        "parameters": {
            "ranges": dict(zip(model.parameters.names, model.parameters.bounds.tolist(), strict=True)),
            "scale": model.parameters.scale,
            **({"units": model.parameters.units} if model.parameters.units else {}),
        },
        "operator_coefficients": _write_sources(model.operator_coefficients, families),
        "rhs_coefficients": _write_sources(model.rhs_coefficients, families),
        "stability": _write_stability(model.stability, arrays, families),
        "outputs": [
            {"name": n, "kind": o.kind, "coefficients": _write_sources(o.coefficients, families)}
            for n, o in model.outputs.items()
        ],
        "projection": model.projection,
        "orthonormality": model.orthonormality,
        "interpolation_error": _write_sources(model.interpolation_error, families)
        if model.interpolation_error
        else None,
        "families": [list(f.functions) for f in families],
        "estimators": list(states),
        "refused": refused,
        **({"output_units": dict(model.output_units)} if model.output_units else {}),
    }
    for k, family in enumerate(families):
        arrays[f"families/{k}/lower"], arrays[f"families/{k}/upper"] = family.lower, family.upper
    write_archive(target, header, arrays)


def load(path: str | os.PathLike[str]) -> ReducedModel:
    """Read a reduced model written by :meth:`rbm.ReducedModel.save`; solve and estimate give the same bits as before.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        the file is truncated, altered, of a newer version, of another kind, or holds pickled objects. Nothing in it is run.
    """
    header, arrays = read_archive(path, "reduced model")
    try:
        space = header["parameters"]
        ranges = {n: tuple(b) for n, b in space["ranges"].items()}
        parameters = ParameterSpace(ranges, scale=space["scale"], units=space.get("units"))  # older files have no units
        families = [
            InterpolatedFamily(tuple(functions), arrays[f"families/{k}/lower"], arrays[f"families/{k}/upper"])
            for k, functions in enumerate(header.get("families", []))
        ]
        outputs: dict[str, ReducedOutput] = {}
        for k, o in enumerate(header["outputs"]):
            made, keys = OUTPUTS[o.get("kind", "linear")]
            known = {key: arrays[f"outputs/{k}/{key}"] for key in keys if f"outputs/{k}/{key}" in arrays}
            outputs[o["name"]] = made(_read_sources(o["coefficients"], parameters, families), **known)
        errors = header.get("interpolation_error")
        estimators = {}
        for name in header["estimators"]:
            prefix = f"estimators/{name}/"
            state = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
            estimators[name] = METHODS[name].from_arrays(state)
        model = ReducedModel(
            parameters=parameters,
            operator_coefficients=_read_sources(header["operator_coefficients"], parameters, families),
            rhs_coefficients=_read_sources(header["rhs_coefficients"], parameters, families),
            stability=_read_stability(header["stability"], arrays, parameters, families),
            projection=check_projection(header.get("projection", "galerkin")),
            interpolation_error=_read_sources(errors, parameters, families) if errors else None,
            orthonormality=float(header.get("orthonormality", 1e-8)),  # files older than this: 1e-10 for each entry
            operators=arrays["operators"],
            rhs=arrays["rhs"],
            outputs=outputs,
            estimators=estimators,
            refused=dict(header["refused"]),
            basis=arrays.get("basis"),
            selected=arrays.get("selected"),
            output_units=checked_units(header.get("output_units"), outputs, "output"),
        )
        _try(model)
        return model
    except Exception as error:  # whatever entries that do not belong together lead to, in any of the classes above
        raise FileFormatError(
            f"{os.fspath(path)} is not a complete reduced model: {type(error).__name__} {error}"
        ) from error


def _try(model: ReducedModel) -> None:
    """One query with every estimator, so that arrays that do not fit each other are found now and not later."""
    mu = model.parameters.bounds[:, 0] / 2 + model.parameters.bounds[:, 1] / 2  # of wide ranges, too
    theta, phi = model.operator_coefficients(mu[None]), model.rhs_coefficients(mu[None])
    gamma = np.zeros((1, model.size), model.dtype)
    qa, rows, _ = model.operators.shape
    tall = model.projection == "least-squares" and rows >= model.size
    if qa != theta.shape[1] or not (rows == model.size or tall) or model.rhs.shape != (phi.shape[1], rows):
        raise ValueError("its reduced matrices have the wrong shapes")
    for state in model.estimators.values():
        state.evaluate(theta, phi, gamma)
    for output in model.outputs.values():
        output.value(mu[None], gamma), output.bound(mu[None], gamma, np.zeros(1))
    with contextlib.suppress(StabilityError):  # the middle may be left out of the model's range of validity
        model.stability(mu[None], theta)
    if model.interpolation_error is not None and model.interpolation_error(mu[None]).shape != (1, 2):
        raise ValueError("its interpolation errors are not a pair")
    for name in ("basis", "selected"):
        array = getattr(model, name)
        if array is not None and model.size not in array.shape:
            raise ValueError(f"its {name} has the wrong shape {array.shape}")


def save_greedy(
    basis: np.ndarray,
    parameters: np.ndarray,
    rows: np.ndarray,
    fingerprint: str,
    path: str | os.PathLike[str],
    projection: str,
    relative: bool,
) -> None:
    """Write what :func:`rbm.greedy` needs to go on; rows (k, 6 + p) of the history as :func:`load_greedy` returns them."""
    header = {"kind": "greedy run", "fingerprint": fingerprint, "projection": projection, "relative": relative}
    history, effectivity = np.delete(rows, 5, axis=1), rows[:, 5]
    arrays = {"basis": basis, "parameters": parameters, "history": history, "effectivity": effectivity}
    write_archive(Path(path), header, arrays)


def load_greedy(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, str, str, bool]:
    """Basis (n, N), parameters (N, p), history rows (size, bound, floor, resolved, seconds, effectivity, parameter), fingerprint, projection, relative."""
    header, arrays = read_archive(path, "greedy run")
    try:
        of_run = str(header.get("projection", "galerkin")), bool(header.get("relative", False))
        rows = arrays["history"]
        effectivity = arrays.get("effectivity", np.full(len(rows), np.nan))  # older files have none
        basis, parameters = arrays["basis"], arrays["parameters"]
        if basis.ndim != 2 or parameters.ndim != 2 or basis.shape[1] != len(parameters):
            raise ValueError(f"basis {basis.shape}, parameters {parameters.shape}")
        if rows.ndim != 2 or rows.shape[1] != 5 + parameters.shape[1] or not np.all(np.isfinite(rows[:, [0, 3]])):
            raise ValueError(f"history {rows.shape} of {parameters.shape[1]} parameters")
        rows = np.column_stack([rows[:, :5], effectivity, rows[:, 5:]])
        return basis, parameters, rows, str(header["fingerprint"]), *of_run
    except KeyError as error:
        raise FileFormatError(f"{os.fspath(path)} is not a complete greedy run: {error} is missing") from error
    except (ValueError, IndexError) as error:
        raise FileFormatError(
            f"{os.fspath(path)} is not a greedy run: its arrays do not fit each other ({error})"
        ) from error


def _write_sources(coefficients: Coefficients, families: list[InterpolatedFamily]) -> list[Any]:
    """Numbers and texts as they are, complex numbers as pairs, terms of a family by its place in `families` (extended here)."""

    def write(source: Any) -> Any:
        if isinstance(source, InterpolatedCoefficient):
            place = next((k for k, f in enumerate(families) if f is source.family), len(families))
            if place == len(families):
                families.append(source.family)
            return {"family": place, "term": source.term, "factor": write(source.factor)}
        return [source.real, source.imag] if isinstance(source, complex) else source

    return [write(s) for s in coefficients.sources]


def _read_sources(sources: list[Any], parameters: ParameterSpace, families: list[InterpolatedFamily]) -> Coefficients:
    def read(source: Any) -> Any:
        if isinstance(source, dict):
            return InterpolatedCoefficient(families[source["family"]], source["term"], read(source["factor"]))
        return complex(*source) if isinstance(source, list) else source

    return Coefficients([read(s) for s in sources], parameters)


def _write_stability(
    stability: StabilityBound, arrays: dict[str, np.ndarray], families: list[InterpolatedFamily]
) -> dict[str, Any]:
    if isinstance(stability, BoundAnchored):
        arrays.update({f"stability/{key}": value for key, value in stability.arrays().items()})
        return {"kind": "anchored"}
    if isinstance(stability, BoundMinTheta):
        arrays["stability/reference"] = stability.reference
        if stability.slack is not None:
            arrays["stability/slack"] = stability.slack
        return {"kind": "min-theta", "constant": stability.constant}
    if isinstance(stability, CoefficientBound):
        return {"kind": "coefficient", "coefficient": _write_sources(stability.coefficient, families)}
    raise ModelError(f"a stability bound of type {type(stability).__name__} cannot be written to a file")


def _read_stability(
    header: dict[str, Any],
    arrays: dict[str, np.ndarray],
    parameters: ParameterSpace,
    families: list[InterpolatedFamily],
) -> StabilityBound:
    if header["kind"] == "anchored":
        prefix = "stability/"
        return BoundAnchored.from_arrays(
            {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}, parameters
        )
    if header["kind"] == "min-theta":
        slack = arrays.get("stability/slack")  # older files have none
        return BoundMinTheta(arrays["stability/reference"], header["constant"], parameters, slack)
    return CoefficientBound(_read_sources(header["coefficient"], parameters, families))
