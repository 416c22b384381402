"""Reduced models and greedy runs in one file each: portable, checked, and never a program.

A file is an uncompressed zip archive: ``header.json`` (format name, version, kind, names, numbers, expressions, and the
SHA-256 of every array and of the header itself, which detect damage, not forgery) and one ``.npy`` per array. It is read with every check on and without
pickle: nothing in it can be executed. It is written to a temporary file beside the target, flushed to disk and renamed, so
that an interrupted save leaves the old file untouched.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tokenize
import uuid
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rbm.coefficients import Coefficients
from rbm.errors import FileFormatError, ModelError
from rbm.estimators import METHODS
from rbm.parameters import ParameterSpace
from rbm.reduced import ReducedModel, ReducedOutput
from rbm.stability import BoundMinTheta, CoefficientBound, StabilityBound

if TYPE_CHECKING:
    from rbm.greedy import GreedyStep

__all__ = ["load", "load_greedy", "save", "save_greedy"]

FORMAT = "rbm-toolkit"
VERSION = 1
MAX_HEADER = 1 << 20


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
        arrays[f"outputs/{k}/vectors"], arrays[f"outputs/{k}/dual"] = output.vectors, output.dual
    header = {
        "kind": "reduced model",
        "parameters": {
            "ranges": dict(zip(model.parameters.names, model.parameters.bounds.tolist(), strict=True)),
            "scale": model.parameters.scale,
        },
        "operator_coefficients": _write_sources(model.operator_coefficients),
        "rhs_coefficients": _write_sources(model.rhs_coefficients),
        "stability": _write_stability(model.stability, arrays),
        "outputs": [{"name": n, "coefficients": _write_sources(o.coefficients)} for n, o in model.outputs.items()],
        "estimators": list(states),
        "refused": refused,
    }
    _write(target, header, arrays)


def load(path: str | os.PathLike[str]) -> ReducedModel:
    """Read a reduced model written by :meth:`rbm.ReducedModel.save`; solve and estimate give the same bits as before.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        the file is truncated, altered, of a newer version, of another kind, or holds pickled objects. Nothing in it is run.
    """
    header, arrays = _read(path, "reduced model")
    try:
        space = header["parameters"]
        parameters = ParameterSpace({n: tuple(b) for n, b in space["ranges"].items()}, scale=space["scale"])
        outputs = {
            o["name"]: ReducedOutput(
                _read_sources(o["coefficients"], parameters),
                arrays[f"outputs/{k}/vectors"],
                arrays[f"outputs/{k}/dual"],
            )
            for k, o in enumerate(header["outputs"])
        }
        estimators = {}
        for name in header["estimators"]:
            prefix = f"estimators/{name}/"
            state = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
            estimators[name] = METHODS[name].from_arrays(state)
        model = ReducedModel(
            parameters=parameters,
            operator_coefficients=_read_sources(header["operator_coefficients"], parameters),
            rhs_coefficients=_read_sources(header["rhs_coefficients"], parameters),
            stability=_read_stability(header["stability"], arrays, parameters),
            operators=arrays["operators"],
            rhs=arrays["rhs"],
            outputs=outputs,
            estimators=estimators,
            refused=dict(header["refused"]),
            basis=arrays.get("basis"),
            selected=arrays.get("selected"),
        )
        _try(model)
        return model
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FileFormatError(
            f"{os.fspath(path)} is not a complete reduced model: {type(error).__name__} {error}"
        ) from error


def _try(model: ReducedModel) -> None:
    """One query with every estimator, so that arrays that do not fit each other are found now and not later."""
    mu = model.parameters.bounds.mean(axis=1)
    theta, phi = model.operator_coefficients(mu[None]), model.rhs_coefficients(mu[None])
    gamma = np.zeros((1, model.size), model.dtype)
    if model.operators.shape != (theta.shape[1], model.size, model.size) or model.rhs.shape != (
        phi.shape[1],
        model.size,
    ):
        raise ValueError("its reduced matrices have the wrong shapes")
    for state in model.estimators.values():
        state.evaluate(theta, phi, gamma)
    for output in model.outputs.values():
        psi = output.coefficients(mu[None])
        _ = (psi @ output.vectors) * gamma, psi @ output.dual.T
    for name in ("basis", "selected"):
        array = getattr(model, name)
        if array is not None and model.size not in array.shape:
            raise ValueError(f"its {name} has the wrong shape {array.shape}")


def save_greedy(
    basis: np.ndarray,
    parameters: np.ndarray,
    history: Sequence[GreedyStep],
    fingerprint: str,
    path: str | os.PathLike[str],
) -> None:
    """Write what :func:`rbm.greedy` needs to go on."""
    rows = np.array([[s.size, s.bound, s.floor, s.resolved, s.seconds, *s.parameter] for s in history], dtype=float)
    header = {"kind": "greedy run", "fingerprint": fingerprint}
    _write(Path(path), header, {"basis": basis, "parameters": parameters, "history": rows})


def load_greedy(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Basis (n, N), parameters (N, p), history rows (size, bound, floor, resolved, seconds, parameter), model fingerprint."""
    header, arrays = _read(path, "greedy run")
    try:
        return arrays["basis"], arrays["parameters"], arrays["history"], str(header["fingerprint"])
    except KeyError as error:
        raise FileFormatError(f"{os.fspath(path)} is not a complete greedy run: {error} is missing") from error


def write_atomically(target: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `target` whole or not at all; through a symbolic link, to where it points.

    Raises OSError that names the target: a folder that does not exist or may not be written to, a target that is a folder.
    A device or a pipe is written to as such.
    """
    path = Path(os.path.realpath(target))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, give a file name", os.fspath(target))
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write to folder {path.parent} ({error.strerror})", os.fspath(target)
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(target: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    blobs = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
        blobs[name] = buffer.getvalue()
    header = {
        "format": FORMAT,
        "version": VERSION,
        **header,
        "sha256": {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()},
    }
    header["header_sha256"] = _digest(header)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, blob in {
            "header.json": json.dumps(header, indent=1).encode(),
            **{f"{n}.npy": b for n, b in blobs.items()},
        }.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), blob)  # same model, same bytes
    write_atomically(target, content.getvalue())


def _digest(header: dict[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps({k: v for k, v in header.items() if k != "header_sha256"}, sort_keys=True).encode()
    ).hexdigest()


def _read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    name = os.fspath(path)
    with open(path, "rb") as file:
        content = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > len(
                content
            ):
                raise FileFormatError(f"{name} is not a model file of this package: its entries are compressed")
            if "header.json" not in archive.namelist() or archive.getinfo("header.json").file_size > MAX_HEADER:
                raise FileFormatError(f"{name} is not a model file of this package: it has no header")
            header = json.loads(archive.read("header.json"))
            blobs = {e.filename: archive.read(e) for e in entries if e.filename != "header.json"}
    except (
        zipfile.BadZipFile,
        json.JSONDecodeError,
        UnicodeDecodeError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise FileFormatError(
            f"{name} is not a model file, or is truncated or damaged ({error}); make it again or copy it anew"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError(f"{name} is not a model file of this package")
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise FileFormatError(
            f"{name} has file version {version}, this package reads up to {VERSION}; upgrade rbm-toolkit"
        )
    if header.get("header_sha256") != _digest(header):
        raise FileFormatError(
            f"{name} was altered: its header does not match its checksum; make it again or copy it anew"
        )
    if header.get("kind") != kind:
        raise FileFormatError(f"{name} holds a {header.get('kind')}, not a {kind}")
    expected = header.get("sha256")
    if not isinstance(expected, dict) or {f"{n}.npy" for n in expected} != set(blobs):
        raise FileFormatError(f"{name} was altered: its arrays are not the ones its header lists")
    arrays = {}
    for key, checksum in expected.items():
        blob = blobs[f"{key}.npy"]
        if hashlib.sha256(blob).hexdigest() != checksum:
            raise FileFormatError(f"{name} was altered or damaged: array {key!r} does not match its checksum")
        try:
            arrays[key] = np.lib.format.read_array(io.BytesIO(blob), allow_pickle=False)
        except (ValueError, MemoryError, EOFError, SyntaxError, tokenize.TokenError) as error:
            raise FileFormatError(
                f"{name} holds an array {key!r} that is not plain numbers ({error}); it was not read"
            ) from error
        if arrays[key].dtype.kind not in "biufc":
            raise FileFormatError(
                f"{name} holds an array {key!r} that is not plain numbers (dtype {arrays[key].dtype})"
            )
    return header, arrays


def _write_sources(coefficients: Coefficients) -> list[Any]:
    return [[s.real, s.imag] if isinstance(s, complex) else s for s in coefficients.sources]


def _read_sources(sources: list[Any], parameters: ParameterSpace) -> Coefficients:
    return Coefficients([complex(*s) if isinstance(s, list) else s for s in sources], parameters)


def _write_stability(stability: StabilityBound, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if isinstance(stability, BoundMinTheta):
        arrays["stability/reference"] = stability.reference
        return {"kind": "min-theta", "constant": stability.constant}
    if isinstance(stability, CoefficientBound):
        return {"kind": "coefficient", "coefficient": _write_sources(stability.coefficient)}
    raise ModelError(f"a stability bound of type {type(stability).__name__} cannot be written to a file")


def _read_stability(
    header: dict[str, Any], arrays: dict[str, np.ndarray], parameters: ParameterSpace
) -> StabilityBound:
    if header["kind"] == "min-theta":
        return BoundMinTheta(arrays["stability/reference"], header["constant"], parameters)
    return CoefficientBound(_read_sources(header["coefficient"], parameters))
