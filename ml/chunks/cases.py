"""What the study of chunks measures: errors at equal bits, the encoder, the clock, and walks of the robot."""

from __future__ import annotations

import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.chunks.convolutional import ConvolutionalTokenizer
from ml.chunks.gaits import CONTROL_SECONDS, FAMILIES, LIMITS, Gait, varied_gaits
from ml.chunks.quadruped import Quadruped, Steered, tune_gait
from ml.chunks.scalar_codes import bin_error, pod_tables, relative_error
from ml.chunks.splitting import split
from ml.chunks.tokenizer import ActionCodes, ActionTokenizer

__all__ = [
    "BITS",
    "clock",
    "convolutional_errors",
    "encoder_times",
    "errors",
    "gait_from",
    "interval",
    "tuned",
    "walks",
]

#: Bits of a chunk: 1 to 4 tokens of 256, and 4 of 512.
BITS = (8, 16, 24, 32, 36)
CHUNK, DIMS = 10, 12


def errors(spread: float, seed: int, gaits: int, held_out: int) -> dict[str, Any]:
    """Relative errors of chunks of other gaits than those of the fit, by method and bits of a chunk.

    Parameters
    ----------
    spread, gaits, held_out : of :func:`varied_gaits`: how different, and how many, for the fit and for the errors
    seed : of what is drawn
    """
    walks = varied_gaits(gaits, (seed, 0), spread=spread)
    other = split(varied_gaits(held_out, (seed, 1), spread=spread), CHUNK)
    x, y = (a.reshape(len(a), -1) for a in (split(walks, CHUNK), other))
    four, wide = ActionTokenizer(rng=seed).fit(walks), ActionTokenizer(codes=512, rng=seed).fit(walks)
    found: dict[str, Any] = {
        "residual": {str(b): four.error(other, b // 8) for b in BITS[:-1]} | {str(BITS[-1]): wide.error(other)}
    }
    for name, uniform in (("pod", True), ("pod_lloyd", False)):
        tables = pod_tables(x, BITS[-1], uniform=uniform)
        found[name] = {str(b): relative_error(y, tables.allocated(b).reconstruct(y)) for b in BITS}
    found["bins"] = {str(b): bin_error(other, b, *LIMITS) for b in (8, 4, 3, 2)}
    return found


def convolutional_errors(spread: float, seed: int, gaits: int, held_out: int, epochs: int) -> dict[str, Any]:
    """Relative errors of the convolutional codes and of plain ones, with 1 to 4 tokens, as :func:`errors`."""
    walks = varied_gaits(gaits, (seed, 0), spread=spread)
    other = split(varied_gaits(held_out, (seed, 1), spread=spread), CHUNK)
    plain = ActionTokenizer(rng=seed).fit(walks)
    learnt = ConvolutionalTokenizer(rng=seed, epochs=epochs).fit(walks)
    return {
        name: {str(b): codes.error(other, b // 8) for b in BITS[:-1]}
        for name, codes in (("residual", plain), ("convolutional", learnt))
    }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of independent values and half the width of its 95 % interval, by Student's t."""
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else math.nan
    return mean, float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n) if n > 1 else math.nan


def encoder_times(repeats: int = 20) -> dict[str, Any]:
    """CPU microseconds a chunk of our encoder and, where it is installed, of scikit-learn: the best of some runs.

    scikit-learn: KMeans.predict, level after level, with our code vectors; one chunk at a time, and 1000 in one call.
    """
    walks = varied_gaits(120, 0)
    codes = ActionTokenizer().fit(walks)
    chunks = split(varied_gaits(40, 1), CHUNK)[:1000]
    one = np.ascontiguousarray(chunks[0])
    tokens = codes.encode(chunks)
    works: dict[str, tuple[Callable[[], Any], int]] = {
        "ours, one at a time": (lambda: [codes.encode(one) for _ in range(500)], 500),
        "ours, 1000 at a time": (lambda: codes.encode(chunks), 1000),
        "ours, decoding one at a time": (lambda: [codes.decode(tokens[0]) for _ in range(200)], 200),
    }
    found: dict[str, Any] = {}
    if importlib.util.find_spec("sklearn") is not None:
        predict = _peer(codes, split(walks, CHUNK).reshape(-1, CHUNK * DIMS))
        flat = chunks.reshape(len(chunks), -1)
        found["equal tokens"] = float(np.mean(predict(flat) == tokens))
        works["scikit-learn, one at a time"] = (lambda: [predict(flat[:1]) for _ in range(20)], 20)
        works["scikit-learn, 1000 at a time"] = (lambda: predict(flat), 1000)
    best = dict.fromkeys(works, math.inf)
    for _ in range(repeats):  # in turns
        for name, (work, count) in works.items():
            start = time.process_time()
            work()
            best[name] = min(best[name], (time.process_time() - start) / count * 1e6)
    return found | {"microseconds": best}


def _peer(codes: ActionCodes, x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return an encoder of scikit-learn with the code vectors of ours."""
    cluster = require("sklearn.cluster", "scikit-learn", "the comparison")

    levels = []
    for book in codes.codes.codebooks:
        with warnings.catch_warnings():  # it would go on iterating; we do not want it to
            warnings.simplefilter("ignore")
            level = cluster.KMeans(len(book), init=book, n_init=1, max_iter=1).fit(x)
        level.cluster_centers_ = np.ascontiguousarray(book)
        levels.append(level)

    def predict(y: np.ndarray) -> np.ndarray:
        rest, found = y.copy(), []
        for level in levels:
            found.append(level.predict(rest))
            rest -= level.cluster_centers_[found[-1]]
        return np.stack(found, axis=1)

    return predict


def clock(model_seconds: float = 0.18, chunks: int = 50) -> dict[str, Any]:
    """Whether 5 chunks a second keep 50 actions a second: by the report for 0.2 s, and on the clock of this machine.

    There a thread sleeps so long for each chunk, and a loop takes an action every 0.02 s.
    """
    walks = varied_gaits(20, 0)
    codes = ActionTokenizer(levels=4, codes=64).fit(walks)
    tokens = codes.encode(split(walks, CHUNK)[:chunks])

    def think(k: int) -> np.ndarray:
        time.sleep(model_seconds)
        return tokens[k]

    late = []
    with ThreadPoolExecutor(1) as pool:
        stream = codes.stream(lambda seen, tick: pool.submit(think, min(tick // CHUNK, chunks - 1)), late="hold")
        stream.step()
        began = time.perf_counter()
        for tick in range(1, chunks * CHUNK):
            due = began + tick * CONTROL_SECONDS
            time.sleep(max(0.0, due - time.perf_counter()))
            stream.step()
            late.append(time.perf_counter() - due)
    report = codes.latency_report(0.2)
    return {
        "report": {**asdict(report), "text": str(report)},
        "measured": {
            "model_seconds": model_seconds,
            "ticks": stream.ticks,
            "missed": stream.missed,
            "latest_action_ms": 1e3 * max(late),
            "median_action_ms": 1e3 * float(np.median(late)),
        },
    }


def tuned(name: str, settings: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """A gait of a family that was tuned in the simulator; settings : of :func:`tune_gait`."""
    found = tune_gait(Quadruped(), FAMILIES[name], **settings, say=lambda text: say(f"  {name}: {text}"))
    return {**asdict(found), "vector": found.gait.vector().tolist()}


def gait_from(result: Mapping[str, Any], name: str) -> Gait:
    """Return the gait of a result of :func:`tuned`."""
    return Gait.from_vector(result["vector"], FAMILIES[name])


def walks(
    gaits: Mapping[str, Gait],
    name: str,
    seeds: int,
    *,
    seconds: float = 5.0,
    demonstrations: int = 240,
    spread: float = 0.05,
) -> dict[str, Any]:
    """How far the robot comes with one of the tuned gaits: commands as they are, 4 tokens a chunk, and other codes.

    The codes are found on demonstrations: gaits around all of the tuned ones, every parameter within `spread` of its
    range, and turns. The tuned ones are not among them. "pod": as many bits. "bins": 2 bits for every number, 240 a
    chunk.
    """
    shown = varied_gaits(demonstrations, 0, spread=spread, turn=0.15, around=gaits)
    codes = ActionTokenizer(stride=5).fit(shown)
    pod = pod_tables(split(shown, CHUNK, 5).reshape(-1, CHUNK * DIMS), codes.bits).allocated(codes.bits)
    low, width = LIMITS[0], (LIMITS[1] - LIMITS[0]) / 4
    methods: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "commands": lambda c: c,
        "tokens": lambda c: codes.decode(codes.encode(c)),
        "pod": lambda c: pod.reconstruct(c.reshape(1, -1)).reshape(c.shape),
        "bins": lambda c: low + width * (np.clip(np.floor((c - low) / width), 0, 3) + 0.5),
    }
    robot, ticks = Quadruped(), round(seconds / CONTROL_SECONDS)
    rows: dict[str, dict[str, Any]] = {}
    for method, code in methods.items():
        lost: list[float] = []

        def coded(c: np.ndarray, code: Any = code, lost: list[float] = lost) -> np.ndarray:
            lost.append(relative_error(c, code(c)))
            return code(c)

        far = [robot.walk(Steered(gaits[name]).stream(coded).step, ticks, s).distance for s in range(seeds)]
        rows[method] = {"distances": far, "command_error": float(np.sqrt(np.mean(np.square(lost))))}
    for method, row in rows.items():
        row["mean"], row["half_width"] = interval(row["distances"])
        row["ratio"] = ratio_interval(row["distances"], rows["commands"]["distances"]) if method != "commands" else None
    return {"error_of_fit": float(codes.error_per_level[-1]), "methods": rows}


def ratio_interval(a: Sequence[float], b: Sequence[float], draws: int = 10_000) -> tuple[float, float, float]:
    """Return mean(a) / mean(b) of pairs, and its 95 % interval by resampling the pairs (percentiles)."""
    x, y = np.asarray(a), np.asarray(b)
    which = np.random.default_rng(0).integers(0, len(x), (draws, len(x)))
    low, high = np.quantile(x[which].mean(axis=1) / y[which].mean(axis=1), [0.025, 0.975])
    return float(x.mean() / y.mean()), float(low), float(high)
