"""Figures of estimates, parameters and solutions (matplotlib, extra `plots`), and pages for the browser."""

from rbm.show.page import page_html, write_page

__all__ = ["page_html", "write_page"]
