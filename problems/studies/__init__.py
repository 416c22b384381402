"""Whole studies: offline, online, figures, a summary and a saved model; ``rbm study NAME`` runs them.

gallery.py lists them. running.py takes one through all steps and measures the online stage: comparison.py says what a
study is and compares the estimators with the truth, report.py prints, drawing.py draws.
"""

from problems.studies.comparison import Comparison, Study, compare
from problems.studies.drawing import figures
from problems.studies.gallery import STUDIES
from problems.studies.running import run, solver_name, time_online

__all__ = ["STUDIES", "Comparison", "Study", "compare", "figures", "run", "solver_name", "time_online"]
