"""A disk that is full after a while, for workspaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rbm.storage.workspace import FilePiece

__all__ = ["full_after"]


def full_after(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full after so many columns were written to workspaces."""
    whole, done = FilePiece.write, list[int]()

    def write(self: FilePiece, start: int, values: np.ndarray) -> None:
        done.append(values.shape[1])
        if sum(done) > columns:
            path, self.path = self.path, Path("/dev/full")
            try:
                whole(self, start, values)
            finally:
                self.path = path
        whole(self, start, values)

    monkeypatch.setattr(FilePiece, "write", write)
