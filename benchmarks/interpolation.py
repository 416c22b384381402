"""Empirical interpolation of g(x; mu) = 1 / |x - mu|: ours and pyMOR's, time and error at unseen parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import eim
from benchmarks.harness import fastest, fresh, require_pymor, text_table

RANK = 200
COMMON = 80
SIZES = (20, 40, 60, 80, 100, 150)
REPEATS = 3
OURS, PYMOR = "ours: incremental, stabilised", "pyMOR"


def run() -> dict[str, Any]:
    """Everything in one fresh process with one BLAS thread."""
    require_pymor()
    return fresh("benchmarks.interpolation:measure")


def table(result: dict[str, Any]) -> str:
    """Errors over the number of points; then time, triangularity and Lebesgue constant of every form."""
    ours = result["forms"][OURS]
    rows = [
        (
            f"M = {size}",
            f"{a:.2e}" + (f" at {ours['points']}" if size > ours["points"] else ""),
            f"{b:.2e}",
            f"{b / a:.3g}",
        )
        for size, a, b in result["errors"]
    ]
    peer = result["forms"][PYMOR]
    notes = [
        f"ours stops by {ours['stopped']} at {ours['points']} points; larger M shows its error there.",
        f"CPU seconds, {COMMON} points: ours {ours['cpu_common']:.4f}, pyMOR {peer['cpu_common']:.4f}, "
        f"pyMOR / ours = {peer['cpu_common'] / ours['cpu_common']:.1f}",
        f"CPU seconds, rank = {RANK}: ours {ours['cpu']:.4f} ({ours['points']} points), pyMOR {peer['cpu']:.4f} "
        f"({peer['points']} points), pyMOR / ours = {peer['cpu'] / ours['cpu']:.1f}",
        f"limit of ours: the residual matrix read and written once a point, {ours['points']} x "
        f"{result['copy'] * 1e3:.2f} ms "
        f"= {ours['points'] * result['copy']:.4f} s; ours / limit = "
        f"{ours['cpu'] / (ours['points'] * result['copy']):.1f}",
    ]
    first = text_table(
        "EIM: largest error at 200 unseen parameters, sup norm", ("", "ours", "pyMOR", "pyMOR / ours"), rows, notes
    )
    forms = [
        (
            name,
            f"{r['cpu']:.3f}" if r["cpu"] is not None else "",
            str(r["points"]),
            f"{r['defect']:.1e}",
            f"{r['lebesgue']:.1f}",
            f"{r['error']:.2e}",
        )
        for name, r in result["forms"].items()
    ]
    header = ("", "CPU s", "points", "max|triu(B,1)|", "Lebesgue", "error unseen")
    second = text_table(f"EIM: all forms, rank = {RANK}", header, forms)
    return f"{first}\n\n{second}"


def measure() -> dict[str, Any]:
    """Times, errors, triangularity defects and Lebesgue constants."""
    snapshots, unseen = family()
    forms = {
        OURS: _ours(snapshots),
        "ours: from scratch, stabilised": _ours(snapshots, incremental=False),
        "ours: from scratch, plain": _ours(snapshots, stabilized=False),
        PYMOR: _pymor(snapshots),
    }
    results = {name: build(RANK) for name, build in forms.items()}
    table = {name: {**_quality(r[0], r[1], unseen), "stopped": r[2]} for name, r in results.items()}
    for rank, key, names in ((RANK, "cpu", list(forms)), (COMMON, "cpu_common", [OURS, PYMOR])):
        works = {name: lambda b=forms[name], r=rank: b(r) for name in names}
        for name, seconds in fastest(works, REPEATS, time.process_time).items():
            table[name][key] = seconds
    basis, points, _ = results[OURS]
    rank = len(points)
    peer_basis, peer_points, _ = results[PYMOR]
    table[f"pyMOR, its first {rank}"] = {**_quality(peer_basis[:, :rank], peer_points[:rank], unseen), "cpu": None}
    errors = []
    for size in sorted({*SIZES, rank}):
        here = min(size, rank)
        pair = _error(basis[:, :here], points[:here], unseen), _error(peer_basis[:, :size], peer_points[:size], unseen)
        errors.append([size, *pair])
    target = np.empty_like(snapshots)
    copy = fastest({"copy": lambda: np.copyto(target, snapshots)}, 20)["copy"]
    return {"errors": errors, "forms": table, "copy": copy}


def family() -> tuple[np.ndarray, np.ndarray]:
    """Snapshots (2000, 400) and unseen functions (2000, 200).

    x on a 50 x 40 grid of the unit square, mu in [-1, -0.2]^2.
    """
    x = _grid(np.linspace(0, 1, 50), np.linspace(0, 1, 40))
    side = np.linspace(-1, -0.2, 20)
    return _inverse_distance(x, _grid(side, side)), _inverse_distance(
        x, np.random.default_rng(0).uniform(-1, -0.2, (200, 2))
    )


def _grid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)


def _inverse_distance(x: np.ndarray, mu: np.ndarray) -> np.ndarray:
    return 1 / np.linalg.norm(x[:, None] - mu[None], axis=2)


def _ours(snapshots: np.ndarray, **form: bool) -> Callable[[int], tuple[np.ndarray, np.ndarray, str]]:
    def build(rank: int) -> tuple[np.ndarray, np.ndarray, str]:
        result = eim.empirical_interpolation(snapshots, rank=rank, **form)
        return result.basis, result.points, result.stopped

    return build


def _pymor(snapshots: np.ndarray) -> Callable[[int], tuple[np.ndarray, np.ndarray, str]]:
    from pymor.algorithms.ei import ei_greedy
    from pymor.core.logger import set_log_levels
    from pymor.vectorarrays.numpy import NumpyVectorSpace

    set_log_levels({"pymor": "ERROR"})
    vectors = NumpyVectorSpace(len(snapshots)).from_numpy(np.asfortranarray(snapshots))

    def build(rank: int) -> tuple[np.ndarray, np.ndarray, str]:
        points, basis, _ = ei_greedy(vectors, error_norm="sup", max_interpolation_dofs=rank)
        return basis.to_numpy(), points, "rank"

    return build


def _interpolant(basis: np.ndarray, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Q B^{-1} values, B taken as unit lower triangular, as both libraries do."""
    return basis @ scipy.linalg.solve_triangular(basis[points], values, lower=True, unit_diagonal=True)


def _error(basis: np.ndarray, points: np.ndarray, unseen: np.ndarray) -> float:
    return float(np.abs(_interpolant(basis, points, unseen[points]) - unseen).max())


def _quality(basis: np.ndarray, points: np.ndarray, unseen: np.ndarray) -> dict[str, Any]:
    """Number of points, triangularity defect, Lebesgue constant, error at unseen parameters."""
    cardinal = _interpolant(basis, points, np.eye(len(points)))
    return {
        "points": len(points),
        "defect": float(np.abs(np.triu(basis[points], 1)).max()),
        "lebesgue": float(np.abs(cardinal).sum(axis=1).max()),
        "error": _error(basis, points, unseen),
    }
