"""Files of quantised modules: packed codes of the weights, and all other parameters and buffers as they are.

NumPy's .npz, or .safetensors. Both hold a SHA-256 of all names, types, shapes and entries, which detects damage, not
forgery. Nothing in a file is run: it holds numbers and one JSON text of names, and the architecture is that of the
module it is loaded into.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.quantized import Quantized
from lowrank.reading import FileFormatError, json_from
from ml.array_files import CHECKSUM, pop_checksum, read_arrays, suffix_of, write_arrays
from ml.quantization.memory import overlaps_itself
from ml.quantization.post_training import install
from ml.quantization.report import QuantizationReport, check_report, stored_tensors, without
from ml.quantization.sites import checked_module, sites_of

__all__ = ["load_quantized", "save_quantized"]

MARK, NAMES = "quantized_module", "names"
VERSION = 1
WHAT = "quantised module"
KEYS = re.compile(r"weight_\d+_(codes|scales|bits|header)|kept_\d+")
#: Types that NumPy lacks are stored as integers of the same width.
FOREIGN = {"bfloat16": "int16"}
NOT_WHOLE = "{} is not a whole file of a quantised module; write it again with ml.save_quantized"


def save_quantized(module: Any, report: QuantizationReport, path: str | os.PathLike[str]) -> None:
    """Write a quantised module to a file, whose suffix decides the format; see :func:`load_quantized`.

    Codes and scales are those of the report, which :func:`ml.quantize_module` and :func:`ml.freeze_quantized` return;
    all other parameters and stored buffers are those of the module. The file has `report.nbytes` bytes, and some 300
    (.npz) or 100 (.safetensors) for every array in it, four of a weight and one of what is left as it is. It is written
    whole or not at all, and replaces one that is there.

    Raises
    ------
    ValueError
        another suffix, a module whose weights are not those of the report any more, state that is no tensor.
    ImportError
        PyTorch, or safetensors for its suffix, is not installed, with the line that installs it.
    OSError
        a folder that does not exist or may not be written to.
    """
    torch = checked_module(module)
    suffix_of(path)
    state = module.state_dict(keep_vars=True)
    other = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if other:
        kind = type(state[other[0]]).__name__
        raise ValueError(f"the state {other[0]} of the module is a {kind} and no tensor: no file here can hold it")
    check_report(module, report)
    arrays: dict[str, np.ndarray] = {}
    for k, quantized in enumerate(report.weights.values()):
        arrays |= {f"weight_{k}_{key}": array for key, array in quantized.arrays().items()}
    kept = without(stored_tensors(module), [state[name] for name in report.weights])
    types = []
    for k, (name, tensor) in enumerate(kept.items()):
        arrays[f"kept_{k}"], kind = _to_numpy(name, tensor)
        types.append([name, kind])
    text = json.dumps({"weights": [list(names) for names in report.names.values()], "kept": types})
    arrays[NAMES] = np.frombuffer(text.encode(), np.uint8)
    arrays[MARK] = np.array([VERSION, len(report.weights), len(kept)], dtype=np.int64)
    write_arrays(path, arrays)


def load_quantized(path: str | os.PathLike[str], module: Any) -> QuantizationReport:
    """Read what :func:`save_quantized` wrote into a module of the same architecture, in place.

    Weights are decoded, in the type and on the device of the module; parameters and buffers that were kept are copied.
    The module is filled whole or not at all.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        a file that is damaged, altered, compressed, of a later version, or holds something else: a ValueError that
        names the file.
    ValueError
        a module with other names, ties or shapes, another suffix, a folder.
    ImportError
        PyTorch, or safetensors for its suffix, is not installed, with the line that installs it.
    """
    torch = checked_module(module)
    name = os.fspath(path)
    arrays = read_arrays(path, partial(_check_keys, name), WHAT)
    pop_checksum(name, arrays)
    names, kept, weights = _content(name, arrays)
    by_name = {site.name: site for site in sites_of(module)}
    for ties in names:
        site = by_name.get(ties[0])
        if site is None or tuple(site.parameter.shape) != weights[ties[0]].shape or set(site.names) != set(ties):
            there = "no such weight" if site is None else f"{', '.join(site.names)} {tuple(site.parameter.shape)}"
            raise ValueError(
                f"{name} has the weight {', '.join(ties)} {weights[ties[0]].shape}, the module {there}: build the "
                "module as it was when the file was written"
            )
    others = without(stored_tensors(module), [by_name[ties[0]].parameter for ties in names])
    values = {n: _to_torch(torch, a, kind, n, name) for n, (a, kind) in kept.items()}
    for n in sorted(values.keys() | others.keys()):
        there, here = (_described(parts.get(n)) for parts in (values, others))
        if there != here:
            raise ValueError(f"{name} and the module differ in {n!r}: {there} in the file, {here} in the module")
        if overlaps_itself(others[n]) or (others[n].is_inference() and not torch.is_inference_mode_enabled()):
            raise ValueError(f"{n} of the module cannot be written to (expand, inference mode): make a copy, .clone()")
        if not torch.equal(values[n].isfinite(), values[n].to(others[n].dtype).isfinite()):
            raise ValueError(f"{n} of {name} has numbers beyond {others[n].dtype}, the type that the module has")
    report = install(module, [by_name[ties[0]] for ties in names], weights)
    with torch.no_grad():
        for n, value in values.items():
            others[n].copy_(value)
    errors = dict.fromkeys(report.errors, float("nan"))
    return QuantizationReport(report.weights, report.names, errors, report.kept, report.bytes_before)


def _described(tensor: Any) -> str:
    """Return shape and sort of numbers: within a sort they may be converted, as from single precision to half."""
    if tensor is None:
        return "none"
    sort = "real" if tensor.is_floating_point() else "complex" if tensor.is_complex() else str(tensor.dtype)[6:]
    return f"{tuple(tensor.shape)} {sort}"


def _content(
    name: str, arrays: Mapping[str, np.ndarray]
) -> tuple[list[list[str]], dict[str, tuple[np.ndarray, str]], dict[str, Quantized]]:
    """Return the names of the weights, what was kept with its types, and the codes; all of it checked."""
    mark = arrays[MARK]
    if mark.shape != (3,) or mark.dtype.kind != "i":
        raise FileFormatError(NOT_WHOLE.format(name))
    version, count, others = (int(x) for x in mark)
    if version != VERSION:
        raise FileFormatError(f"{name} has file version {version}, this package reads {VERSION}; upgrade rbm-toolkit")
    expected = {f"weight_{k}_{key}" for k in range(count) for key in ("codes", "scales", "bits", "header")}
    expected |= {f"kept_{k}" for k in range(others)} | {MARK, NAMES}
    if set(arrays) != expected or arrays[NAMES].dtype != np.uint8:
        raise FileFormatError(NOT_WHOLE.format(name))
    found = json_from(name, arrays[NAMES].tobytes(), kind=WHAT)
    names, types = found.get("weights"), found.get("kept")
    if (
        not isinstance(names, list)
        or not isinstance(types, list)
        or (len(names), len(types)) != (count, others)
        or not all(isinstance(n, list) and n and all(isinstance(x, str) for x in n) for n in names)
        or not all(isinstance(t, list) and len(t) == 2 and all(isinstance(x, str) for x in t) for t in types)
        or len({x for n in names for x in n} | {t[0] for t in types}) < sum(map(len, names)) + len(types)
    ):
        raise FileFormatError(NOT_WHOLE.format(name))
    weights = {}
    for k, ties in enumerate(names):
        parts = {key: arrays[f"weight_{k}_{key}"] for key in ("codes", "scales", "bits", "header")}
        try:
            weights[ties[0]] = Quantized.from_arrays(parts)
        except ValueError as error:
            raise FileFormatError(f"{name} holds no valid codes of {ties[0]}: {error}") from error
    return names, {n: (arrays[f"kept_{k}"], kind) for k, (n, kind) in enumerate(types)}, weights


def _to_numpy(name: str, tensor: Any) -> tuple[np.ndarray, str]:
    torch = require("torch", "torch", "ml.save_quantized", "ml")
    kind = str(tensor.dtype).removeprefix("torch.")
    host = tensor.detach().cpu().contiguous()
    if kind in FOREIGN:
        return host.view(getattr(torch, FOREIGN[kind])).numpy(), kind
    try:
        return host.numpy(), kind
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name} has the type {kind}, which no file of this package holds ({error})") from None


def _to_torch(torch: Any, array: np.ndarray, kind: str, name: str, file: str) -> Any:
    found = torch.from_numpy(np.ascontiguousarray(array)) if array.ndim else torch.tensor(array[()])
    if kind in FOREIGN and str(found.dtype) == f"torch.{FOREIGN[kind]}":
        return found.view(getattr(torch, kind))
    if str(found.dtype) != f"torch.{kind}":
        raise FileFormatError(f"{file} holds {name} as {found.dtype} and says it is {kind}: it is damaged")
    return found


def _check_keys(name: str, keys: Collection[str]) -> None:
    """Refuse a file by its names, before any array is read."""
    if MARK not in keys:
        raise FileFormatError(f"{name} does not hold a quantised module; write it with ml.save_quantized")
    if not all(k in (MARK, NAMES, CHECKSUM) or KEYS.fullmatch(k) for k in keys) or CHECKSUM not in keys:
        raise FileFormatError(NOT_WHOLE.format(name))
