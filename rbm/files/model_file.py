"""Files of reduced models: what goes into :mod:`rbm.storage.archive`, and comes back."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rbm.affine.constraints import Constraints
from rbm.affine.entries import dense_entries
from rbm.errors import FileFormatError, ModelError, StabilityError
from rbm.files.coded_parts import read_parts, write_parts
from rbm.files.record_part import read_record, write_record
from rbm.full_order import check_projection
from rbm.online.definitions import by_definition
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.interpolated_family import CoefficientFamily, InterpolatedCoefficient
from rbm.parameters.space import ParameterSpace, checked_units
from rbm.reduced.model import ReducedModel
from rbm.reduced.output_rows import ReducedRows
from rbm.reduced.outputs import ReducedLinear, ReducedOutput, ReducedQuadratic
from rbm.stability.bound import check_term_count
from rbm.storage.archive import read_archive, write_archive
from rbm.storage.registry import UnknownKind, find, known

__all__ = ["header_of", "load", "model_from", "save"]


def save(model: ReducedModel, path: str | os.PathLike[str], *, basis: bool = True, overwrite: bool = True) -> None:
    """Write a reduced model; see :meth:`rbm.ReducedModel.save`.

    The estimator "direct" (E1) needs the full model and is left out.
    """
    target = Path(path)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace it")
    arrays: dict[str, np.ndarray] = {}
    header = header_of(model, arrays, basis)
    write_archive(target, header, arrays)


def header_of(
    model: ReducedModel, arrays: dict[str, np.ndarray], basis: bool, more: Mapping[str, Coefficients] | None = None
) -> dict[str, Any]:
    """Return the header of a reduced model's file, and put its arrays into `arrays`.

    more : further coefficients that the header shall hold, by key
    """
    parts = write_parts(model, arrays, basis)
    if model.selected is not None:
        arrays["selected"] = model.selected
    states = {name: state for name, state in model.estimators.items() if state.portable}
    if model.estimators and model.method not in states:
        other = next(iter(states), "none")
        lost = f"the default estimator {model.method!r} needs the full model and is not saved"
        warnings.warn(f"{lost}; after loading the default is {other!r}", UserWarning, stacklevel=4)
    reason = "it needs the full-order model, which a file does not hold"
    families: list[CoefficientFamily] = []
    write, sources = partial(_written, arrays=arrays, families=families), partial(_write_sources, families=families)
    written = {name: write("estimator", state, f"estimators/{name}") for name, state in states.items()}
    header: dict[str, Any] = {
        "kind": "reduced model",
        "parameters": {
            "ranges": dict(zip(model.parameters.names, model.parameters.bounds.tolist(), strict=True)),
            "scale": model.parameters.scale,
            **({"units": model.parameters.units} if model.parameters.units else {}),
            **_written_distributions(model.parameters),
        },
        "operator_coefficients": sources(model.operator_coefficients),
        "rhs_coefficients": sources(model.rhs_coefficients),
        "stability": write("stability bound", model.stability, "stability"),
        "outputs": [
            {"name": name, **write("output", output, f"outputs/{k}")}
            for k, (name, output) in enumerate(model.outputs.items())
        ],
        "projection": model.projection,
        "orthonormality": model.orthonormality,
        "interpolation_error": sources(model.interpolation_error) if model.interpolation_error else None,
        "estimators": list(states),
        "states": {name: entry for name, entry in written.items() if entry.keys() != {"kind"}},  # more than arrays
        "refused": {**model.refused, **{name: reason for name in model.estimators if name not in states}},
        **({"output_units": dict(model.output_units)} if model.output_units else {}),
        **({"measured": model.measured} if model.measured else {}),
        **parts,
        **write_record(model.record, arrays),
        **_write_constraints(model.constraints, sources, model.parameters, arrays),
        **{key: sources(coefficients) for key, coefficients in (more or {}).items()},
    }
    write_family = partial(_written, "coefficient family", arrays=arrays, families=None)
    header["families"] = [write_family(family, f"families/{k}") for k, family in enumerate(families)]
    return header


def _written_distributions(space: ParameterSpace) -> dict[str, Any]:
    """Return the entry of the distributions, {parameter: {"name": .., shape: number, ..}}, if there are any."""
    made = {name: one.described() for name, one in space.distributions.items()}
    return {"distributions": made} if made else {}


def load(path: str | os.PathLike[str]) -> ReducedModel:
    """Read a reduced model written by :meth:`rbm.ReducedModel.save`.

    solve and estimate give the same bits as before.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        the file is truncated, altered, of a newer version, of another kind, or holds pickled objects; nothing
        in it is run.
    """
    header, arrays = read_archive(path, "reduced model")
    return model_from(header, arrays, os.fspath(path))[0]


def model_from(
    header: dict[str, Any], arrays: dict[str, np.ndarray], file: str, more: tuple[str, ...] = (), *, terms: int = 0
) -> tuple[ReducedModel, dict[str, Coefficients]]:
    """Return the reduced model of a header and its arrays, and the coefficients under the keys `more`.

    terms : how many operator terms the stability bound is not about, the last ones

    Raises FileFormatError, with the name of the file, for entries that do not belong together.
    """
    try:
        space = header["parameters"]
        ranges = {n: tuple(b) for n, b in space["ranges"].items()}
        # older files have no units, and no distributions
        parameters = ParameterSpace(ranges, space["scale"], space.get("units"), space.get("distributions"))
        families: list[CoefficientFamily] = []
        coefficients = partial(_read_sources, parameters=parameters, families=families)
        read = partial(_read, arrays=arrays, parameters=parameters, coefficients=coefficients)
        for k, made in enumerate(header.get("families", [])):
            families.append(read("coefficient family", _of_older_files("interpolated", made), f"families/{k}"))
        outputs: dict[str, ReducedOutput] = {}
        for k, made in enumerate(header["outputs"]):
            outputs[made["name"]] = read("output", _of_older_files("output", made), f"outputs/{k}")
        errors = header.get("interpolation_error")
        estimators = {}
        for name in header["estimators"]:
            entry = header.get("states", {}).get(name, {"kind": name})
            estimators[name] = read("estimator", entry, f"estimators/{name}")
        model = ReducedModel(
            parameters=parameters,
            operator_coefficients=coefficients(header["operator_coefficients"]),
            rhs_coefficients=coefficients(header["rhs_coefficients"]),
            stability=read("stability bound", _of_older_files("stability", header["stability"]), "stability"),
            projection=check_projection(header.get("projection", "galerkin")),
            interpolation_error=coefficients(errors) if errors else None,
            orthonormality=float(header.get("orthonormality", 1e-8)),  # files older than this: 1e-10 for each entry
            outputs=outputs,
            estimators=estimators,
            refused=dict(header["refused"]),
            selected=arrays.get("selected"),
            output_units=checked_units(header.get("output_units"), outputs, "output"),
            constraints=_read_constraints(header.get("constraints"), coefficients, arrays),
            measured=str(header.get("measured", "")),
            record=read_record(header, arrays, len(parameters)),
            **read_parts(header, arrays),
        )
        with by_definition():
            _try(model, terms)
        return model, {key: coefficients(header[key]) for key in more}
    except UnknownKind as error:
        raise FileFormatError(f"{file} holds {error}") from error
    except Exception as error:  # entries that do not belong together may fail in any of the classes above, in any way
        raise FileFormatError(f"{file} is not a complete reduced model: {type(error).__name__} {error}") from error


def _try(model: ReducedModel, terms: int) -> None:
    """Make one query with every estimator, so that arrays that do not fit each other are found now and not later."""
    mu = model.parameters.bounds[:, 0] / 2 + model.parameters.bounds[:, 1] / 2  # of wide ranges, too
    theta, phi = model.operator_coefficients(mu[None]), model.rhs_coefficients(mu[None])
    gamma = np.zeros((1, model.size), model.dtype)
    qa, rows, _ = model.operators.shape
    tall = model.projection == "least-squares" and rows >= model.size
    if qa != theta.shape[1] or not (rows == model.size or tall) or model.rhs.shape != (phi.shape[1], rows):
        raise ValueError("its reduced matrices have the wrong shapes")
    for state in model.estimators.values():
        state.evaluate(theta, phi, gamma)
    for name, output in model.outputs.items():
        if isinstance(output, ReducedLinear | ReducedQuadratic | ReducedRows) and output.size != model.size:
            raise ValueError(f"its output {name!r} is for {output.size} basis vectors, not {model.size}")
        with contextlib.suppress(ModelError):  # a dual problem may be singular just here
            output.value(mu[None], gamma), output.bound(mu[None], gamma, np.zeros(1))
    check_term_count(model.stability, qa - terms)
    with contextlib.suppress(StabilityError):  # the middle may be left out of the model's range of validity
        beta = model.stability(mu[None], np.ascontiguousarray(theta[:, : qa - terms]))
        if not (np.shape(beta) == (1,) and np.asarray(beta).dtype.kind == "f"):
            raise ValueError(f"its stability bound is {beta!r} at one point")
    if model.interpolation_error is not None and model.interpolation_error(mu[None]).shape != (1, 2):
        raise ValueError("its interpolation errors are not a pair")
    for name in ("basis", "selected"):
        array = getattr(model, name)
        if array is not None and model.size not in array.shape:
            raise ValueError(f"its {name} has the wrong shape {array.shape}")
    n = model.unknowns
    if model.constraints is not None and n is not None and len(model.constraints.free) != n:
        raise ValueError(f"it has {n} unknowns, its constraints {len(model.constraints.free)}")


def _written(
    role: str, saved: Any, prefix: str, *, arrays: dict[str, np.ndarray], families: list[CoefficientFamily] | None
) -> dict[str, Any]:
    """Return the header entry of a :class:`rbm.storage.registry.Saved`.

    Its arrays go to `arrays`, under the prefix, and families of coefficients to `families`, None for what may hold
    none.
    Raises ModelError for what :func:`load` could not read again.
    """
    cls, kind = type(saved), getattr(type(saved), "kind", None)
    if not (isinstance(kind, str) and callable(getattr(cls, "arrays", None)) and hasattr(cls, "from_arrays")):
        raise ModelError(
            f"a {cls.__name__} cannot be written to a file: it needs a class attribute `kind` and the methods arrays() "
            "and from_arrays() (rbm.storage.registry)"
        )
    owner = known(role).get(kind)
    if owner is not cls:
        whose = "" if owner is None else f", which is that of {owner.__name__}: give it a kind of its own"
        raise ModelError(
            f"a {cls.__name__} has the kind {kind!r}{whose}; register the class, @rbm.register({role!r}), so that "
            "files that hold it can be read"
        )
    header: dict[str, Any] = {"kind": kind}
    for name, value in saved.arrays().items():
        if isinstance(value, Coefficients):
            if families is None:
                raise ModelError(f"{name!r} of {cls.__name__}: a family of coefficients cannot hold coefficients")
            header.setdefault("sources", {})[name] = _write_sources(value, families)
        elif isinstance(value, tuple) and value and all(isinstance(text, str) for text in value):
            header.setdefault("texts", {})[name] = list(value)
        elif isinstance(value, ParameterSpace):  # the model's own, which the file holds
            header.setdefault("spaces", []).append(name)
        else:
            array = dense_entries(f"{name!r} of {cls.__name__}", value) if not _is_plain(value) else np.asarray(value)
            arrays[f"{prefix}/{name}"] = array
    return header


def _is_plain(value: Any) -> bool:
    """Say whether a value is a number or an array of numbers as it is, nothing that a file would change."""
    if isinstance(value, np.ma.MaskedArray) or not isinstance(value, np.ndarray | np.generic | float | int | complex):
        return False
    return np.asarray(value).dtype.kind in "biufc"


def _read(
    role: str,
    header: dict[str, Any],
    prefix: str,
    *,
    arrays: dict[str, np.ndarray],
    parameters: ParameterSpace,
    coefficients: Callable[[list[Any]], Coefficients],
) -> Any:
    """Make the object from what :func:`_written` returns, by the class that is registered for the kind."""
    start = f"{prefix}/"
    state: dict[str, Any] = {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}
    state |= {name: coefficients(sources) for name, sources in header.get("sources", {}).items()}
    state |= {name: tuple(map(str, texts)) for name, texts in header.get("texts", {}).items()}
    state |= dict.fromkeys(header.get("spaces", []), parameters) | header.get("numbers", {})
    return find(role, header["kind"]).from_arrays(state)


def _of_older_files(what: str, header: Any) -> dict[str, Any]:
    """Return a header entry as files of this version have it, from one that may be older."""
    if what == "interpolated":
        return {"kind": what, "texts": {"functions": header}} if isinstance(header, list) else header
    made = {"kind": "linear", **header}
    for name in ("coefficients", "coefficient"):
        if name in made:
            made["sources"] = {name: made.pop(name)}
    if "constant" in made:
        made["numbers"] = {"constant": made.pop("constant")}
    if made["kind"] in ("min-theta", "anchored"):
        made.setdefault("spaces", ["parameters"])
    return made


def _write_sources(coefficients: Coefficients, families: list[CoefficientFamily]) -> list[Any]:
    """Return coefficients in a form for the header.

    Numbers and texts stay as they are, complex numbers become pairs, and terms of a family hold its place in
    `families`, which is extended here.
    """

    for source in coefficients.sources:
        if callable(source):
            raise ModelError(
                f"the coefficient {getattr(source, '__name__', source)!r} is a Python callable, which a file cannot "
                'hold; write it as an expression string, for example "exp(1j*k)"'
            )

    def write(source: Any) -> Any:
        if isinstance(source, InterpolatedCoefficient):
            place = next((k for k, f in enumerate(families) if f is source.family), len(families))
            if place == len(families):
                families.append(source.family)
            return {"family": place, "term": source.term, "factor": write(source.factor)}
        return [source.real, source.imag] if isinstance(source, complex) else source

    return [write(s) for s in coefficients.sources]


def _read_sources(sources: list[Any], parameters: ParameterSpace, families: list[CoefficientFamily]) -> Coefficients:
    def read(source: Any) -> Any:
        if isinstance(source, dict):
            return InterpolatedCoefficient(families[source["family"]], source["term"], read(source["factor"]))
        return complex(*source) if isinstance(source, list) else source

    return Coefficients([read(s) for s in sources], parameters)


def _write_constraints(
    known: Constraints | None, write: Callable[[Any], Any], parameters: ParameterSpace, arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return the header entry of the fixed unknowns, if the model knows them; their arrays go to `arrays`."""
    if known is None:
        return {}
    arrays |= {f"constraints/{name}": getattr(known, name) for name in ("free", "fixed", "values")}
    return {"constraints": write(Coefficients(known.sources, parameters))}


def _read_constraints(
    sources: Any, read: Callable[[Any], Coefficients], arrays: dict[str, np.ndarray]
) -> Constraints | None:
    if sources is None:  # older files know none
        return None
    free, fixed, values = (arrays[f"constraints/{name}"] for name in ("free", "fixed", "values"))
    coefficients = read(sources)
    return Constraints(free, fixed, coefficients.sources, values, coefficients.parameters)
