"""Freed memory stays with the process: later factorisations find it without page faults."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from problems import thermal_block
from rbm.solvers.factorization import symmetric_lu

product = thermal_block().product
for _ in range(3):
    symmetric_lu(product)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    symmetric_lu(product)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def faults(**setting: str) -> int:
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    env = others | setting
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about the C library of Linux")
def test_factorisations_find_the_memory_of_those_before() -> None:
    """7081 unknowns: some 3 MB, which are 400 to 700 pages."""
    assert faults() < 20 < 200 < faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert faults(GLIBC_TUNABLES="glibc.malloc.trim_threshold=131072") > 200
