"""Consistency of a language model's answers: HaloCheck, its scorers, and what raises it.

halo_check.py has the score, scoring.py what a scorer is, onnx_scorer.py and nli_scorer.py scorers by networks;
pair_cache.py keeps what was scored, severity.py makes a table of many questions, knowledge.py and teacher.py are two
remedies, baselines.py is what the score is compared with. Consistency is not truth: the same wrong answer, given each
time, scores 1.
"""

from ml.language.consistency.baselines import exact_match_rate, mean_cosine
from ml.language.consistency.bootstrap import Interval, auroc, auroc_interval, mean_interval
from ml.language.consistency.halo_check import HaloCheck, halo_check
from ml.language.consistency.knowledge import KnowledgeWarning, KnownPrompt, inject_knowledge
from ml.language.consistency.nli_scorer import NLIScorer
from ml.language.consistency.onnx_scorer import Calibration, OnnxPairScorer, policy_scorer
from ml.language.consistency.pair_cache import PairCache
from ml.language.consistency.scoring import ScorerError, ScorerWarning
from ml.language.consistency.sentence_encoder import sentence_vectors
from ml.language.consistency.sentences import split_sentences
from ml.language.consistency.severity import Sampling, Severity, severity
from ml.language.consistency.teacher import TeacherReport, teacher

__all__ = [
    "Calibration",
    "HaloCheck",
    "Interval",
    "KnowledgeWarning",
    "KnownPrompt",
    "NLIScorer",
    "OnnxPairScorer",
    "PairCache",
    "Sampling",
    "ScorerError",
    "ScorerWarning",
    "Severity",
    "TeacherReport",
    "auroc",
    "auroc_interval",
    "exact_match_rate",
    "halo_check",
    "inject_knowledge",
    "mean_cosine",
    "mean_interval",
    "policy_scorer",
    "sentence_vectors",
    "severity",
    "split_sentences",
    "teacher",
]
