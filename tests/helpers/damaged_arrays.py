"""Damages of one array of something stored, that a file could hold with all its checksums right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rbm.storage.archive import read_archive, write_archive

__all__ = ["damages", "with_array"]

#: Where it stands for an array that is left out.
MISSING = object()


def damages(array: Any, *, objects: bool = True) -> Iterator[tuple[str, Any, bool]]:
    """Yield (what was done, the array after it, whether it must be refused) for every damage of an array.

    What need not be refused is another array of the same kind, which may be what somebody meant, or the same numbers.
    """
    a = np.asarray(array)
    kind = a.dtype.kind
    yield "missing", MISSING, True
    yield "strings", a.astype(str), True
    if objects:
        yield "objects", a.astype(object), True
        yield "none", None, True
        yield "a list", a.tolist() if a.ndim else [a.item()], True
        yield "masked", np.ma.masked_array(a, mask=True), True
    if kind != "i":
        with np.errstate(invalid="ignore"):
            yield "whole numbers", np.nan_to_num(a.real, posinf=1.0).astype(np.int64), True
    if kind != "b":
        yield "true or false", a != 0, True
    if kind in "fib":
        yield "complex numbers", a.astype(complex) * (1 + 1j), True
    if kind in "fc":
        yield "single precision", a.astype(np.complex64 if kind == "c" else np.float32), True
        yield "NaN", np.full_like(a, np.nan), a.size > 0
        yield "infinite", np.full_like(a, -np.inf), a.size > 0
    if kind == "i":
        yield "floats", a.astype(float), True
        yield "negative", a - 10**6, a.size > 0
        yield "large", a + 10**6, a.size > 0
    yield "one more axis", a[None], True
    if a.ndim:
        yield "a number", a.ravel()[0] if a.size else a.dtype.type(0), True
        yield "three more axes", a[None, None, None], True
        yield "none of it", a[:0], len(a) > 0
        yield "the first only", a[:1], False
        yield "one less", a[1:], False
        yield "one more", np.concatenate([a, a[-1:]]), False
        yield "in reverse", a[::-1].copy(), False
        yield "transposed", a.T.copy(), False
        yield "all the same", np.broadcast_to(a[:1], a.shape).copy(), False
    if kind in "fc":
        yield "opposite", -a, False
        yield "zero", np.zeros_like(a), False


def with_array(path: Path, name: str, array: Any) -> None:
    """Write a model file anew with another array, checksums and all."""
    header, arrays = read_archive(path, "reduced model")
    arrays = {n: a for n, a in arrays.items() if n != name} | ({} if array is MISSING else {name: array})
    plain = {k: v for k, v in header.items() if k not in ("format", "version", "sha256", "header_sha256")}
    write_archive(path, plain, arrays)
