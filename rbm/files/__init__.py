"""Files of reduced models and of greedy runs: one file each, without pickle, written whole or not at all."""

from rbm.files.greedy_file import load_greedy, save_greedy
from rbm.files.model_file import load, save

__all__ = ["load", "load_greedy", "save", "save_greedy"]
