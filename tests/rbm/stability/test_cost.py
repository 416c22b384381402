"""Bounds that take long say so before, and keep what they did."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import rbm
from problems import thermal_block
from rbm.stability import MinTheta, cost


def test_over_a_minute_it_is_a_warning_and_below_a_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.warns(UserWarning, match="the thing will take about 2 min; buy a computer"):
        cost.announce("the thing", 120.0, "buy a computer")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cost.announce("the thing", 59.0, "buy a computer")
        assert capsys.readouterr().err == ""
        cost.announce("the thing", 59.0, "buy a computer", progress=True)
    assert capsys.readouterr().err == "the thing: about 6e+01 s\n"


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "things-1.npz"
    assert cost.read_kept(path, "things", "things", lambda arrays: arrays["a"]) is None
    cost.write_kept(path, "things", "things", {"a": np.arange(3)})
    kept = cost.read_kept(path, "things", "things", lambda arrays: arrays["a"])
    assert kept is not None
    assert kept.tolist() == [0, 1, 2]
    assert cost.read_kept(None, "things", "things", lambda arrays: arrays) is None
    cost.write_kept(None, "things", "things", {})
    for name, kind in (("a", "others"), ("b", "things")):  # of another kind, or without the array
        with pytest.warns(UserWarning, match="cached things are not used and will be computed again"):
            assert cost.read_kept(path, kind, "things", lambda arrays, n=name: arrays[n]) is None
    moved = path.rename(path.with_name("things-2.npz"))  # under another's name
    with pytest.warns(UserWarning, match="cached things are not used"):
        assert cost.read_kept(moved, "things", "things", lambda arrays: arrays["a"]) is None
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="things could not be cached"):
        cost.write_kept(tmp_path / "file" / "things-3.npz", "things", "things", {})


def test_min_theta_says_its_cost_before(monkeypatch: pytest.MonkeyPatch) -> None:
    base = thermal_block((2, 1), 4)
    monkeypatch.setattr(cost, "LONG", 0.0)
    with pytest.warns(UserWarning, match="min-theta: the proofs of 2 operator terms will take about"):
        MinTheta([1.0, 1.0]).bind(rbm.FullOrderModel(**_given(base)))


def _given(base: rbm.FullOrderModel) -> dict:
    names = base.parameters.names
    return {
        "operators": list(zip(names, base.operator_terms, strict=True)),
        "rhs": [(1.0, np.ones(base.dimension))],
        "product": base.product,
        "parameters": base.parameters,
        "stability": 1.0,
    }
