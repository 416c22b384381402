"""Formulas as MathML, which browsers draw themselves: no script, no font, no request to any network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

__all__ = ["setup"]

#: Commands that docutils does not know, by those that it does.
OTHER_NAMES = {r"\dots": r"\ldots"}


def setup(app: Any) -> None:
    """Register the renderer "mathml"."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_converted(node, False))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{_converted(node, True)}</div>')
    raise nodes.SkipNode


def _converted(node: nodes.Element, block: bool) -> str:
    """Return the MathML of a formula. Raises ValueError, with the formula, for commands that docutils does not know."""
    formula = node.astext()
    for name, known in OTHER_NAMES.items():
        formula = re.sub(re.escape(name) + r"(?![A-Za-z])", known.replace("\\", r"\\"), formula)
    try:
        return tex2mathml(formula, as_block=block)
    except Exception as error:
        raise ValueError(f"the formula {formula!r} cannot be written as MathML: {error}") from error
