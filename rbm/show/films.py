"""Films: pictures in which a title and a few artists change, written as .gif, or as .mp4 where ffmpeg is."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.writing import write_atomically
from rbm.errors import ModelError
from rbm.show.axes import drawing

__all__ = ["ENDINGS", "LEVELS", "checked_film", "pictures", "plane", "plane_pictures", "write_film"]

#: How the names of films end.
ENDINGS = (".gif", ".mp4")
#: Colours of a film between the least and the largest value.
LEVELS = 60


def checked_film(path: str | os.PathLike[str], fps: Any) -> str:
    """Return the ending of a film's name; raise ModelError for another one, or pictures a second that are no number."""
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ModelError(f"{Path(path).name}: a film ends in {' or '.join(ENDINGS)}")
    number = isinstance(fps, int | float | np.number) and not isinstance(fps, bool)
    if not number or not 0.02 <= fps <= 1000:  # a picture of a .gif stays 655 seconds at most
        raise ModelError(f"fps must be a positive number, pictures a second, got {fps!r}; from 0.02 to 1000")
    if ending == ".mp4" and shutil.which("ffmpeg") is None:
        raise ModelError(f"{Path(path).name}: .mp4 needs the program ffmpeg, which is not found; take the ending .gif")
    return ending


def write_film(path: str | os.PathLike[str], made: Iterable[Any], fps: float) -> Path:
    """Write pictures (PIL images of one size) as a film, whole or not at all, and return its path.

    Raises ModelError as :func:`checked_film`, and where ffmpeg fails, with its last line.
    """
    ending = checked_film(path, fps)
    if ending == ".mp4":
        content = _mp4(made, fps)
    else:
        first, *others = list(made)
        buffer = io.BytesIO()
        first.save(buffer, format="GIF", save_all=True, append_images=others, duration=1000 / fps, loop=0)
        content = buffer.getvalue()
    write_atomically(path, content)
    return Path(path)


def _mp4(made: Iterable[Any], fps: float) -> bytes:
    images = (image.convert("RGB") for image in made)
    first = next(images)
    width, height = (2 * (s // 2) for s in first.size)  # the format takes even sizes only
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        target = Path(folder) / "film.mp4"
        command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-", "-pix_fmt", "yuv420p", str(target)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as running:
            assert running.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # ffmpeg has ended; it says why below
                for image in (first, *images):
                    running.stdin.write(image.crop((0, 0, width, height)).tobytes())
                running.stdin.close()
        if running.returncode or not target.exists():
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise ModelError(f"ffmpeg cannot write this film ({lines[-1]}); take the ending .gif")
        return target.read_bytes()


def pictures(
    figure: Any, ax: Any, titles: Sequence[str], draw: Callable[[int], Sequence[Any]], shades: np.ndarray
) -> Iterator[Any]:
    """Yield a picture for each title, in 216 colours of a scale and 40 of grey.

    draw : k -> artists of the k-th picture, which are drawn over what does not change and taken away again
    shades : colours (216, 3) from 0 to 1 of the scale

    What does not change is drawn once: axes and the colour bar.
    """
    canvas = drawing("backends.backend_agg").FigureCanvasAgg(figure)
    ax.set_title(max(titles, key=lambda t: (t.count("\n"), len(t))), animated=True)
    canvas.draw()
    figure.set_layout_engine("none")
    behind = canvas.copy_from_bbox(figure.bbox)
    images = require("PIL.Image", "pillow", "writing a film")
    palette = images.new("P", (1, 1))
    both = np.concatenate([shades, np.linspace(0, 1, 40)[:, None] * np.ones(3)])
    palette.putpalette(np.rint(255 * both).astype(np.uint8).tobytes())
    for k, title in enumerate(titles):
        canvas.restore_region(behind)
        for artist in draw(k):
            ax.draw_artist(artist)
            artist.remove()
        ax.title.set_text(title)
        ax.draw_artist(ax.title)
        picture = images.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
        yield picture.quantize(palette=palette, dither=images.Dither.NONE)


def plane(x: np.ndarray, y: np.ndarray, limits: tuple[float, float], label: str, cmap: str) -> tuple[Any, Any, Any]:
    """Return figure, axes that hold the points x, y, and the scale of colours with its bar."""
    width, height = np.ptp(x), np.ptp(y)
    size = (6.4, float(np.clip(6.4 * 0.82 * height / width + 0.9, 2.0, 8.0)))
    figure = drawing("figure").Figure(figsize=size, layout="constrained")
    colors = drawing("cm").ScalarMappable(drawing("colors").Normalize(*limits), cmap)
    ax = figure.add_subplot(aspect="equal", xlabel="$x$")
    ax.set_ylabel("$y$", rotation=0, labelpad=9)
    for points, set_limits in ((x, ax.set_xlim), (y, ax.set_ylim)):
        set_limits(points.min() - 0.03 * np.ptp(points), points.max() + 0.03 * np.ptp(points))
    figure.colorbar(colors, ax=ax).ax.set_title(label)
    return figure, ax, colors


def plane_pictures(
    meshes: Sequence[Any],
    values: np.ndarray,
    titles: Sequence[str],
    limits: tuple[float, float],
    label: str,
    cmap: str = "inferno",
) -> Iterator[Any]:
    """Yield a picture of each row of the values (K, n) on its mesh (K), or on the one mesh of all."""
    x, y = (np.concatenate([getattr(mesh, name) for mesh in meshes]) for name in "xy")
    figure, ax, colors = plane(x, y, limits, label, cmap)
    levels = np.linspace(*limits, LEVELS + 1)

    def draw(k: int) -> list[Any]:
        mesh = meshes[k if len(meshes) > 1 else 0]
        return [ax.tricontourf(mesh, values[k], levels, cmap=colors.cmap, norm=colors.norm, extend="both")]

    yield from pictures(figure, ax, titles, draw, colors.cmap(np.linspace(0, 1, 216))[:, :3])
