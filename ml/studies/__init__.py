"""Studies of networks: ``rbm study quantize`` runs them, tables, figures and JSON.

subjects.py says which networks and what is measured of them, network_bits.py takes them through all cases and resumes
after an interruption, drawing.py draws.
"""

from ml.studies.network_bits import run

__all__ = ["run"]
