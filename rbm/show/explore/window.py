"""A window with matplotlib's sliders beside the picture of an exploration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rbm.errors import ModelError
from rbm.show.axes import drawing
from rbm.show.explore.picture import Picture, size_for
from rbm.show.explore.state import PARTS, Explorer

__all__ = ["Window", "open_window"]

#: Sliders in one column.
COLUMN = 14
#: Ways of matplotlib to draw that show nothing.
FILES_ONLY = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}
#: Inches that a column of sliders takes.
WIDE = 3.3


class Window:
    """Sliders and choices, which move an explorer, and the picture beside them.

    make : size in inches -> figure of matplotlib with its canvas
    """

    def __init__(self, explorer: Explorer, make: Callable[[tuple[float, float]], Any]) -> None:
        self.explorer = explorer
        columns = -(-len(explorer.names) // COLUMN)
        left = WIDE * columns
        self.figure = make(size_for(explorer, left))
        share = left / self.figure.get_size_inches()[0]
        self.picture = Picture(explorer, self.figure, share)
        self._pitch = min(0.09, 0.62 / min(len(explorer.names), COLUMN))
        self.sliders = [self._slider(j, share / columns) for j in range(len(explorer.names))]
        self.buttons: dict[str, Any] = {}
        self._named: dict[str, Any] = {}
        top = 0.93 - self._pitch * min(len(explorer.names), COLUMN) - 0.1
        for k, what in enumerate(("output", "over", "part")):
            self._stepper(what, share, top - 0.065 * k)
        self.picture.pieces["choices"] = (0.0, 0.0, share, top + 0.05), list(self._named.values())
        self._show_choices()
        self.picture.update()

    def _slider(self, j: int, width: float) -> Any:
        column, row = divmod(j, COLUMN)
        rows, pitch = min(len(self.explorer.names), COLUMN), self._pitch
        bottom = 0.93 - pitch * (row + 1)
        ax = self.figure.add_axes((width * (column + 0.36), bottom + 0.2 * pitch, width * 0.4, 0.6 * pitch))
        self.picture.pieces[f"slider {j}"] = (width * column, bottom, width, pitch), [ax]
        ax.set_animated(True)
        position = self.explorer.position(j)
        slider = drawing("widgets").Slider(
            ax, _cut(self.explorer.label(j), 13), 0.0, 1.0, valinit=position, color="#0072B2", initcolor="none",
            handle_style={"facecolor": "white", "edgecolor": "#0072B2", "size": 9},
        )  # fmt: skip
        slider.label.set_x(-0.08)
        slider.label.set_parse_math(False)
        slider.drawon = False  # the picture draws all that moves at once
        for text in (slider.label, slider.valtext):
            text.set_fontsize(9 if rows <= 10 else 8)
        slider.valtext.set_text(self.explorer.value_text(j))
        if self.explorer.fixed(j):
            slider.set_active(False)
        slider.on_changed(lambda position: self._moved(j, position))
        return slider

    def _moved(self, j: int, position: float) -> None:
        self.explorer.move(j, min(max(float(position), 0.0), 1.0))
        self.sliders[j].valtext.set_text(self.explorer.value_text(j))
        self.picture.update(f"slider {j}")

    def _stepper(self, what: str, share: float, y: float) -> None:
        """Make a choice with a button to the next and one to the last."""
        figure, widgets = self.figure, drawing("widgets")
        self._named[what] = figure.text(0.08 * share, y + 0.022, "", va="center", fontsize=9, animated=True)
        for name, step, x in (("next", 1, 0.87), ("last", -1, 0.75)):
            button = widgets.Button(
                figure.add_axes((x * share, y, 0.11 * share, 0.045)),
                "\N{BLACK RIGHT-POINTING TRIANGLE}" if step > 0 else "\N{BLACK LEFT-POINTING TRIANGLE}",
                color="0.94",
                hovercolor="0.85",
            )
            button.label.set_fontsize(8)
            button.on_clicked(lambda _, step=step: self.choose(what, step))
            self.buttons[f"{name} {what}"] = button

    def choose(self, what: str, step: int) -> None:
        """Go to the next "output", "over" (the coordinate of the curve) or "part", or by any number of steps."""
        explorer = self.explorer
        if what == "output":
            explorer.output = (explorer.output + step) % len(explorer.outputs)
        elif what == "over":
            explorer.over = (explorer.over + step) % len(explorer.names)
            while explorer.fixed(explorer.over) and not all(map(explorer.fixed, range(len(explorer.names)))):
                explorer.over = (explorer.over + (step or 1)) % len(explorer.names)
        else:
            explorer.part = PARTS[(PARTS.index(explorer.part) + step) % len(PARTS)]
        self._show_choices()
        self.picture.update("choices")

    def _show_choices(self) -> None:
        explorer = self.explorer
        wave = explorer.complex_valued
        texts = {"output": f"output: {explorer.outputs[explorer.output]}"}
        texts["over"] = f"curve over: {explorer.names[explorer.over]}"
        texts["part"] = f"part: {explorer.part}" if wave else ""
        for what, text in texts.items():
            self._named[what].set_text(_cut(text, 27))
        for name in ("next part", "last part"):
            if self.buttons[name].ax.get_visible() != wave:
                self.buttons[name].ax.set_visible(wave)
                self.picture.forget()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def open_window(explorer: Explorer, title: str = "") -> None:
    """Show the window until it is closed.

    Raises ModelError where there is no display, with what to do instead.
    """
    pyplot = drawing("pyplot")
    backend = str(pyplot.get_backend()).lower()
    if backend in FILES_ONLY or "inline" in backend:
        raise ModelError(
            f"there is no display for a window with sliders, or no toolkit for windows (matplotlib draws by {backend}; "
            "Tk or PyQt6 make windows). Write a page, rbm export MODEL --html page.html, which any browser opens; in "
            "Jupyter call rbm.explore(reduced)"
        )
    window = Window(explorer, lambda size: pyplot.figure(figsize=size))
    window.figure.canvas.manager.set_window_title(title or "rbm explore")
    pyplot.show(block=True)
