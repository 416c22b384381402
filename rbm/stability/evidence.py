"""How far a stability bound can be trusted: proved, measured, sampled or given."""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp

from rbm.stability.min_theta import MinTheta

__all__ = ["EVIDENCE", "KINDS", "evidence"]

#: What is said of a bound, and what it means.
EVIDENCE = {
    "proved": "a lower bound with its rounding, by eliminations whose errors are charged",
    "measured": "computed with a generous allowance for rounding, which is not an enclosure",
    "sampled": "looked at in samples, and nowhere else",
    "given": "the user's claim, taken as it is; refuted by the greedy and verify() where it is found to be too large",
}
#: What is known of a bound by its kind alone, of files that do not say more.
KINDS = {"min-theta": "proved", "pencil": "proved", "scm": "proved", "natural-norm": "proved", "coefficient": "given"}


def evidence(model: Any) -> str:
    """Return "proved", "measured", "sampled" or "given" for the stability bound of an :class:`rbm.FullOrderModel`.

    A user's own bound says it by an attribute `evidence`, and is "given" without. The bound from anchors is proved
    where product and terms are all sparse, a min-theta bound where its constant was not given, and nothing is where the
    definiteness of the product was measured (docs/certified-bounds.md).
    """
    bound = model.stability
    if (own := getattr(bound, "evidence", None)) in EVIDENCE:
        return str(own)
    known = KINDS.get(getattr(bound, "kind", ""), "given")
    if isinstance(model.stability_given, MinTheta) and model.stability_given.constant is not None:
        return "given"
    if getattr(bound, "kind", "") == "anchored":
        sparse = all(sp.issparse(matrix) for matrix in (model.product, *model.operator_terms))
        known = "proved" if sparse else "measured"
    return "measured" if known == "proved" and model.inner_product.measured else known
