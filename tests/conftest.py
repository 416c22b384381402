"""Cases that several files test, and how the tests are spread over processes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import MODELS
from helpers.oracle import Oracle
from helpers.scattering_models import DATA

import rbm
from rbm.online.kernels.batch_query import query
from rbm.storage.cache import kernel_folder

#: Files whose tests share nothing, so that each of them may run in any process; all others run in one process each.
APART = ("test_notebooks",)
#: Files that take longest, in this order: they start first, so that the processes end together.
LONGEST = (
    "test_boundary_elements",
    "test_certified_bounds",
    "test_sketched",
    "test_compressed_operators",
    "test_boxes",
    "test_device_kernel",
    "test_training_sets",
    "test_devices",
    "test_kernels",
)
#: Files with processes of their own start last: the kernels are compiled and on disk by then.
LAST = ("test_command_line", "test_unkind_models", "test_notebooks")


#: Where pytest's cache holds the names of tests that have passed in the last run.
PASSED = "rbm/passed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Continuous integration runs the tests in two environments, and in the second one only what the first left out."""
    parser.addoption("--leave-out-passed", action="store_true", help="leave out tests that passed in the run before")


class Passed:
    """Writes down which tests have passed, in the process that hears of all of them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config, self.names = config, set[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one report; teardown comes after the call."""
        if report.when == "call" and report.passed:
            self.names.add(report.nodeid)
        elif report.failed:
            self.names.discard(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write the names."""
        if getattr(self.config, "cache", None) is not None:
            self.config.cache.set(PASSED, sorted(self.names))


def pytest_configure(config: pytest.Config) -> None:
    """Note what passes; and two processes do not compile the same kernel at the same time.

    The second one waits, and reads it from the disk.
    """
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Passed(config))
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return
    try:
        import fcntl
    except ImportError:  # Windows
        return
    compiled = query.compile

    def once(signature: Any) -> Any:
        with open(Path(tempfile.gettempdir()) / f"rbm-kernels-{run}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return compiled(signature)

    query.compile = once


@pytest.hookimpl(optionalhook=True)  # xdist may be missing
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one process, which makes its fixtures and compiles its kernels once, but for `APART`.

    Not by xdist's marks of groups: those are lost with pytest 9.2, where a test's name cannot be changed.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if Path(file).stem in APART else file

    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)  # before fixtures are made
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every test draws the same numbers of PyTorch, whatever ran before it in its process."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests marked `every(n)` all but each n-th are marked slow; the longest files come first."""
    if config.getoption("--leave-out-passed") and getattr(config, "cache", None) is not None:
        before = set(config.cache.get(PASSED, []))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in before])
        items[:] = [item for item in items if item.nodeid not in before]
    seen: dict[str, int] = {}
    for item in items:
        if (every := item.get_closest_marker("every")) is not None:
            name = item.nodeid.partition("[")[0]
            seen[name] = seen.get(name, -1) + 1
            if seen[name] % every.args[0]:
                item.add_marker(pytest.mark.slow)

    def place(item: pytest.Item) -> int:
        if "[whole" in item.name:  # a notebook or a page as it is, for minutes
            return -200
        stem = item.path.stem
        return LONGEST.index(stem) - 100 if stem in LONGEST else LAST.index(stem) + 1 if stem in LAST else 0

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def stored_matrices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """Gives what RBM_CACHE_DIR was.

    Boundary element matrices come from beside the tests, and nothing but kernels is written to the user's cache.
    """
    before, compiled = os.environ.get("RBM_CACHE_DIR"), kernel_folder()
    folder = shutil.copytree(DATA, tmp_path_factory.mktemp("cache") / "data")
    compiled.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "kernels").symlink_to(compiled)  # kernels are compiled once, and not in every session
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RBM_CACHE_DIR", str(folder))
        yield before


@dataclass(frozen=True, eq=False)
class Case:
    """A greedy basis, 1000 test parameters, and exact residual norms for every basis size."""

    model: rbm.FullOrderModel
    training: np.ndarray
    tests: np.ndarray
    result: rbm.GreedyResult
    oracle: Oracle

    def query(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """theta, phi and gamma at the test parameters for the first `size` basis vectors."""
        gamma = self.result.reduced_model.truncate(size).solve(self.tests, estimate=False).coefficients
        return self.model.operator_coefficients(self.tests), self.model.rhs_coefficients(self.tests), gamma

    @lru_cache(maxsize=32)  # noqa: B019 (a handful of cases, for the length of the session)
    def exact(self, size: int) -> np.ndarray:
        """Exact residual norms at the test parameters."""
        return self.oracle.norm(*self.query(size))

    @lru_cache(maxsize=32)  # noqa: B019
    def projected(self, size: int) -> rbm.ReducedModel:
        """The reduced model of the first `size` basis vectors with all five estimators."""
        return rbm.project(self.model, self.result.basis[:, :size], ("E_onb", "E1", "E2", "E3", "E4"), self.training)


@lru_cache(maxsize=8)
def make_case(name: str) -> Case:
    model = MODELS[name]()
    training = model.parameters.sample(1000, "grid" if name == "real" else "sobol")
    tests = model.parameters.sample(1000, "random", rng=1)
    result = rbm.greedy(
        model, training, max_basis=8 if name != "real" else None, estimators=("E_onb", "E1", "E2"), progress=False
    )
    return Case(model, training, tests, result, Oracle(model, result.basis))


@pytest.fixture(scope="session", params=list(MODELS))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(request.param)


@pytest.fixture(scope="session")
def diffusion() -> Case:
    return make_case("real")
