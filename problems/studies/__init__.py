"""Whole studies: offline, online, figures, a summary and a saved model; ``rbm study NAME`` runs them.

gallery.py lists them. running.py takes one (study.py) through all steps: comparison.py compares the estimators with the truth,
timing.py measures the online stage, report.py prints, drawing.py draws.
"""

from problems.studies.comparison import Comparison, compare
from problems.studies.drawing import figures
from problems.studies.gallery import STUDIES
from problems.studies.running import run
from problems.studies.study import Study
from problems.studies.timing import solver_name, time_online

__all__ = ["STUDIES", "Comparison", "Study", "compare", "figures", "run", "solver_name", "time_online"]
