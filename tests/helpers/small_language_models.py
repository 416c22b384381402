"""A tiny random network with a tokenizer of words: the path of the code of a language model, without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml.language.models import NetworkModel

__all__ = ["small_network"]

WORDS = ("<end>", "?", ".", ":", "a", "b", "c", "user", "assistant", "system", "who", "brief", "be", "the", "one")


def small_network(folder: Path, *, context: int = 64, seed: int = 0) -> NetworkModel:
    """Two layers of width 16; unknown words are '?'. Skips where torch, transformers or tokenizers are missing."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers: Any = pytest.importorskip("tokenizers")
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: k for k, w in enumerate(WORDS)}, unk_token="?"))
    inner.normalizer = tokenizers.normalizers.Lowercase()
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="?", eos_token="<end>")
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=context, eos_token_id=0, bos_token_id=None, initializer_range=0.5,
    )  # fmt: skip
    return NetworkModel("tiny", transformers.LlamaForCausalLM(config).eval(), tokenizer)
