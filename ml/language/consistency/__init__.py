"""Consistency of a language model's answers: HaloCheck, its scorers, and what raises it.

halo_check.py has the score, scoring.py what a scorer is, onnx_scorer.py and nli_scorer.py scorers by networks;
pair_cache.py keeps what was scored. Consistency is not truth: the same wrong answer, given each time, scores 1.
"""

from ml.language.consistency.halo_check import HaloCheck, halo_check
from ml.language.consistency.nli_scorer import NLIScorer
from ml.language.consistency.onnx_scorer import Calibration, OnnxPairScorer, policy_scorer
from ml.language.consistency.pair_cache import PairCache
from ml.language.consistency.scoring import ScorerError, ScorerWarning
from ml.language.consistency.sentences import split_sentences

__all__ = [
    "Calibration",
    "HaloCheck",
    "NLIScorer",
    "OnnxPairScorer",
    "PairCache",
    "ScorerError",
    "ScorerWarning",
    "halo_check",
    "policy_scorer",
    "split_sentences",
]
