"""A reduced model as one HTML file that solves, certifies and plots in the browser, without a server.

:func:`rbm.show.page.document.write_page` puts it together from the data of the model
(:mod:`rbm.show.page.model_data`) and from the .js, .css and .html files of this folder, a concept a file. What the page
computes is proved in :mod:`rbm.show.page.floors`. See docs/page.md.
"""

from rbm.show.page.document import page_html, write_page

__all__ = ["page_html", "write_page"]
