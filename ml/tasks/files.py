"""Where optional material lies: files inside packages, which are located and never imported, and an archive of texts.

The texts are those of the source archive vaderSentiment-0.5.zip (MIT licence): 10 605 sentences of film reviews and
5 190 of newspapers, each with the mean of 20 human ratings from -4 to 4. `make material` puts it into the folder
`material` of the environment; RBM_MATERIAL names another one.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

from lowrank.reading import FileFormatError

__all__ = ["film_reviews", "material_folder", "newspaper_sentences", "package_file"]

ARCHIVE = "vaderSentiment-0.5.zip"
INNER = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
FOLDER = "hutto_ICWSM_2014"
#: Largest size of a table of texts; they have 0.6 and 1.4 MB.
MAX_BYTES = 1 << 24


def material_folder() -> Path:
    """Return the folder of RBM_MATERIAL, or `material` in the folder of the Python environment."""
    return Path(os.environ.get("RBM_MATERIAL") or Path(sys.prefix) / "material")


def package_file(package: str, pattern: str, install: str) -> Path:
    """Return the first file of an installed package that fits a pattern; the package is not imported.

    package : name of the module; pattern : as of `Path.rglob`; install : name for pip. Raises ImportError with the line
    that installs it.
    """
    spec = importlib.util.find_spec(package)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        for path in sorted(Path(folder).rglob(pattern)):
            return path
    raise ImportError(f"{pattern} of the package {install} is needed, which is not installed: "
                      f"pip install --no-deps {install}")  # fmt: skip


def film_reviews() -> tuple[list[str], list[float]]:
    """Return sentences of film reviews and their ratings in -4 .. 4, 10 605 of each.

    Raises ImportError, with the line that brings it, where the archive is missing, and FileFormatError where it is
    damaged.
    """
    return _rated("movieReviewSnippets_GroundTruth.txt")


def newspaper_sentences() -> tuple[list[str], list[float]]:
    """Return sentences of newspapers in their order, and their ratings, 5190 of each. Raises as `film_reviews` does."""
    return _rated("nytEditorialSnippets_GroundTruth.txt")


def _rated(name: str) -> tuple[list[str], list[float]]:
    path = material_folder() / ARCHIVE
    if not path.is_file():
        raise ImportError(
            f"the rated sentences need {ARCHIVE}, which is not in {path.parent}: make material, or pip download "
            f"--no-deps --no-binary :all: vaderSentiment==0.5 --dest {path.parent}"
        )
    try:
        with zipfile.ZipFile(path) as outer, tarfile.open(fileobj=io.BytesIO(outer.read(INNER))) as inner:
            file = inner.extractfile(f"{FOLDER}/{name}")
            if file is None:
                raise ValueError(f"{name} is no file")
            text = file.read(MAX_BYTES).decode("latin-1")
        rows = [line.split("\t", 2) for line in text.splitlines() if line.strip()]
        return [row[2].strip() for row in rows], [float(row[1]) for row in rows]
    except (OSError, KeyError, ValueError, IndexError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{path} is damaged ({error}); delete it and make material anew") from error
