"""Damaged files: ``python -m benchmarks.truth files [--count 10000] [--kernels 300]``.

Models, checkpoints, embeddings and caches of matrices and anchors are damaged and read in one process; compiled kernels
each in a process of its own, as what Numba makes of damage may end it. What comes of it is

refused   FileFormatError that names the file
rebuilt   a cache that says so and is made again
same      the numbers are those of the whole file: the damage lies where nothing is read
wrong     other numbers without a word                      a failure
error     any other exception, or the end of the process    a failure

Results are kept in truth_files.json; a run goes on where the last one stopped, and starts anew after a change of the
sources.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks.damage import DAMAGES
from benchmarks.harness import text_table
from lowrank.reading import digest
from ml import FactorizedEmbedding, load_embedding, save_embedding
from problems import reaction_diffusion_1d, surface
from problems.acoustics import matrix_cache
from rbm.files.greedy_file import load_greedy

__all__ = ["Kind", "kinds", "main", "outcome", "sweep"]

SEED = 2026
RESULTS = Path(__file__).with_name("truth_files.json")
OUTCOMES = ("refused", "rebuilt", "same", "wrong", "error")
#: Files between two writings of the results.
PIECE = 250


@dataclass(frozen=True)
class Kind:
    """A kind of file: whole ones, and how they are read."""

    paths: list[Path]
    #: path -> digest of all numbers that were read; None where a cache is made again
    read: Callable[[Path], str | None]
    #: a whole file of the same kind in another's place is another file (of a cache: damage)
    cache: bool = False


def _model(path: Path) -> str:
    model = rbm.load(path)
    solution = model.solve(model.parameters.sample(3))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "again.rbm")  # the same model gives the same bytes
        content = (Path(folder) / "again.rbm").read_bytes()
    return hashlib.sha256(content + solution.coefficients.tobytes() + solution.bound.tobytes()).hexdigest()


def _checkpoint(path: Path) -> str:
    basis, parameters, rows, *rest = load_greedy(path)
    return digest({"basis": basis, "parameters": parameters, "rows": rows}) + repr(rest)


def _embedding(path: Path) -> str:
    made = load_embedding(path)
    blocks = {f"{b} {i}": a for b, pair in enumerate(made.blocks) for i, a in enumerate(pair) if a is not None}
    return digest(blocks | ({} if made.place is None else {"place": made.place})) + repr(type(made.tokens))


def _operators(mesh: Any, wavenumbers: dict[Path, float]) -> Callable[[Path], str | None]:
    def read(path: Path) -> str | None:
        made = matrix_cache.read_matrices(path.parent, mesh, wavenumbers[path], 4)
        return None if made is None else digest(dict(zip(("single", "tested", "hypersingular"), made, strict=True)))

    return read


def _anchors(bounds: dict[Path, tuple[rbm.stability.Anchored, rbm.FullOrderModel]]) -> Callable[[Path], str | None]:
    def read(path: Path) -> str | None:
        anchored, model = bounds[path]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            content, made = path.read_bytes(), anchored.bind(model)
        for warning in said:
            warnings.warn(str(warning.message), UserWarning, stacklevel=1)
        assert not said or path.read_bytes() != content, "it says that it is made again, and is not"
        return None if said else digest(made.arrays())

    return read


def kinds(folder: Path) -> dict[str, Kind]:
    """Whole files of every kind, in a folder."""
    rng = np.random.default_rng(SEED)
    models = [reaction_diffusion_1d(40)]
    two = rbm.ParameterSpace({"a": (1.0, 2.0), "b": (-1.0, 1.0)})
    matrices = [np.diag(rng.uniform(1, 2, 12)) for _ in range(2)]
    anchored = rbm.stability.Anchored(two.sample(20), progress=False)
    terms, output = [("a + 1j*b", matrices[0]), (1.0, matrices[1])], {"mean": np.ones(12)}
    models.append(rbm.FullOrderModel(terms, [(1.0, np.ones(12))], matrices[0], two, anchored, output))
    paths: dict[str, list[Path]] = {"model": [], "checkpoint": [], "embedding .npz": [], "embedding .safetensors": []}
    for i, model in enumerate(models):
        run = rbm.greedy(model, model.parameters.sample(30), max_basis=4, progress=False)
        paths["checkpoint"].append(folder / f"{i}.greedy")
        run.save(paths["checkpoint"][-1])
        paths["model"].append(folder / f"{i}.rbm")
        rbm.project(model, run.basis, ("E_onb", "E2", "E3")).save(paths["model"][-1])
    for i, dtype in enumerate(("f4", "f8")):
        square = [rng.standard_normal((6, 6)).astype(dtype) for _ in range(4)]
        embedding = (
            FactorizedEmbedding(square[0], square[1])
            if i
            else FactorizedEmbedding((square[0], square[1]), (square[2], square[3]), rng.permutation(12))
        )
        for suffix in (".npz", ".safetensors"):
            try:
                save_embedding(embedding, folder / f"e{i}{suffix}")
            except ImportError:
                continue
            paths[f"embedding {suffix}"].append(folder / f"e{i}{suffix}")
    readers = {"model": _model, "checkpoint": _checkpoint}
    made = {name: Kind(p, readers.get(name, _embedding)) for name, p in paths.items() if p}
    mesh, wavenumbers = surface("sphere", 0), {}
    n = mesh.vertices.shape[1]
    for k in (1.0, 2.0):
        matrix_cache.write_matrices(
            folder, mesh, k, 4, tuple(rng.standard_normal((3, n, n)) + 1j * rng.standard_normal((3, n, n)))
        )
        wavenumbers[matrix_cache.cached_file(folder, mesh, k, 4)] = k
    made["cached matrices"] = Kind(list(wavenumbers), _operators(mesh, wavenumbers), cache=True)
    bounds = {}
    for count in (20, 24):  # of training points: names of files tell them apart
        anchored = rbm.stability.Anchored(two.sample(count), progress=False, cache=folder)
        before = set(folder.glob("anchors-*"))
        anchored.bind(models[1])
        bounds[(set(folder.glob("anchors-*")) - before).pop()] = anchored, models[1]
    made["cached anchors"] = Kind(list(bounds), _anchors(bounds), cache=True)
    return made


def outcome(kind: Kind, path: Path, whole: bytes, expected: str | None, damaged: bytes) -> tuple[str, str]:
    """What becomes of a damaged file, and the message. The whole file is there again afterwards."""
    path.write_bytes(damaged)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = kind.read(path)
    except rbm.FileFormatError as error:
        return ("refused" if not kind.cache and str(path) in str(error) else "error"), str(error)
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    finally:
        path.write_bytes(whole)
    message = "; ".join(str(w.message) for w in said)
    if found is None:
        return ("rebuilt" if kind.cache and str(path) in message else "error"), message
    return ("same" if found == expected else "wrong"), message


def sweep(name: str, made: dict[str, Kind], start: int, stop: int, examples: list[str]) -> Counter[str]:
    """Files number `start` to `stop` of a kind; how many of "damage: outcome" there are."""
    kind, counts = made[name], Counter[str]()
    whole = {path: path.read_bytes() for k in made.values() for path in k.paths}
    expected = {path: kind.read(path) for path in kind.paths}
    for index in range(start, stop):
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), index])
        path = kind.paths[rng.integers(len(kind.paths))]
        damage = list(DAMAGES)[index % len(DAMAGES)]
        # another whole file of this kind under this name is right, unless the name says what is in it: then it comes
        # half of the time
        others = [c for p, c in whole.items() if p not in kind.paths] + [b"mu\n1.0\n", b"\x80\x04."]
        others += [c for p in kind.paths if p != path and kind.cache for c in [whole[p]] * len(others)]
        damaged = DAMAGES[damage](rng, whole[path], others)
        if damaged is None or damaged == whole[path]:  # cannot happen to this kind, or did not
            damage, damaged = "one bit", DAMAGES["one bit"](rng, whole[path], others)
        what, message = outcome(kind, path, whole[path], expected[path], damaged)
        counts[f"{damage}: {what}"] += 1
        if what in ("wrong", "error") and len(examples) < 10:
            examples.append(f"{name} {index}, {damage}: {what} {message[:200]}")
    return counts


def sources() -> str:
    """Digest of all that the results depend on."""
    here = Path(__file__).parent
    found = hashlib.sha256(str(SEED).encode())
    for path in [
        here / "damage.py",
        Path(__file__),
        here / "truth_kernels.py",
        *(p for f in ("rbm", "lowrank", "ml", "problems") for p in sorted((here.parent / f).rglob("*.py"))),
    ]:
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def table(results: dict[str, dict[str, int]], by: int, title: str, notes: Sequence[str] = ()) -> str:
    """Counts by kind (by=0) or by damage (by=1)."""
    rows: dict[str, Counter[str]] = {}
    for name, counts in results.items():
        for key, count in counts.items():
            damage, what = key.split(": ")
            rows.setdefault((name, damage)[by], Counter())[what] += count
    rows["all"] = sum(rows.values(), Counter())
    lines = [(name, str(sum(r.values())), *(str(r[what]) for what in OUTCOMES)) for name, r in rows.items()]
    return text_table(title, ("file" if by == 0 else "damage", "files", *OUTCOMES), lines, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.truth files``; exit status 1 if anything was wrong or an error of another kind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth files", description="Damaged files.")
    parser.add_argument("--count", type=int, default=10_000, help="damaged files of all kinds together, in one process")
    parser.add_argument(
        "--kernels", type=int, default=300, help="damaged files of compiled kernels, each in a process of its own"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept")
    options = parser.parse_args(arguments)
    stored = json.loads(options.results.read_text()) if options.results.exists() else {}
    if stored.get("sources") != sources():
        stored = {"sources": sources(), "counts": {}, "examples": []}
    counts, start = stored["counts"], time.process_time()

    def keep(name: str, more: Counter[str]) -> None:
        counts[name] = dict(Counter(counts.get(name, {})) + more)
        options.results.write_text(json.dumps(stored, indent=1) + "\n")
        done = sum(sum(c.values()) for c in counts.values())
        print(f"{done} files, {time.process_time() - start:.0f} CPU s, {name}", file=sys.stderr, flush=True)

    from benchmarks.truth_kernels import sweep_kernels

    # first: its processes are forks of this one, which must not have loaded a kernel
    while (done := sum(counts.get("compiled kernels", {}).values())) < options.kernels:
        keep("compiled kernels", sweep_kernels(done, min(done + 50, options.kernels), stored["examples"]))
    with tempfile.TemporaryDirectory() as folder:
        made = kinds(Path(folder))
        for name in made:
            while (done := sum(counts.get(name, {}).values())) < -(-options.count // len(made)):
                keep(
                    name, sweep(name, made, done, min(done + PIECE, -(-options.count // len(made))), stored["examples"])
                )
    print(table(counts, 0, f"Damaged files, seed {SEED}, {time.process_time() - start:.0f} CPU s"))
    print(table(counts, 1, "By damage", stored["examples"]))
    return int(any(key.endswith((": wrong", ": error")) for c in counts.values() for key in c))


if __name__ == "__main__":
    sys.exit(main())
