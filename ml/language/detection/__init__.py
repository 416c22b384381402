"""Which language a word is written in: tables of letter triples and of words, summed by a compiled kernel.

letters.py says what a word is, grams.py makes the tables of triples and word_lists.py those of words, selector.py
weighs them, training.py does all three; definition.py is what kernel.py computes. detector.py answers, stream.py
follows a writer word by word, files.py keeps a detector. material.py reads the texts of installed packages, cases.py
and study.py measure, commands.py is the command line.
"""

from ml.language.detection.detector import UNDETERMINED, LanguageDetector
from ml.language.detection.selector import Selector
from ml.language.detection.stream import LanguageStream

__all__ = ["UNDETERMINED", "LanguageDetector", "LanguageStream", "Selector"]
