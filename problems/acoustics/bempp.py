"""Access to bempp-cl as it is used here: quiet, with its Numba kernels, on one thread."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from lowrank.optional import require

__all__ = ["BEMPP", "bempp_api", "one_thread"]

#: The version that the extra `bem` brings; matrices of another one that is installed have files of their own.
BEMPP = "0.4.2"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run what is inside on one Numba thread, and restore the number of threads afterwards.

    The hypersingular kernel of bempp-cl allocates in its parallel loop. Where Numba finds an older TBB, which it
    prefers to all other threading layers, every such call then takes longer than the one before it (66 unknowns, TBB
    2021.8, two threads: 0.6 s the second, 30 s the tenth matrix, 26 MB more each), and Numba's choice of a layer is
    for the whole process. One thread takes 0.4 s on any layer.
    """
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def bempp_api() -> Any:
    """The module bempp_cl.api, imported quietly, with its Numba backend whatever else is installed."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints that gmsh was not found
        warnings.simplefilter("ignore")
        api = require("bempp_cl.api", f"bempp-cl=={BEMPP}", "assembling boundary operators", extra="bem")
        _without_parallel_loops()
    logging.getLogger("bempp").setLevel(logging.WARNING)
    api.DEFAULT_DEVICE_INTERFACE = "numba"
    return api


def _without_parallel_loops() -> None:
    """Make kernels of bempp-cl that are yet to be compiled compile for one thread.

    This takes 43 CPU seconds in place of 66.
    """
    import bempp_cl.core.numba_kernels  # noqa: F401
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if name.startswith("bempp_cl."):
            for item in vars(module).values():
                if isinstance(item, Dispatcher):
                    item.targetoptions.pop("parallel", None)
