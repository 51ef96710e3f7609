from __future__ import annotations

import sys

import pytest

from promptless.io.scores import draw_curves, write_table


def test_a_number_that_is_not_defined_is_an_empty_cell(tmp_path):
    write_table(tmp_path / "a.csv", ("name", "value"), [("one, two", 0.125), ("three", float("nan"))])
    assert (tmp_path / "a.csv").read_text() == 'name,value\n"one, two",0.125\nthree,\n'


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw_curves(tmp_path / "a.png", (0.5, 0.75), {"AP": (0.9, 0.4), "F1": (0.95, 0.5)})
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_curves_without_matplotlib_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'promptless\[plots\]'"):
        draw_curves(tmp_path / "a.png", (0.5,), {"AP": (0.9,)})
