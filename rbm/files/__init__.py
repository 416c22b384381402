"""Reduced models and greedy runs in one file each, without pickle, whole or not at all."""

from rbm.files.model_file import load, load_greedy, save, save_greedy

__all__ = ["load", "load_greedy", "save", "save_greedy"]
