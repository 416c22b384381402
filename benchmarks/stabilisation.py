"""Does stabilisation pay?

The forms of empirical interpolation on the products of a complex family, and E4 with each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rbm
from benchmarks.harness import fastest, text_table
from eim import empirical_interpolation
from lowrank.full_pivoting import SATURATION
from problems import acoustic_scattering
from rbm.estimators.coefficient_products import Products, evaluate_products
from rbm.estimators.interpolated_square import TrainingProducts
from rbm.online.reference import residual_coefficients
from rbm.reduction.projected_system import Reduction

EIM_SIZE = 8
TRAINING = 500


def measure() -> dict[str, Any]:
    """E4's array X of the complex model, N = 8: interpolated by the three forms of EIM; 258 unknowns."""
    model = acoustic_scattering("sphere", 2, 2.0, 3, susceptance=(-1.0, 1.0), progress=False)
    training = model.parameters.sample(TRAINING)
    basis = rbm.greedy(model, training, max_basis=EIM_SIZE, progress=False).basis
    known = TrainingProducts.of(model, basis, training, Reduction(model, basis))
    mus = model.parameters.sample(200, "random", rng=1)
    reduced = rbm.project(model, basis, ("E_onb",), training)
    gamma = reduced.solve(mus, estimate=False).coefficients
    exact = model.residual_norm(mus, gamma, basis)
    c = residual_coefficients(model.operator_coefficients(mus), model.rhs_coefficients(mus), gamma)
    rows = {}
    for name, options in {
        "incremental, stabilised": {},
        "from scratch, stabilised": {"incremental": False},
        "from scratch, plain": {"stabilized": False},
    }.items():
        last: dict[str, Any] = {}

        def build(options: dict[str, Any] = options, last: dict[str, Any] = last) -> None:
            last["it"] = empirical_interpolation(known.values, rtol=1e-15, **options)

        seconds = fastest({name: build}, 1)[name]
        it = last["it"]
        squares = model.residual_norm(training[it.snapshots], known.gamma[it.snapshots], basis) ** 2
        chosen = Products(*known.products.select(it.points))
        values = squares @ it.coefficients(evaluate_products(c, known.weights, chosen).T)
        ratio = np.sqrt(np.where(values > 0, values, np.nan)) / exact
        rows[name] = {
            "seconds": seconds,
            "terms": it.rank,
            "stopped": it.stopped,
            "defect": float(np.abs(np.triu(it.triangle, 1)).max()),
            "lebesgue": it.lebesgue_constant,
            "residual": float(it.residual_history[-1] / it.residual_history[0]),
            "deviation": [float(np.nanmedian(np.abs(ratio - 1))), float(np.nanmax(np.abs(ratio - 1)))],
            "negative": int(np.sum(values <= 0)),
        }
    return {"products": len(known.products.first), "rows": rows, "saturation": SATURATION * np.finfo(float).eps / 2}


def table(result: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{r['terms']} of {result['products']}",
            r["stopped"],
            f"{r['residual']:.1e}",
            f"{r['defect']:.1e}",
            f"{r['lebesgue']:.0f}",
            "{:.1e} / {:.1e}".format(*r["deviation"]),
            str(r["negative"]),
            f"{r['seconds']:.2f}",
        )
        for name, r in result["rows"].items()
    ]
    header = (
        "",
        "terms",
        "stopped",
        "residual",
        "max|triu(B,1)|",
        "Lebesgue",
        "|E4/E1 - 1| median / max",
        "squares <= 0",
        "CPU s",
    )
    return text_table(
        f"EIM of the products X, complex admittances, N = {EIM_SIZE}, tolerance 1e-15: does stabilisation pay?",
        header,
        rows,
    )
