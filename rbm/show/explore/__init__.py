"""A look around in a reduced model: sliders for the parameters, outputs with bounds, response curves, fields.

answers.py asks the model, steady or in time, at many points; state.py is what the sliders and choices say, and the
numbers that are drawn, without any widget; picture.py draws them; window.py puts matplotlib's sliders beside the
picture, notebook.py those of ipywidgets.
"""

from rbm.show.explore.front import explore
from rbm.show.explore.state import Explorer

__all__ = ["Explorer", "explore"]
