"""Small scattering models, from matrices that are stored beside the tests: no boundary element package is needed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from problems.scattering import ScatteringModel, acoustic_scattering
from rbm.stability import Anchored

DATA = Path(__file__).parent / "data"
#: Near the first interior resonance, pi on the sphere, which the mesh of 66 unknowns shifts to 3.24.
RESONANCE = 3.22
#: Wavenumbers that are no nodes of :func:`wavenumber_model`, with matrices stored as well.
UNSEEN = (0.3, 0.41, 0.57, 0.733, 0.92, 1.07)


@lru_cache(maxsize=8)
def scattering(complex_valued: bool = False, shape: str = "sphere") -> ScatteringModel:
    """66 unknowns, two parts, k = 2."""
    return acoustic_scattering(shape, 2, 2.0, 2, **_settings(complex_valued))


@lru_cache(maxsize=2)
def wavenumber_model(complex_valued: bool = False) -> ScatteringModel:
    """18 unknowns, two parts, k in [0.3, 1.1]."""
    return acoustic_scattering("sphere", 2, (0.3, 1.1), 1, **_settings(complex_valued))


def _settings(complex_valued: bool) -> dict:
    # anchors are chosen anew: their cache is for the machine that wrote it
    return {
        "susceptance": (-1.0, 1.0) if complex_valued else None,
        "stability": Anchored(progress=False),
        "cache": DATA,
        "progress": False,
    }
