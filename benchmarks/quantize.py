"""Bits: throughput and errors of quantised arrays, allocations, and the encoder of residual codes."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np

from benchmarks.harness import fastest, fresh, text_table
from lowrank import ResidualQuantizer, allocate_bits, gaussian_losses, quantize

ROWS, WIDTH = 1000, 768
BITS = (2, 3, 4, 8, 12, 24)
#: Chunks of 10 x 12 numbers, 4 integers below 256 each.
LEVELS, CODES, CHUNK = 4, 256, 120
SAMPLES = 3600


def run() -> dict[str, Any]:
    """Every part in a fresh process with one thread of every library."""
    return {name: fresh(f"benchmarks.quantize:measure_{name}") for name in ("arrays", "allocation", "encoder")}


def table(result: dict[str, Any]) -> str:
    """One table of arrays, one of allocations, one of the encoder."""
    arrays, allocation, encoder = (result[k] for k in ("arrays", "allocation", "encoder"))
    rows = [
        (
            f"{r['bits']}", f"{r['quantize']:.2f}", f"{r['search']:.3f}", f"{r['to_dense']:.2f}", f"{r['bytes']:.3f}",
            f"{r['loss']:.3e}", f"{r['searched']:.3e}", f"{r['optimum']:.3e}",
        )
        for r in arrays["bits"]
    ]  # fmt: skip
    header = ("bits", "quantize", "searched", "to_dense", "size", "E, gamma 1", "E, searched", "E, optimum")
    first = text_table(
        f"{ROWS} x {WIDTH} normal numbers in double precision: GB/s of the array, size, mean square error E",
        header,
        rows,
        [
            f"NumPy copy: {arrays['copy']:.2f} GB/s. Optimum: of a uniform quantiser of normal numbers, by "
            "integration; below it, a row has no tail"
        ],
    )
    rows = [
        (str(r["mean"]), f"{r['gaussian']:.3f}", f"{r['closed']:.3f}", f"{r['even']:.2f}" if r["even"] else "")
        for r in allocation["means"]
    ]
    second = text_table(
        "Measured square error of 24 rows of variances 0.01 to 1, divided by that of exact bits for the rate 4^-b",
        ("mean bits", "exact, Gaussian losses", "closed form", "same bits"),
        rows,
        [f"{k} blocks of equal size: {t}" for k, t in allocation["seconds"].items()],
    )
    third = text_table(
        f"Codes of chunks of {CHUNK} numbers, {LEVELS} levels of {CODES}: microseconds a chunk",
        ("", "one at a time, wall", f"{SAMPLES} together, CPU"),
        [(name, f"{r[0]:.1f}", f"{r[1]:.1f}") for name, r in encoder["times"].items()],
        [f"{encoder['flops'] / 1e6:.2f} Mflop a chunk; relative error of the samples {encoder['error']:.3f}"],
    )
    return "\n\n".join((first, second, third))


def measure_arrays() -> dict[str, Any]:
    """Speed and error of quantised normal numbers."""
    a = np.random.default_rng(0).standard_normal((ROWS, WIDTH))
    optimum, found = gaussian_losses(), []
    for bits in BITS:
        plain = quantize(a, bits)
        times = fastest({"quantize": lambda b=bits: quantize(a, b), "to_dense": plain.to_dense}, 5)
        start = time.perf_counter()
        searched = quantize(a, bits, gamma="search")
        search = time.perf_counter() - start
        found.append(
            {
                "bits": bits, "bytes": plain.nbytes / a.nbytes, "loss": plain.error(a) ** 2,
                "searched": searched.error(a) ** 2, "optimum": float(optimum[bits]), "search": a.nbytes / search / 1e9,
                **{k: a.nbytes / t / 1e9 for k, t in times.items()},
            }
        )  # fmt: skip
    return {"bits": found, "copy": a.nbytes / fastest({"": a.copy}, 20)[""] / 1e9}


def measure_allocation() -> dict[str, Any]:
    """Loss models compared by what real quantisers lose, and seconds of the solvers."""
    means = []
    for mean in (1.5, 2, 2.5, 3, 4, 6):
        ratios = np.array([_ratios(mean, seed) for seed in range(4)])
        means.append(dict(zip(("mean", "gaussian", "closed", "even"), (mean, *np.mean(ratios, axis=0)), strict=True)))
    seconds = {}
    for k in (40, 100):
        rng = np.random.default_rng(k)
        options = {"variance": 10.0 ** rng.uniform(-6, 0, k), "sizes": [1741] * k, "budget": 4 * 1741 * k}
        part = []
        for method in ("closed", "greedy", "exact"):
            start = time.perf_counter()
            loss = allocate_bits(**options, method=method).loss
            part.append(f"{method} {time.perf_counter() - start:.3f} s, loss {loss:.6g}")
        seconds[str(k)] = "; ".join(part)
    return {"means": means, "seconds": seconds}


def _ratios(mean: float, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    variance, n = 10.0 ** rng.uniform(-2, 0, 24), 2000
    a = rng.standard_normal((24, n)) * np.sqrt(variance)[:, None]
    options = {"variance": variance, "sizes": [n] * 24, "budget": 24 * n * mean}

    def lost(bits: Any) -> float:
        return float(np.sum((a - quantize(a, bits, gamma="search").to_dense()) ** 2))

    rate = lost(list(allocate_bits(**options, method="exact").bits))
    gaussian = lost(list(allocate_bits(**options, method="exact", model="gaussian").bits))
    closed = lost(list(allocate_bits(**options).bits))
    return gaussian / rate, closed / rate, (lost(int(mean)) / rate if mean == int(mean) else 0.0)


def measure_encoder() -> dict[str, Any]:
    """Time of a chunk, one by one and all together, beside scikit-learn's prediction level after level."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((SAMPLES, 8))
    x = np.sin(hidden @ rng.standard_normal((8, CHUNK))) + 0.05 * rng.standard_normal((SAMPLES, CHUNK))
    codes = ResidualQuantizer(LEVELS, CODES, max_iter=5).fit(x)
    times = {"ours": _both(codes.encode, x)}
    if importlib.util.find_spec("sklearn"):
        from sklearn.cluster import KMeans

        peers = []
        for book in codes.codebooks:
            peer = KMeans(CODES, init=book, n_init=1, max_iter=1).fit(x[:CODES])
            peer.cluster_centers_ = np.ascontiguousarray(book)
            peers.append(peer)

        def predict(rest: np.ndarray) -> np.ndarray:
            rest, found = np.atleast_2d(rest), []
            for peer in peers:
                found.append(peer.predict(rest))
                rest = rest - peer.cluster_centers_[found[-1]]
            return np.stack(found, axis=1)

        assert np.mean(predict(x) == codes.encode(x)) > 0.999  # distances may tie within rounding
        times["scikit-learn KMeans.predict, level after level"] = _both(predict, x)
    flops = 2 * LEVELS * CODES * CHUNK
    return {"times": times, "flops": flops, "error": float(codes.error_per_level[-1])}


def _both(encode: Any, x: np.ndarray) -> list[float]:
    one = fastest({"": lambda: encode(x[7])}, 300)[""]
    together = fastest({"": lambda: encode(x)}, 5, time.process_time)[""]
    return [1e6 * one, 1e6 * together / len(x)]
