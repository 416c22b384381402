"""Keywords that differ in one sound, spoken by many synthetic speakers in babble; digits of a human speaker.

Speakers are pairs of a voice and an accent of espeak-ng; 30 % of the voices are held out, with every accent. Clips are
0.6 s long. The digits are those of the Debian package asterisk-core-sounds-en-wav.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.progress import progress_bar
from lowrank.reading import FileFormatError
from ml import array_files
from ml.tasks.speech import RATE, log_mel, resampled, speech_encoder, spoken

__all__ = ["DIGITS", "KEYWORDS", "KeywordTask", "human_digits", "keyword_classifier", "keyword_task", "speakers"]

#: Twelve words, three groups of which the members differ in one sound.
KEYWORDS = ("bat", "pat", "mat", "cat", "bad", "pad", "mad", "cad", "bit", "pit", "mitt", "kit")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
VARIANTS = (
    *("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Alicia"),
    *("Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco"),
    *("Mario", "Michael", "Mike", "Nguyen", "Storm", "adam", "anika", "antonio", "aunty", "belinda"),
    *("benjamin", "boris", "caleb", "david", "ed", "edward", "grandma", "grandpa", "gustave", "iven"),
    *("john", "linda", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro"),
    *("quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac"),
)
#: Words of those who talk in the background, none of which is a keyword.
BABBLE = (
    *("water", "stone", "window", "door", "street", "apple", "river"),
    *("yellow", "orange", "purple", "seven", "eleven", "morning", "evening"),
)
#: Seconds of a clip, and positions of the encoder in it.
SECONDS, POSITIONS = 0.6, 30
#: How many talk in the background, and how much weaker they are in all, in dB.
TALKERS, DECIBELS = 4, (0.0, 12.0)
HUMAN = Path("/usr/share/asterisk/sounds/en/digits")
VERSION = 2
KEYS = ("features", "labels", "speakers", array_files.CHECKSUM)


@dataclass(frozen=True, eq=False)
class KeywordTask:
    """Clips as features of the encoder, the word of each, and which speakers are held out."""

    words: tuple[str, ...]
    features: np.ndarray  #: (n, 80, 2 x 30), half precision
    labels: np.ndarray  #: (n,), places in `words`
    speakers: np.ndarray  #: (n,), who speaks: a place in :func:`speakers`
    training: np.ndarray  #: clips to be trained on
    held_out: np.ndarray  #: clips of other speakers

    @functools.cached_property
    def voices(self) -> np.ndarray:
        """Voice of each clip (n,), whatever its accent."""
        return self.speakers // len(ACCENTS)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Frames of the clips (n,), all the same."""
        return np.full(len(self.labels), self.features.shape[2])

    def batch(self, which: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return features (b, 80, 60) of some clips, as the argument of the network."""
        torch = require("torch", "torch", "keywords", "ml")
        return {"input_features": torch.from_numpy(self.features[np.asarray(which, dtype=int)].astype(np.float32))}


def speakers(rng: int = 0) -> list[str]:
    """Return all speakers, accent+voice: voices in an order drawn with a seed, each with all its accents."""
    order = np.random.default_rng(rng).permutation(len(VARIANTS))
    return [f"{accent}+{VARIANTS[k]}" for k in order for accent in ACCENTS]


def keyword_task(
    folder: str | os.PathLike[str] | None = None,
    *,
    words: Sequence[str] = KEYWORDS,
    training: int = 6000,
    held_out: int = 4200,
    noise: bool = True,
    rng: int = 0,
    progress: bool = False,
) -> KeywordTask:
    """Return clips of words by speakers, of whose voices 30 % are held out.

    Parameters
    ----------
    folder : the clips are read from a file there, if they have been made, or written to it; None: made each time
    training, held_out : numbers of clips of the speakers that are trained on, and of the others
    noise : babble of four talkers among those of the same group, 0 to 12 dB weaker in all; False: clean
    rng : seed of everything that is drawn: speakers, words, pitch, speed, where a word begins, babble

    Raises
    ------
    ImportError
        espeak-ng, transformers or PyTorch is missing: with the line that brings it.
    ValueError
        fewer clips than words; FileFormatError: the file in the folder is damaged or of other settings.

    Notes
    -----
    Cost: 15 ms a clip, most of it espeak-ng: 3 minutes for 10 000 clips, once.
    """
    if min(training, held_out) < len(words):
        raise ValueError(f"there are {len(words)} words: training and held_out must be at least as many clips, got "
                         f"{training} and {held_out}")  # fmt: skip
    settings = [VERSION, list(words), training, held_out, noise, rng, SECONDS, TALKERS, DECIBELS]
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    path = None if folder is None else Path(folder) / f"keywords-{name}.npz"
    if path is not None and path.is_file():
        return _read(path, tuple(words), training, held_out)
    everyone = speakers(rng)
    first = len(ACCENTS) * round(0.7 * len(VARIANTS))
    parts = []
    for group, count, seed in ((range(first), training, 0), (range(first, len(everyone)), held_out, 1)):
        parts.append(_clips(words, everyone, list(group), count, noise, np.random.default_rng((rng, seed)), progress))
    features, labels, who = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        array_files.write_arrays(path, dict(zip(KEYS[:3], (features, labels, who), strict=True)), (".npz",))
    return _task(tuple(words), features, labels, who, training, held_out)


def _clips(
    words: Sequence[str],
    everyone: Sequence[str],
    group: Sequence[int],
    count: int,
    noise: bool,
    rng: np.random.Generator,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and speakers of clips of one group of speakers."""
    length = round(SECONDS * RATE)
    labels = rng.permutation(np.arange(count) % len(words))
    who = np.array(group)[rng.permutation(np.arange(count) % len(group))]
    talk = _babble(everyone, group, rng) if noise else None
    sounds = []
    for label, speaker in progress_bar(list(zip(labels, who, strict=True)), "speaking", enabled=progress):
        pitch, speed = int(rng.integers(25, 80)), int(rng.integers(130, 220))
        sound = _trimmed(spoken(words[label], everyone[speaker], pitch=pitch, speed=speed))[:length]
        clip = np.zeros(length, dtype=np.float32)
        begin = int(rng.integers(0, length - len(sound) + 1))
        clip[begin : begin + len(sound)] = sound
        if talk is not None:
            others = sum(_piece(talk, length, rng) for _ in range(TALKERS))
            weaker = rng.uniform(*DECIBELS)
            size = np.linalg.norm(sound) / np.sqrt(max(len(sound), 1)) / 10 ** (weaker / 20)
            clip += np.float32(size) * others / max(float(np.sqrt(np.mean(others**2))), 1e-9)
        sounds.append(clip / max(float(np.max(np.abs(clip))), 1e-9))
    blocks = [log_mel(sounds[k : k + 500], POSITIONS).numpy().astype(np.float16) for k in range(0, count, 500)]
    return np.concatenate(blocks), labels, who


def _babble(everyone: Sequence[str], group: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return a minute or so of other words by speakers of the same group."""
    parts = []
    for speaker in rng.choice(np.array(group), size=min(120, len(group)), replace=False):
        word, speed = BABBLE[rng.integers(len(BABBLE))], int(rng.integers(130, 220))
        parts.append(_trimmed(spoken(word, everyone[speaker], pitch=int(rng.integers(25, 80)), speed=speed)))
    return np.concatenate([part / max(float(np.sqrt(np.mean(part**2))), 1e-9) for part in parts])


def _piece(sound: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    begin = int(rng.integers(0, len(sound) - length))
    return sound[begin : begin + length]


def _trimmed(sound: np.ndarray) -> np.ndarray:
    """Return a sound without the silence around it."""
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.max(np.abs(sound), initial=1e-9))
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound


def _read(path: Path, words: tuple[str, ...], training: int, held_out: int) -> KeywordTask:
    name = os.fspath(path)

    def accept(keys: list[str]) -> None:
        if sorted(keys) != sorted(KEYS):
            raise FileFormatError(f"{name} holds no clips; delete it, and they are made anew")

    arrays = array_files.read_arrays(path, accept, "file of clips", (".npz",))
    array_files.pop_checksum(name, arrays)
    n = training + held_out
    features, labels, who = (arrays[key] for key in KEYS[:3])
    if [a.shape for a in (features, labels, who)] != [(n, 80, 2 * POSITIONS), (n,), (n,)]:
        raise FileFormatError(f"{name} does not hold {n} clips; delete it, and they are made anew")
    return _task(words, features, labels, who, training, held_out)


def _task(words: Any, features: Any, labels: Any, who: Any, training: int, held_out: int) -> KeywordTask:
    return KeywordTask(words, features, labels, who, np.arange(training), np.arange(training, training + held_out))


def human_digits() -> KeywordTask:
    """Return ten clips, the digits of one human speaker, none of them to be trained on.

    Raises ImportError, with the line that installs it, where the Debian package is missing.
    """
    sounds = []
    for k in range(10):
        path = HUMAN / f"{k}.wav"
        if not path.is_file():
            raise ImportError(f"{path} is missing: apt-get install asterisk-core-sounds-en-wav")
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 2**15
            sound = _trimmed(resampled(samples, file.getframerate()))
        sounds.append(sound / np.max(np.abs(sound)))
    features = log_mel(sounds, POSITIONS).numpy().astype(np.float16)
    none = np.zeros(10, dtype=int)
    return KeywordTask(DIGITS, features, np.arange(10), none, none[:0], np.arange(10))


@functools.cache
def _classifier_class() -> Any:
    import torch

    class KeywordClassifier(torch.nn.Module):
        """Mean of the encoder's vectors over time, and a linear layer."""

        def __init__(self, encoder: Any, width: int, words: int) -> None:
            super().__init__()
            self.encoder = encoder
            self.classifier = torch.nn.Linear(width, words)

        def forward(self, input_features: Any) -> Any:
            return self.classifier(self.encoder(input_features).last_hidden_state.mean(1))

    return KeywordClassifier


def keyword_classifier(words: int = len(KEYWORDS), *, rng: int = 0, encoder: Any = None) -> Any:
    """Return the network: the encoder of Whisper tiny.en for clips of 0.6 s, and a linear head with random weights.

    encoder : another one in its place, with the width `.config.d_model`. Raises ImportError for what is missing.
    """
    torch = require("torch", "torch", "keywords", "ml")
    encoder = speech_encoder(POSITIONS) if encoder is None else encoder
    torch.manual_seed(rng)
    return _classifier_class()(encoder, encoder.config.d_model, words)
