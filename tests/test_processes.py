"""The tests of a file run in one process, however many there are: what they share is made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(6))
def test_a_file_runs_in_one_process(number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        pytest.skip("there is one process")
    shared = Path(tmp_path_factory.getbasetemp()).parent / f"process-of-{run}"
    with open(shared, "a") as file:
        file.write(f"{os.getpid()}\n")
    assert set(shared.read_text().split()) == {str(os.getpid())}
