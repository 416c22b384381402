"""Figures of estimates, parameters and solutions (matplotlib, extra `plots`), and pages for the browser."""

from typing import Any

__all__ = ["page_html", "write_page"]


def __getattr__(name: str) -> Any:
    """Load the writer of pages when it is asked for: `import rbm` does without."""
    if name in __all__:
        from rbm.show import page

        return getattr(page, name)
    raise AttributeError(f"module 'rbm.show' has no attribute {name!r}")
