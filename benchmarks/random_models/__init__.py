"""Families of random small models, for checks against exact arithmetic: FAMILIES[name](rng) draws a :class:`Case`."""

from benchmarks.random_models import outputs, stability, units
from benchmarks.random_models.bases import FAMILIES, Family
from benchmarks.random_models.case import Case, dense
from benchmarks.random_models.kit import Kit

__all__ = ["FAMILIES", "Case", "Family", "Kit", "dense", "outputs", "stability", "units"]
