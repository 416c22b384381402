"""Orders of elimination that are kept, of the patterns seen last: those of A(mu) are all the same."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

__all__ = ["KeptOrders"]

#: Patterns that are kept.
COUNT = 4


class KeptOrders:
    """Something found for a sparsity pattern, by the content of the pattern; calls may come from several threads."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, Any] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(*arrays: np.ndarray) -> bytes:
        """Return a digest of the arrays that a pattern is stored as."""
        sums = hashlib.blake2b(digest_size=24)
        for array in arrays:
            sums.update(str((array.shape, array.dtype)).encode())
            sums.update(np.ascontiguousarray(array).data)
        return sums.digest()

    def get(self, key: bytes) -> Any:
        """Return what was found for the pattern, or None."""
        with self._lock:
            return self._found.get(key)

    def put(self, key: bytes, found: Any) -> None:
        """Keep it; what was kept first goes."""
        with self._lock:
            self._found[key] = found
            while len(self._found) > COUNT:
                self._found.popitem(last=False)

    def __len__(self) -> int:
        return len(self._found)

    def clear(self) -> None:
        """Forget all that was kept."""
        with self._lock:
            self._found.clear()
