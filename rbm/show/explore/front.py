"""``rbm.explore``: widgets in Jupyter, a window elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from rbm.errors import ModelError
from rbm.show.explore.notebook import Notebook
from rbm.show.explore.state import Explorer
from rbm.show.explore.window import open_window

__all__ = ["explore"]

FRONTS = ("notebook", "window")


def explore(
    reduced: Any, mesh: Any = None, *, unknowns: Any = None, free: Any = None, front: str | None = None, title: str = ""
) -> Any:
    """Show a reduced model with sliders for its parameters, outputs with error bounds, and response curves.

    reduced : an :class:`rbm.ReducedModel`, :class:`rbm.PartitionedModel` or :class:`rbm.ReducedTimeModel`; there is a
        slider for the time, too, and the curve is over time at first
    mesh, unknowns, free : as for :func:`rbm.fields`; the field is drawn as well, on lines and in the plane
    front : "notebook", widgets that a cell of Jupyter shows, or "window", matplotlib's; by default where this runs
    title : of the window

    Returns the widget in Jupyter; a window stays until it is closed, and returns None. A point without an answer is a
    sentence, and a gap in the curve.

    Raises ModelError for a mesh that does not fit or is one in space, and where there is no display; ImportError
    without ipywidgets (extra `explore`).
    """
    if front not in (None, *FRONTS):
        raise ModelError(f"front must be one of {', '.join(map(repr, FRONTS))}, got {front!r}")
    explorer = Explorer(reduced, mesh, unknowns=unknowns, free=free)
    if front == "notebook" or (front is None and _in_jupyter()):
        return Notebook(explorer).widget
    open_window(explorer, title)
    return None


def _in_jupyter() -> bool:
    """Return whether this runs in a kernel of Jupyter."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and hasattr(running, "kernel")
