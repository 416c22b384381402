"""Questions about groups of people: how often a model answers by a stereotype, and what asking otherwise changes.

items.py and bbq.py have the questions, prompts.py and protocols.py the three ways of asking, answers.py reads and
averages over the orders of options, scoring.py and report.py score, transcripts.py keeps. An instrument: what it says
holds for the model, the questions and the wording that were measured.
"""

from ml.language.debiasing.answers import Answer, Reply
from ml.language.debiasing.bbq import own_items, read_bbq
from ml.language.debiasing.items import Item, Items
from ml.language.debiasing.prompts import Prompts
from ml.language.debiasing.protocols import self_debias
from ml.language.debiasing.report import BiasReport, BiasRow, bias_report
from ml.language.debiasing.scoring import bias_score

__all__ = [
    "Answer", "BiasReport", "BiasRow", "Item", "Items", "Prompts", "Reply", "bias_report", "bias_score", "own_items",
    "read_bbq", "self_debias",
]  # fmt: skip
