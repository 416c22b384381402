"""What messages advise where a bound for coercive models does not apply."""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp

__all__ = ["for_any_model"]


def for_any_model(matrix: Any) -> str:
    """Return the bound that holds for any model, as it is written, with the projection that goes with it.

    matrix : one of the model's; the bound is sparse for sparse models of any size, dense for others
    """
    name = "NaturalNorm" if sp.issparse(matrix) else "Anchored"
    return f'rbm.stability.{name}() with projection="least-squares", which holds for any terms'
