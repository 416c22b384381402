"""Chunks of actions as tokens: 10 actions of 12 numbers become 4 of 256 codes, ahead of the robot's clock.

tokenizer.py finds the codes, vocabulary.py gives them numbers behind the words of a language model, stream.py plays
them, latency.py says whether the model keeps the clock, files.py keeps them.
"""

from ml.chunks.files import load_action_codes, save_action_codes
from ml.chunks.gaits import Gait, varied_gaits
from ml.chunks.latency import LatencyReport, latency_report
from ml.chunks.splitting import split
from ml.chunks.stream import ActionStream
from ml.chunks.tokenizer import ActionCodes, ActionTokenizer
from ml.chunks.vocabulary import ActionVocabulary

__all__ = [
    "ActionCodes", "ActionStream", "ActionTokenizer", "ActionVocabulary", "Gait", "LatencyReport", "latency_report",
    "load_action_codes", "save_action_codes", "split", "varied_gaits",
]  # fmt: skip
