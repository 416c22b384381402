"""Masked arrays in ml: np.asarray would show what their mask hides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ml
from problems.acoustics.shapes import surface
from problems.acoustics.surfaces import SurfaceMesh

TABLE = np.random.default_rng(0).standard_normal((20, 6))
EMBEDDING = ml.factorize_embedding(TABLE, 3)


def hidden(array: Any) -> np.ma.MaskedArray:
    mask = np.zeros(np.shape(array), dtype=bool)
    mask.flat[1] = True
    return np.ma.masked_array(array, mask=mask)


CALLS: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "table": lambda f: ml.factorize_embedding(f(TABLE), 3),
    "frequencies": lambda f: ml.factorize_embedding(TABLE, 3, frequencies=f(np.arange(1.0, 21))),
    "blocks": lambda f: ml.factorize_embedding(TABLE, 3, frequencies=f(np.arange(1.0, 21)), n_blocks=2),
    "metric": lambda f: ml.factorize_embedding(TABLE, 3, product=f(np.eye(6))),
    "tokens": lambda f: ml.FactorizedEmbedding(f(TABLE), np.eye(6)),
    "projection": lambda f: ml.FactorizedEmbedding(TABLE, f(np.eye(6))),
    "ids": lambda f: EMBEDDING.lookup(f(np.array([1, 2]))),
    "report": lambda f: EMBEDDING.report(f(TABLE)),
    "report by frequency": lambda f: EMBEDDING.report(TABLE, frequencies=f(np.arange(20.0))),
    "rounding": lambda f: ml.round_rows(f(TABLE), bits=4),
    "singular values": lambda f: ml.allocate_rank([f(np.array([3.0, 2.0]))], sizes=[10], budget=10),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_masked_array_is_refused_by_name(name: str) -> None:
    with pytest.raises(TypeError, match=r"is a masked array: 1 of its \d+ entries are hidden"):
        CALLS[name](hidden)


@pytest.mark.parametrize("name", CALLS)
def test_a_mask_that_hides_nothing_is_let_through(name: str) -> None:
    CALLS[name](np.ma.masked_array)


def test_vertices_of_a_surface() -> None:
    mesh = surface("sphere", level=0)
    with pytest.raises(Exception, match="mask"):
        SurfaceMesh(hidden(mesh.vertices), mesh.triangles)
