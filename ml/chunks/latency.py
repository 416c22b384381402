"""Whether a slow model keeps a fast clock: a chunk of actions must be there before the one before it is used up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from lowrank.limits import at_least

__all__ = ["LatencyReport", "latency_report"]


@dataclass(frozen=True)
class LatencyReport:
    """Result of :func:`latency_report`; as text, the reasoning in numbers."""

    chunk: int  #: H, actions in a chunk
    ahead: int  #: A, ticks between the question for a chunk and its first action
    control_seconds: float  #: T, of a tick
    model_seconds: float  #: m, the longest that the model takes for a chunk
    mean_seconds: float  #: what it takes on average
    chunks: int  #: that were followed, the first one, which the robot waits for, included
    missed: int  #: ticks at which the chunk that is due has not come
    slack_seconds: float  #: between the answer and the tick it is due at, the smallest; negative: too late
    guaranteed: bool  #: no tick is missed, whatever the order of the model's times and however long it goes on
    least_ahead: int | None  #: the smallest A with which that is so; None: there is none, the model is too slow

    @property
    def ticks(self) -> int:
        """Ticks of the chunks that were followed."""
        return self.chunks * self.chunk

    @property
    def needed_rate(self) -> float:
        """Chunks per second that the clock asks for: 1 / (H T)."""
        return 1 / (self.chunk * self.control_seconds)

    @property
    def model_rate(self) -> float:
        """Chunks per second that the model makes on average."""
        return 1 / self.mean_seconds if self.mean_seconds else math.inf

    @property
    def oldest_seconds(self) -> float:
        """Age of the observation behind the last action of a chunk: (A + H - 1) T."""
        return (self.ahead + self.chunk - 1) * self.control_seconds

    def __str__(self) -> str:
        h, t, m = self.chunk, 1e3 * self.control_seconds, 1e3 * self.model_seconds
        lines = [
            f"{h} actions a chunk x {self.model_rate:.4g} chunks/s of the model = {h * self.model_rate:.4g} actions/s; "
            f"the clock takes {1 / self.control_seconds:.4g} a second ({self.needed_rate:.4g} chunks/s).",
            f"A chunk lasts {h * t:.4g} ms, the model needs {m:.4g} ms at most, and is asked {self.ahead} ticks, "
            f"{self.ahead * t:.4g} ms, ahead.",
        ]
        if self.guaranteed:
            lines.append(
                f"No tick is missed: {m:.4g} <= min({h * t:.4g}, {self.ahead * t:.4g}) ms. Slack "
                f"{1e3 * self.slack_seconds:.4g} ms."
            )
        elif self.missed:
            lines.append(
                f"Missed: {self.missed} of {self.ticks} ticks; an answer came {-1e3 * self.slack_seconds:.4g} ms late."
            )
        else:
            lines.append(
                f"None of {self.ticks} ticks was missed in this order of the model's times, but that is no guarantee: "
                f"{m:.4g} > min({h * t:.4g}, {self.ahead * t:.4g}) ms."
            )
        if self.least_ahead is None:
            lines.append(f"No question early enough helps for good: {m:.4g} ms > {h * t:.4g} ms. Take longer chunks.")
        elif not self.guaranteed:
            lines.append(f"Asked {self.least_ahead} ticks ahead, every chunk is in time.")
        elif self.slack_seconds == 0:
            lines.append(f"A real clock wants more: chunks of {h + 1} actions leave {t:.4g} ms.")
        lines.append(f"The last action of a chunk answers what was seen {1e3 * self.oldest_seconds:.4g} ms before.")
        return "\n".join(lines)


def latency_report(
    model_seconds: Any, *, chunk: int, control_seconds: float = 0.02, ahead: int | None = None, chunks: int = 100
) -> LatencyReport:
    """Return whether a tick is ever missed when one model makes chunks of H actions, one after the other.

    Chunk k is due at k H T and asked for at (k H - A) T; the robot starts when chunk 0 has come. The model takes
    questions in their order: it ends chunk k at f_k = max(asked_k, f_{k-1}) + m_k. Tick k H + j is missed if
    f_k > (k H + j) T. If all m_k <= min(H, A) T, none is, by induction: f_{k-1} <= (k - 1) H T and
    asked_k <= k H T - m_k give f_k <= k H T.

    Parameters
    ----------
    model_seconds : m, of every chunk, or measured times (k,) in their order, which are repeated
    chunk : H
    control_seconds : T
    ahead : A >= 0; by default H: the next chunk is asked for when one begins. With A > H a second question waits
    chunks : how many are followed

    Raises
    ------
    ValueError
        times that are negative, NaN or infinite, T <= 0, counts below 1.

    Notes
    -----
    Times are taken as the decimal numbers they are written as, and all sums are exact: 10 x 0.02 s are 0.2 s, and an
    answer at the very moment it is due is in time. A model that is busy all the time (m = H T) never makes up for what
    was late once, however early it is asked. Decoding takes some microseconds more, not in m unless you add them.

    Examples
    --------
    >>> print(latency_report(0.2, chunk=10))
    10 actions a chunk x 5 chunks/s of the model = 50 actions/s; the clock takes 50 a second (5 chunks/s).
    A chunk lasts 200 ms, the model needs 200 ms at most, and is asked 10 ticks, 200 ms, ahead.
    No tick is missed: 200 <= min(200, 200) ms. Slack 0 ms.
    A real clock wants more: chunks of 11 actions leave 20 ms.
    The last action of a chunk answers what was seen 380 ms before.
    """
    chunk, chunks = at_least("chunk", chunk, 1), at_least("chunks", chunks, 1)
    ahead = chunk if ahead is None else at_least("ahead", ahead, 0)
    if not (isinstance(control_seconds, int | float | np.number) and 0 < control_seconds < math.inf):
        raise ValueError(f"control_seconds must be a finite number > 0, got {control_seconds!r}")
    tick = _exact(control_seconds)
    times = _times(model_seconds)
    longest = max(times)
    finished, missed, slack = Fraction(0), 0, None
    for k in range(1, chunks):
        due = k * chunk * tick
        finished = max((k * chunk - ahead) * tick, finished) + times[k % len(times)]
        slack = due - finished if slack is None else min(slack, due - finished)
        missed += min(chunk, max(0, math.ceil((finished - due) / tick)))
    if slack is None:
        slack = min(chunk, ahead) * tick - longest
    fits = longest <= chunk * tick
    return LatencyReport(
        chunk,
        ahead,
        float(control_seconds),
        float(longest),
        float(sum(times) / len(times)),
        chunks,
        missed,
        float(slack),
        fits and longest <= ahead * tick,
        math.ceil(longest / tick) if fits else None,
    )


def _times(model_seconds: Any) -> Sequence[Fraction]:
    given = np.atleast_1d(np.asarray(model_seconds))
    numbers = given.ndim == 1 and given.size and given.dtype.kind in "fiu"
    if not numbers or not np.all(np.isfinite(given) & (given >= 0)):
        raise ValueError(f"model_seconds must be a finite number >= 0, or a list of them, got {model_seconds!r:.80}")
    return [_exact(m) for m in given]


def _exact(x: Any) -> Fraction:
    """Return the decimal number that a float is written as."""
    return Fraction(repr(float(x)))
