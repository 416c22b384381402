"""Networks and texts on which parameter reduction is measured; all need PyTorch and packages of `make material`.

:mod:`ml.tasks.files` finds the packages, :mod:`ml.tasks.reviews` classifies film reviews with a sentence encoder,
:mod:`ml.tasks.language_model` has a small language model and its perplexity, :mod:`ml.tasks.speech` the encoder of a
speech recogniser and spoken words, :mod:`ml.tasks.keywords` tells words apart that differ in one sound.
:mod:`ml.tasks.classification` trains networks on what is to be classified. Nothing is fetched: what is missing is named
in an ImportError, with the line that brings it.
"""

from ml.tasks.files import film_reviews, newspaper_sentences, package_file
from ml.tasks.reviews import ReviewTask, review_task

__all__ = ["ReviewTask", "film_reviews", "newspaper_sentences", "package_file", "review_task"]
