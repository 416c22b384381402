"""The command ``rbm``: query, info, cache, study, and commands of other packages.

entry.py reads the arguments and makes one line of every failure. query.py answers from a saved model at the points that
points.py reads, on_disk.py prints what is on disk. registered.py finds the studies and further commands that
installed packages register as entry points (groups ``rbm.studies`` and ``rbm.commands``).
"""

from rbm.command_line.entry import main

__all__ = ["main"]
