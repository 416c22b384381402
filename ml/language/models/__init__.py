"""What a language model is here: one protocol, and three makers of it.

protocol.py says what a model answers and what it raises, network.py makes one of a network on this machine,
http_client.py of a server with the interface of OpenAI (its replies are read by http_replies.py), callables.py of any
function.
"""

from ml.language.models.callables import CallableModel, callable_model
from ml.language.models.http_client import HttpModel, http_model
from ml.language.models.network import NetworkModel, transformers_model
from ml.language.models.protocol import LanguageModel, LanguageModelError, Message, NoLogProbabilitiesError

__all__ = [
    "CallableModel", "HttpModel", "LanguageModel", "LanguageModelError", "Message", "NetworkModel",
    "NoLogProbabilitiesError", "callable_model", "http_model", "transformers_model",
]  # fmt: skip
