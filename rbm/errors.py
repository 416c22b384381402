"""The errors of this package. All derive from the built-in class a caller would expect, so plain `except` clauses work."""

from __future__ import annotations

from typing import Any

__all__ = ["EstimatorUnusable", "FileFormatError", "Interrupted", "ModelError", "ParameterError", "StabilityError"]


class ModelError(ValueError):
    """The full-order model is not what it claims: shapes, a product that is not positive definite, a singular matrix."""


class ParameterError(ValueError):
    """A parameter value that is outside its range, NaN, or of the wrong shape or name."""


class StabilityError(ValueError):
    """A stability bound that is not a positive number, or a min-theta bound whose conditions do not hold."""


class EstimatorUnusable(ValueError):
    """An estimator that round-off has made meaningless for this model (a singular T in E3, say)."""


class FileFormatError(ValueError):
    """A file that is not a whole, unaltered model file of a version this package reads."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during long work; `result` holds what was finished."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result
