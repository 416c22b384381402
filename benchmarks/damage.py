"""What happens to files on disks, in transfers, by tools and by people.

Each damage makes bytes of bytes, at random places.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["DAMAGES", "Damage"]

#: (generator, the whole file, other whole files) -> the damaged file, or None if this cannot happen to a file of this
#: kind
Damage = Callable[[np.random.Generator, bytes, Sequence[bytes]], bytes | None]


def _run(rng: np.random.Generator, content: bytes) -> tuple[int, int]:
    """A place and a length, short ones as often as long ones."""
    length = int(min(2 ** rng.uniform(0, np.log2(len(content) + 1)), len(content)))
    return int(rng.integers(0, len(content) - length + 1)), length


def one_bit(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def bits(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(2, 30)):
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)


def run_of_zeros(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    start, length = _run(rng, content)
    return content[:start] + bytes(length) + content[start + length :]


def run_of_noise(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    start, length = _run(rng, content)
    return content[:start] + rng.bytes(length) + content[start + length :]


def cut_short(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    return content[: rng.integers(len(content))]


def head_missing(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    return content[rng.integers(1, len(content) + 1) :]


def missing(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    start, length = _run(rng, content)
    return content[:start] + content[start + length :]


def doubled(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    start, length = _run(rng, content)
    return content[: start + length] + content[start:]


def inserted(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    start, length = _run(rng, content)
    return content[:start] + rng.bytes(length) + content[start:]


def runs_exchanged(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    a, b, c, d = (int(x) for x in np.sort(rng.integers(0, len(content) + 1, 4)))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def nothing_or_zeros(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    return bytes(int(rng.choice([0, 1, 8, 22, len(content)])))


def spliced(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    """The head of one file, the tail of another."""
    other = others[rng.integers(len(others))]
    return content[: rng.integers(1, len(content))] + other[rng.integers(len(other)) :]


def foreign(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    """Another file under this name, or behind this one."""
    other = others[rng.integers(len(others))]
    return other if rng.random() < 0.7 else content + other


def words(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes:
    """A 32-bit word of the file's own tables replaced by an extreme one: sizes, offsets, counts."""
    places = [
        i for mark in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY") for i in _all(content, mark)
    ] or [0]
    start = int(max(min(places[rng.integers(len(places))] + rng.integers(4, 46), len(content) - 4), 0))
    word = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(content), int(rng.integers(1 << 32))]))
    return content[:start] + struct.pack("<I", word) + content[start + 4 :]


def _all(content: bytes, mark: bytes) -> list[int]:
    found, start = [], content.find(mark)
    while start >= 0:
        found.append(start)
        start = content.find(mark, start + 1)
    return found


def members_exchanged(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes | None:
    """Two arrays under each other's names, everything else in order."""
    names, blobs, build = _parts(content)
    if len(names) < 2:
        return None
    i, j = (int(x) for x in rng.choice(len(names), 2, replace=False))
    blobs[i], blobs[j] = blobs[j], blobs[i]
    return build(names, blobs)


def member_changed(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes | None:
    """An array with other bytes, or another number of them, in a container that is whole."""
    names, blobs, build = _parts(content)
    if not names:
        return None
    i = int(rng.integers(len(names)))
    change = (one_bit, bits, cut_short, missing, doubled, words)[rng.integers(6)]
    # the entries of an .npy file begin at byte 128; most damage to small ones would go into the header
    start = 128 if len(blobs[i]) > 128 and rng.random() < 0.7 else 0
    if blobs[i]:
        blobs[i] = blobs[i][:start] + (change(rng, blobs[i][start:], others) or b"")
    return build(names, blobs)


def member_missing(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes | None:
    """An array that is not there, or there under two names."""
    names, blobs, build = _parts(content)
    if not names:
        return None
    i = int(rng.integers(len(names)))
    if rng.random() < 0.5:
        return build(names[:i] + names[i + 1 :], blobs[:i] + blobs[i + 1 :])
    return build([*names, f"more_{names[i]}"], [*blobs, blobs[i]])


def compressed(rng: np.random.Generator, content: bytes, others: Sequence[bytes]) -> bytes | None:
    """The same members, compressed by some tool; one of them may unpack to 16 MB."""
    if content[:2] != b"PK":
        return None
    names, blobs, _ = _parts(content)
    if names and rng.random() < 0.3:
        blobs[0] += bytes(1 << 24)
    return _zip(names, blobs, zipfile.ZIP_DEFLATED)


def _parts(content: bytes) -> tuple[list[str], list[bytes], Callable[[Sequence[str], Sequence[bytes]], bytes]]:
    """Members of a zip archive, tensors of a .safetensors file, with what puts them together again; else none."""
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            return names, [archive.read(n) for n in names], _zip
    length = int.from_bytes(content[:8], "little")
    if content[8:9] != b"{":
        return [], [], _zip
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    names = list(header)

    def build(chosen: Sequence[str], blobs: Sequence[bytes]) -> bytes:
        new, start = {}, 0
        for name, blob in zip(chosen, blobs, strict=True):
            # dtype and shape stay with the name, as they would if two tensors of one shape changed places
            new[name] = header[name.removeprefix("more_")] | {"data_offsets": [start, start + len(blob)]}
            start += len(blob)
        text = json.dumps(new).encode()
        return len(text).to_bytes(8, "little") + text + b"".join(blobs)

    return names, [data[slice(*header[n]["data_offsets"])] for n in names], build


def _zip(names: Sequence[str], blobs: Sequence[bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as archive:
        for name, blob in zip(names, blobs, strict=True):
            archive.writestr(name, blob)
    return content.getvalue()


DAMAGES: dict[str, Damage] = {
    f.__name__.replace("_", " "): f
    for f in (
        one_bit,
        bits,
        run_of_zeros,
        run_of_noise,
        cut_short,
        head_missing,
        missing,
        doubled,
        inserted,
        runs_exchanged,
        nothing_or_zeros,
        spliced,
        foreign,
        words,
        members_exchanged,
        member_changed,
        member_missing,
        compressed,
    )
}
