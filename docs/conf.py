"""Configuration of the documentation site; `make docs` builds it.

The source folder is the repository, so that links between pages, notebooks and figures are those of the repository. No
page asks any network for anything: formulas are MathML, fonts are the reader's own.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent / "site")]

import mathml  # noqa: E402
from docstrings import to_restructured_text  # noqa: E402

import rbm  # noqa: E402

project = "rbm-toolkit"
author = "the rbm-toolkit developers"
project_copyright = "rbm-toolkit developers, BSD-3-Clause"
version = release = rbm.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md", "docs/reference/*.md", "notebooks/*.ipynb", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md",
]  # fmt: skip
# the walk over the source folder does not enter these
exclude_patterns = [".*", "out", "build", "dist", "*.egg-info", "tests", "lowrank", "eim", "rbm", "problems", "ml"]

# stored outputs are shown, nothing is executed
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
highlight_language = "python"
nitpicky = True
# public names must have an entry; what is deeper inside, or not ours, has no page to link to
nitpick_ignore_regex = [("py:mod", r".*"), ("py:.*", r"(?!(rbm|lowrank|eim|problems|ml)\.\w+$).*")]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
default_role = "literal"
smartquotes_action = "qe"  # no dashes: --json is an option

html_theme = "furo"
html_title = f"rbm-toolkit {release}"
html_extra_path = ["site/root"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"
templates_path = []


def process(app, what, name, thing, options, lines):  # the six arguments that Sphinx gives
    """Replace the lines of a docstring by reStructuredText."""
    lines[:] = to_restructured_text(lines)


def setup(app):
    """Register the docstrings of the house, and formulas as MathML."""
    app.connect("autodoc-process-docstring", process)
    mathml.setup(app)
