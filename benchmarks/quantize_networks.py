"""Bits of networks, ``python -m benchmarks.quantize_networks [FOLDER]``: the study of ml.studies, and peers' weights.

Cases that are done are kept in FOLDER (by default out/quantize) and in benchmarks/quantize_networks.json; run anew, it
goes on where it was.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import lowrank
from benchmarks.harness import machine

RESULTS = Path(__file__).with_name("quantize_networks.json")


def ours(w: np.ndarray, bits: int, group: int | None) -> np.ndarray:
    """Return decoded weights, one scale max |w| / m a row or group."""
    return lowrank.quantize(w, bits, group=group, scales="float32").to_dense()


def torchao(w: np.ndarray, bits: int, group: int | None) -> np.ndarray:
    """Return the same by torchao's symmetric scheme, with integers from -m to m."""
    import torch
    from torchao.quantization.quant_primitives import (
        MappingType,
        choose_qparams_affine,
        dequantize_affine,
        quantize_affine,
    )

    m, block, x = 2 ** (bits - 1) - 1, (1, group or w.shape[1]), torch.from_numpy(w)
    kinds = {"scale_dtype": torch.float32, "zero_point_dtype": torch.int32}
    scale, zero = choose_qparams_affine(x, MappingType.SYMMETRIC, block, torch.int8, -m, m, eps=1e-30, **kinds)
    codes = quantize_affine(x, block, scale, zero, torch.int8, -m, m)
    return dequantize_affine(codes, block, scale, zero, torch.int8, -m, m, output_dtype=torch.float32).numpy()


def bitsandbytes(w: np.ndarray) -> np.ndarray:
    """Return the same by the 8-bit rows of bitsandbytes, which takes half precision."""
    import torch
    from bitsandbytes import functional

    codes, largest, _ = functional.int8_vectorwise_quant(torch.from_numpy(w).half())
    return (codes.float() * (largest.float() / 127)[:, None]).numpy()


def peers(weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """Compare all weights of a network with both: how many numbers there are, and how many differ by half a step."""
    found: dict[str, Any] = {}
    schemes = {
        "torchao, 8 bits a row": (torchao, 8, None),
        "torchao, 4 bits a row": (torchao, 4, None),
        "torchao, 4 bits, groups of 32": (torchao, 4, 32),
        "bitsandbytes, 8 bits a row": (lambda w, bits, group: bitsandbytes(w), 8, None),
    }
    for name, (peer, bits, group) in schemes.items():
        total, other, largest = 0, 0, 0.0
        try:
            for w in weights.values():
                given = w.astype(np.float16).astype(np.float32) if name.startswith("bits") else w
                a, b = ours(given, bits, group), peer(given, bits, group)
                steps = np.max(np.abs(given)) / (2 ** (bits - 1) - 1)
                off = np.abs(a - b)
                total, other = total + off.size, other + int(np.count_nonzero(off > 1e-3 * steps))
                largest = max(largest, float(np.max(off / steps)))
        except ImportError as error:
            found[name] = {"missing": str(error)}
            continue
        found[name] = {"numbers": total, "differ": other, "largest_in_steps": largest}
    return found


def main(folder: Path) -> int:
    """Run the study, compare with peers, print tables and write the JSON."""
    import torch

    from ml import studies
    from ml.quantization.sites import sites_of
    from ml.tasks.reviews import classifier

    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= {"machine": machine(), "networks": studies.run("quantize", folder)}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    results["peers"] = peers({s.name: s.array() for s in sites_of(classifier(), ["classifier"])})
    for name, row in results["peers"].items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/quantize")))
