"""How a reduced model was made: when, with what, of which full model, and what the greedy found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rbm.storage.versions import date_of_making, versions

__all__ = ["COLUMNS", "Record", "recorded"]

#: Columns of the history before those of the parameter.
COLUMNS = ("size", "bound", "floor", "resolved", "effectivity")


@dataclass(frozen=True, eq=False)
class Record:
    """What a reduced model and its file know of their making; it changes no answer.

    It belongs to the model that was made first, and stays when that is rounded, shortened or written once more; what
    was done to the model since is in `changed`: `history` and `stopped` are about the model before.
    """

    date: str = field(default_factory=date_of_making)  #: "2026-11-27T22:05:25Z", UTC
    versions: Mapping[str, str] = field(default_factory=versions)  #: {"rbm-toolkit": .., "numpy": .., ..}
    fingerprint: str = ""  #: of the full model; "" if it was not asked for
    evidence: str = ""  #: of the stability bound: "proved", "measured", "sampled" or "given"
    #: (k, 5 + p): N, the largest bound on the training set, its floor, points whose estimate is resolved, bound / true
    #: error (NaN if unknown), and the parameter of the largest bound; None without a greedy run
    history: np.ndarray | None = None
    training: int = 0  #: training points of the greedy
    relative: bool = False  #: the bounds of the history are relative to the norm of the solution
    stopped: str = ""  #: why the greedy stopped, in a sentence
    changed: tuple[str, ...] = ()  #: what was done to the model since: "shortened to N = 2", "rounded to float32", ..

    def shortened(self, size: int) -> Record:
        """Return the record of the first `size` basis vectors."""
        made = self.after(f"shortened to N = {size}")
        if self.history is None:
            return made
        return replace(made, history=self.history[self.history[:, 0] <= size])

    def after(self, change: str) -> Record:
        """Return the record of a model to which something was done since, in words that follow "it was"."""
        return replace(self, changed=(*self.changed, change))

    def beside(self, parts: Sequence[Record | None]) -> Record:
        """Return the record of a model of parts, from those of the parts, which know what was done to them since.

        What was done to some of them only, as they were larger, counts: the part with the most changes has them all.
        """
        changed = max((part.changed for part in parts if part is not None), key=len, default=self.changed)
        return self if changed == self.changed else replace(self, changed=changed)

    @property
    def before(self) -> str:
        """Say which model `history` and `stopped` are about, where it is not this one; "" where it is.

        >>> Record(changed=("shortened to N = 2", "rounded to float32")).before
        'of the model before it was shortened to N = 2, then rounded to float32'
        """
        return f"of the model before it was {', then '.join(self.changed)}" if self.changed else ""


def recorded(
    record: Record | None, mark: str, history: Sequence[Any], training: int, stopped: str, relative: bool = False
) -> Record:
    """Return the record with what a greedy run knows of itself.

    mark : the fingerprint of the full model; history : steps with size, bound, floor, resolved, effectivity, parameter
    """
    rows = [[*(getattr(step, name) for name in COLUMNS), *step.parameter] for step in history]
    return replace(
        Record() if record is None else record,
        fingerprint=mark,
        history=np.array(rows, dtype=float).reshape(len(rows), -1),
        training=training,
        relative=relative,
        stopped=stopped,
    )
