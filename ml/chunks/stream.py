"""Actions one at a time, out of chunks that a model gives ahead of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from lowrank.limits import at_least

__all__ = ["ActionStream"]


class ActionStream:
    """One action per tick from the tokens of a model; made by :meth:`ml.chunks.ActionCodes.stream`.

    Chunk k holds the actions of the ticks k H to k H + H - 1. It is asked for at tick k H - `ahead`, with what is
    observed then; those that would have been asked for before tick 0 are asked for at tick 0. What the stream emits at
    a tick therefore depends on nothing that is observed later (it is causal), and on nothing younger than the question.

    Attributes
    ----------
    ticks : ticks so far
    missed : ticks at which the chunk that was due had not come; where the stream waits, one for each such chunk
    """

    def __init__(
        self,
        decode: Callable[[Any], np.ndarray],
        ask: Callable[[Any, int], Any],
        *,
        chunk: int,
        ahead: int,
        late: Literal["wait", "hold"] = "wait",
    ) -> None:
        """See :meth:`ml.chunks.ActionCodes.stream`. decode : from the tokens (L,) of a chunk to its actions (H, D)."""
        if not callable(ask):
            raise TypeError(f"ask must be a function (observation, tick), got {type(ask).__name__}")
        if late not in ("wait", "hold"):
            raise ValueError(f'late must be "wait" or "hold", got {late!r}')
        self._decode, self._ask, self._late = decode, ask, late
        self._chunk, self._ahead = chunk, at_least("ahead", ahead, 0)
        self._asked = 0  # chunks
        self._waiting: dict[int, Any] = {}
        self._current = -1
        self._actions: np.ndarray | None = None
        self._last: np.ndarray | None = None
        self.ticks = self.missed = 0

    def step(self, observation: Any = None) -> np.ndarray:
        """Return the action (D,) of this tick.

        Where the model's answer is late, "wait" waits for it, and "hold" repeats the action before; the actions that
        were due meanwhile are left out, so that those that follow are in time. The first chunk is always waited for.

        What `ask`, the answer's `.result()` or decoding raises is passed on, and the tick is not over: the next call
        asks again for a chunk that failed, with what is observed then.
        """
        while self._asked * self._chunk - self._ahead <= self.ticks:
            self._waiting[self._asked] = self._ask(observation, self._asked * self._chunk)
            self._asked += 1
        due, row = divmod(self.ticks, self._chunk)
        if due != self._current:
            if due not in self._waiting:  # it failed
                self._waiting[due] = self._ask(observation, due * self._chunk)
            answer = self._waiting[due]
            there = not hasattr(answer, "done") or answer.done()
            first = self._last is None
            self.missed += not (there or first)
            if there or first or self._late == "wait":
                for k in [k for k in self._waiting if k <= due]:
                    del self._waiting[k]
                tokens = answer.result() if hasattr(answer, "result") else answer
                self._actions, self._current = self._decode(tokens), due
        if due == self._current and self._actions is not None:
            self._last = self._actions[row]
        self.ticks += 1
        assert self._last is not None
        return self._last.copy()
