"""The page: data, scripts and style in one HTML file that asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from lowrank.writing import write_atomically
from rbm.errors import ModelError
from rbm.reduced.model import ReducedModel
from rbm.show.page.model_data import page_data

__all__ = ["core_script", "page_html", "write_page"]

#: The files that solve and certify, in an order in which each uses those before it; the worker runs them, too.
CORE = ("arrays", "complex", "formulas", "systems", "residual", "walk", "stability", "outputs", "answer", "curve")
#: What the page uses of them, and what a test may call: the only name that the scripts add to the window is `rbm`.
EXPORTED = ("readModel", "answer", "curve", "modulus", "ROUND_OFF")
#: The files that draw and listen.
VIEW = ("digits", "shapes", "chart", "controls", "answers", "curves", "view")


def write_page(
    reduced: ReducedModel, path: str | os.PathLike[str], *, title: str | None = None, overwrite: bool = True
) -> Path:
    """Write a reduced model as one HTML file that solves, bounds and plots in the browser.

    It needs no server and sends no request; where the model goes, the file goes. Its numbers are those of
    :meth:`rbm.ReducedModel.solve` to rounding, with the estimator "orthonormal"; its floors are proved for its own sums
    (:mod:`rbm.show.page.floors`).

    path : the file; it is written whole or not at all
    title : of the page, by default the name of the file
    overwrite : replace an existing file

    Raises
    ------
    ModelError
        more than 50 basis vectors, no estimator "orthonormal", float32, a model in time, a coefficient that is a Python
        callable, a stability bound or a coefficient family of a class that the page does not know.
    FileExistsError, OSError
        the file cannot be written.

    Outputs of kinds that the page does not know are left out, and the page names them. Size: 11 bytes for each number;
    R of the estimator is the largest part, m^2 / 2 of them (m = Qf + Qa N), less after
    :meth:`rbm.ReducedModel.compress`.
    """
    target = Path(path)
    if not overwrite and target.exists():
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace it")
    write_atomically(target, page_html(reduced, title=target.stem if title is None else title).encode())
    return target


def page_html(reduced: ReducedModel, *, title: str = "Reduced model") -> str:
    """Return the page as a text. Raises ModelError as :func:`write_page`, and for a title that is no text."""
    if not isinstance(title, str):
        raise ModelError(f"the title of a page must be a text, got {title!r}")
    if isinstance(reduced, ReducedModel) and not hasattr(reduced.operators, "__array_interface__"):
        reduced = reduced.to("numpy")
    data = _json(page_data(reduced, title))
    core, view, style = core_script(), _wrapped(VIEW, "start();"), _read("page.css")
    worker = f"{core}\n{_read('worker.js')}"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(core)} {_hash(view)} blob:",
            f"style-src {_hash(style)}",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    parts = {
        "POLICY": html.escape(policy, quote=True).replace("&#x27;", "'"),
        "TITLE": html.escape(title),
        "STYLE": style,
        "DATA": data,
        "CORE": core,
        "WORKER": worker,
        "VIEW": view,
    }
    return "".join(parts.get(piece, piece) for piece in _read("page.html").split("@@"))


def core_script() -> str:
    """Return the script that solves and certifies: ``rbm.readModel(data)``, ``rbm.answer(model, mu)`` and others."""
    names = ", ".join(EXPORTED)
    return f"const rbm = {_wrapped(CORE, f'return {{ {names} }};')}"


def _wrapped(names: tuple[str, ...], last: str) -> str:
    """Return files as one function that is called at once, so that their names stay inside."""
    text = "\n".join(_read(f"{name}.js") for name in names)
    return f'(function () {{\n"use strict";\n{text}\n{last}\n}})();'


def _read(name: str) -> str:
    text = files("rbm.show.page").joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")  # a browser hashes what it reads, and reads line feeds


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _json(data: dict[str, Any]) -> str:
    """Return JSON that no name or text in it can end: the characters of markup are written by their numbers."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
