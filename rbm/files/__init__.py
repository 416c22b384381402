"""Files of reduced models and of greedy runs: one file each, without pickle, written whole or not at all."""

from rbm.files.model_file import load, load_greedy, save, save_greedy

__all__ = ["load", "load_greedy", "save", "save_greedy"]
