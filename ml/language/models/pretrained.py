"""Networks with their tokenizers as transformers keeps them, in a folder or in one GGUF file: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lowrank.optional import require

__all__ = ["read_pretrained"]


def read_pretrained(place: Path, kind: str, what: str) -> tuple[Any, Any]:
    """Return a network, in single precision, and its tokenizer. Nothing is fetched, no code in a file is run.

    place : a folder with weights in .safetensors, or a .gguf file
    kind : the class of transformers that reads the network, as "AutoModelForCausalLM"
    what : what messages call it

    Raises ValueError for what holds no such network, lacks some of its weights, which transformers would draw at
    random, or lacks the vocabulary of its tokenizer, which transformers would leave empty; ImportError, with the line
    that installs it, for torch, transformers and gguf.
    """
    transformers, torch = require("transformers", "transformers", what), require("torch", "torch", what, "ml")
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    folder, more = os.fspath(place), {"use_safetensors": True}  # the other format of weights is a pickle
    if place.is_file():
        require("gguf", "gguf", "reading a GGUF file")
        folder, given["gguf_file"], more = os.fspath(place.parent), place.name, {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **given)
        network, info = getattr(transformers, kind).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **given, **more
        )
    except ImportError:
        raise
    except Exception as error:  # whatever a damaged file makes the libraries raise
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{place} holds no {what} that transformers reads: {said}") from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"{place} holds no whole {what}: {len(missing)} of its weights are missing, as {missing[0]}; save the "
            "network with all of its layers"
        )
    files = set(tokenizer.vocab_files_names.values()) | {"tokenizer.json"}
    if place.is_dir() and not any((place / name).is_file() for name in files):
        raise ValueError(f"{place} holds no tokenizer, none of {', '.join(sorted(files))}: save it to the same folder")
    return network, tokenizer
