"""An exploration in Jupyter: sliders and choices of ipywidgets beside the picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from lowrank.optional import require
from rbm.show.explore.picture import Picture, agg_figure, size_for
from rbm.show.explore.state import PARTS, Explorer

__all__ = ["Notebook"]


class Notebook:
    """Widgets that move an explorer, and the picture beside them; `widget` is what a cell shows.

    Raises ImportError without ipywidgets.
    """

    def __init__(self, explorer: Explorer) -> None:
        self._kit = kit = require("ipywidgets", "ipywidgets", "rbm.explore in Jupyter", "explore")
        self.explorer = explorer
        self.picture = Picture(explorer, agg_figure(size_for(explorer)))
        self.sliders = [self._slider(j) for j in range(len(explorer.names))]
        movable = [(name, j) for j, name in enumerate(explorer.names) if not explorer.fixed(j)] or [("-", 0)]
        outputs = [(name, k) for k, name in enumerate(explorer.outputs)]
        self.choices = {
            "output": kit.Dropdown(options=outputs, value=explorer.output, description="output"),
            "over": kit.Dropdown(options=movable, value=explorer.over, description="over"),
            "part": kit.Dropdown(options=list(PARTS), value=explorer.part, description="part"),
        }
        for what, choice in self.choices.items():
            choice.observe(lambda change, what=what: self._chosen(what, change["new"]), names="value")
        self.image = kit.Image(format="png")
        controls = kit.VBox([*self.sliders, *self.choices.values()])
        self.widget = kit.HBox([controls, self.image])
        self._show()

    def _slider(self, j: int) -> Any:
        explorer = self.explorer
        low, high = (float(x) for x in explorer.source.ranges[j])
        options: dict[str, Any] = {"description": explorer.label(j), "readout_format": ".4g"}
        if explorer.fixed(j):
            return self._kit.FloatText(value=low, disabled=True, description=explorer.label(j))
        if explorer.log_scale(j):
            ends = np.log10([low, high])
            options |= {"base": 10.0, "min": float(ends[0]), "max": float(ends[1]), "step": float(np.ptp(ends)) / 500}
            slider = self._kit.FloatLogSlider(value=float(explorer.point[j]), **options)
        else:
            step = explorer.source.stride(j) or (high - low) / 500
            slider = self._kit.FloatSlider(value=float(explorer.point[j]), min=low, max=high, step=step, **options)
        slider.observe(lambda change: self._moved(j, change["new"]), names="value")
        return slider

    def _moved(self, j: int, value: float) -> None:
        low, high = self.explorer.source.ranges[j]
        self.explorer.put(j, float(np.clip(value, low, high)))  # ten to the power of a logarithm may miss an end
        self._show()

    def _chosen(self, what: str, value: Any) -> None:
        setattr(self.explorer, what, value)
        self._show()

    def _show(self) -> None:
        self.choices["part"].layout.display = "" if self.explorer.complex_valued else "none"
        self.picture.update()
        images = require("PIL.Image", "pillow", "a picture in a notebook")
        buffer = io.BytesIO()
        images.fromarray(self.picture.image()[:, :, :3]).save(buffer, format="PNG", compress_level=1)
        self.image.value = buffer.getvalue()
