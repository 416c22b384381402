"""What a greedy run leaves, and files of it and of reduced models: one each, without pickle, whole or not at all."""

from rbm.files.greedy_file import load_greedy, save_greedy
from rbm.files.model_file import load, save

__all__ = ["load", "load_greedy", "save", "save_greedy"]
