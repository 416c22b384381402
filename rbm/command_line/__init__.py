"""The command ``rbm``: reduce, query, export, explore, info, cache, study, and commands of other packages.

entry.py reads the arguments and makes one line of every failure. query.py answers from a saved model at the points that
points.py reads; info.py prints what facts.py and run_facts.py say of a file, cache.py what else is on disk; files
called time_ do so for models in time. reduce.py makes a reduced model from a model file, which model_description.py
reads and described_model.py turns into a full model; export.py writes a field on a mesh, explore.py opens a window with
sliders.
registered.py finds the studies and further commands that installed packages register as entry points (groups
``rbm.studies`` and ``rbm.commands``).
"""

from rbm.command_line.entry import main

__all__ = ["main"]
