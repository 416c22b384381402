"""Files of logs: one that grows while a run goes on and is read after an interruption, and one that is whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.reading import FileFormatError, json_from, read_bytes
from lowrank.writing import write_atomically
from ml.array_files import CHECKSUM, SUFFIXES, pop_checksum, read_arrays, suffix_of, write_arrays
from ml.tuning.zeroth_order_log import ENTRY, VERSION, MezoFits, MezoLog, MezoSettings, json_of, parts

__all__ = ["GrowingLog", "load_mezo_log", "read_log", "save_mezo_log"]

MARK, ENTRIES, HEADER = "mezo_log", "entries", "header"
WHAT = "log of a zeroth-order run"
NOT_WHOLE = "{} is not a whole file of a log of a zeroth-order run ({}); write it again with ml.save_mezo_log"


def save_mezo_log(log: MezoLog, path: str | os.PathLike[str]) -> None:
    """Write a log to a file, .npz or .safetensors: 16 bytes for each direction and step, and one or two thousand more.

    It is written whole or not at all. Raises ValueError for another suffix, OSError for a folder that is not there,
    ImportError without safetensors for its suffix.
    """
    suffix_of(path)
    text = json.dumps(json_of(log.settings, log.fits)).encode()
    arrays: dict[str, np.ndarray] = {
        MARK: np.array([VERSION, *log.seeds.shape], dtype=np.int64),
        ENTRIES: np.frombuffer(log.entries(), np.uint8),
        HEADER: np.frombuffer(text, np.uint8),
    }
    write_arrays(path, arrays)


def load_mezo_log(path: str | os.PathLike[str]) -> MezoLog:
    """Return the log that :func:`save_mezo_log` wrote.

    Raises FileNotFoundError; FileFormatError, a ValueError that names the file, for one that is damaged, altered or
    holds something else; ValueError for another suffix; ImportError without safetensors for its suffix.
    """
    name = os.fspath(path)

    def accept(keys: list[str]) -> None:
        if set(keys) != {MARK, ENTRIES, HEADER, CHECKSUM}:
            raise FileFormatError(NOT_WHOLE.format(name, "it holds other arrays"))

    arrays = read_arrays(path, accept, WHAT)
    pop_checksum(name, arrays)
    mark, entries = arrays[MARK], arrays[ENTRIES]
    if mark.dtype != np.int64 or mark.shape != (3,) or mark[0] != VERSION:
        raise FileFormatError(NOT_WHOLE.format(name, f"its mark is {mark.tolist()}"))
    settings, fits = _parts(name, arrays[HEADER].tobytes())
    steps, directions = int(mark[1]), int(mark[2])
    if entries.size != ENTRY.itemsize * steps * directions or directions != settings.directions:
        raise FileFormatError(NOT_WHOLE.format(name, f"{entries.size} bytes for {steps} x {directions} entries"))
    return _log(name, settings, fits, entries.tobytes())


def read_log(path: str | os.PathLike[str]) -> MezoLog:
    """Return the log of a file of either kind; of one that is growing, the steps that are whole."""
    if Path(path).suffix in SUFFIXES:
        return load_mezo_log(path)
    name = os.fspath(path)
    settings, fits = _parts(name, read_bytes(_beside(path)))
    content = read_bytes(path)
    step = ENTRY.itemsize * settings.directions
    content = content[: len(content) // step * step]
    # what a crash of the machine leaves is zeros, and no seed is 0 (but one in 2^64)
    empty = ~np.frombuffer(content, ENTRY)["seed"].reshape(-1, settings.directions).all(axis=1)
    return _log(name, settings, fits, content[: int(np.argmax(empty)) * step] if empty.any() else content)


class GrowingLog:
    """A log in a file that grows by 16 bytes for each direction and step, and what it belongs to in PATH.json.

    seeds : (steps, directions), those of the run. What is in the file already is read as far as its steps are whole,
        their seeds these and their gradients finite; the rest, which an interruption may leave, is cut off.

    Raises ValueError where the file belongs to another run, FileFormatError where PATH.json is missing or damaged,
    OSError where the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], settings: MezoSettings, fits: MezoFits, seeds: np.ndarray) -> None:
        if Path(path).suffix in SUFFIXES:
            raise ValueError(
                f"the log of a run grows by 16 bytes a direction and is no {Path(path).suffix} file, got "
                f"{os.fspath(path)!r}: take a name such as run.mezo, and ml.save_mezo_log when it has ended"
            )
        self.path, self.settings, self.fits = Path(path), settings, fits
        content = self.path.read_bytes() if self.path.exists() else b""
        if _beside(path).exists():
            _refuse_another(os.fspath(path), _parts(os.fspath(path), read_bytes(_beside(path))), settings, fits)
        elif content:
            raise FileFormatError(
                f"{path} has no {_beside(path).name} beside it, which says what it belongs to; name another"
            )
        else:
            self._write_header()
        whole = len(content) // (step := ENTRY.itemsize * settings.directions)
        entries = np.frombuffer(content[: whole * step], ENTRY).reshape(whole, settings.directions)[: settings.steps]
        right = np.all((entries["seed"] == seeds[: len(entries)]) & np.isfinite(entries["gradient"]), axis=1)
        known = len(right) if right.all() else int(np.argmin(right))
        if len(right) and not known and np.any(entries["seed"][0]):
            raise ValueError(f"{os.fspath(path)} is the log of a run with another rng: take that one, or another file")
        self.gradients = np.array(entries["gradient"][:known])  #: of the steps that were in the file (k, directions)
        with open(self.path, "ab") as file:
            file.truncate(known * step)

    def append(self, seeds: np.ndarray, gradients: np.ndarray) -> None:
        """Write one step, in one call."""
        entry = np.empty(len(seeds), ENTRY)
        entry["seed"], entry["gradient"] = seeds, gradients
        with open(self.path, "ab", buffering=0) as file:
            file.write(entry.tobytes())

    def finish(self, fits: MezoFits) -> None:
        """Write what the weights are at the end."""
        self.fits = fits
        self._write_header()

    def _write_header(self) -> None:
        write_atomically(_beside(self.path), (json.dumps(json_of(self.settings, self.fits), indent=1) + "\n").encode())


def _beside(path: str | os.PathLike[str]) -> Path:
    return Path(f"{os.fspath(path)}.json")


def _refuse_another(name: str, there: tuple[MezoSettings, MezoFits], settings: MezoSettings, fits: MezoFits) -> None:
    """Raise ValueError where the log of a file is of another run, with the first thing that differs."""
    start = replace(there[1], end="", end_steps=0)
    pairs = [(asdict(there[0]), asdict(settings)), (asdict(start), asdict(fits))]
    for old, new in pairs:
        for key in old:
            if old[key] != new[key]:
                a, b = (_short(x[key]) for x in (old, new))
                raise ValueError(
                    f"{name} is the log of another run: its {key} is {a}, here it is {b}. To go on, take the "
                    "arguments and "
                    "the weights of its start; for a new run, another file"
                )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _parts(name: str, text: bytes) -> tuple[MezoSettings, MezoFits]:
    try:
        return parts(json_from(name, text, kind=WHAT))
    except FileFormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(NOT_WHOLE.format(name, error)) from error


def _log(name: str, settings: MezoSettings, fits: MezoFits, content: bytes) -> MezoLog:
    entries = np.frombuffer(content, ENTRY).reshape(-1, settings.directions)
    if len(entries) > settings.steps or not np.all(np.isfinite(entries["gradient"])):
        raise FileFormatError(NOT_WHOLE.format(name, "more steps than its settings, or gradients that are not finite"))
    return MezoLog(settings, fits, np.array(entries["seed"]), np.array(entries["gradient"]))
