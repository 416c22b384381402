"""``python -m benchmarks [NAME ...]``: offline, online, eim, lowrank, scattering, blocks, quantize, chunks, and so on.

Prints the tables, all by default, and writes benchmarks/results.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import (
    adapters,
    blocks,
    chunks,
    debias,
    halo,
    interpolation,
    language,
    lean,
    low_rank,
    mezo,
    offline,
    online,
    parabolic,
    quantize,
    scale,
    scattering,
)
from benchmarks.harness import machine, require_pymor

BENCHMARKS = {
    "offline": offline,
    "online": online,
    "eim": interpolation,
    "lowrank": low_rank,
    "scattering": scattering,
    "blocks": blocks,
    "quantize": quantize,
    "chunks": chunks,
    "mezo": mezo,
    "lean": lean,
    "language": language,
    "adapters": adapters,
    "debias": debias,
    "halo": halo,
    "time": parabolic,
    "scale": scale,
}
RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Run the benchmarks that were asked for; results of the others stay in the file as they are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Times and accuracies beside pyMOR.")
    parser.add_argument("names", nargs="*", metavar="|".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    try:
        require_pymor()
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    where = machine()
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names:
        result = BENCHMARKS[name].run()
        print(f"\n{BENCHMARKS[name].table(result)}", flush=True)
        results[name] = {"machine": where, **_rounded(result)}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _rounded(value: Any) -> Any:
    """Four significant digits: what the clocks are worth."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
