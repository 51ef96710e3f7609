from __future__ import annotations

import pytest
from rich.progress import Progress

from promptless.cli.edge import Lines, moved


@pytest.fixture
def clock():
    """A clock that is set by hand."""
    return [0.0]


@pytest.fixture
def bar(clock):
    progress = Progress(get_time=lambda: clock[0], disable=True)
    return progress, progress.add_task("", total=1.0)


def test_a_bar_that_goes_back_tells_the_time_that_is_left_from_there(bar, clock):
    progress, task = bar
    for i in range(5):
        clock[0] = i
        moved(progress, task, (i + 1) / 5, "reading a")
    assert progress.tasks[0].finished
    for i in range(1, 4):
        clock[0] += 2
        moved(progress, task, i / 100, f"generator {i}/100")
    assert not progress.tasks[0].finished
    assert progress.tasks[0].time_remaining == pytest.approx(194, abs=1)
    assert (progress.tasks[0].completed, progress.tasks[0].description) == (0.03, "generator 3/100")


def test_without_a_terminal_each_stage_and_each_tenth_of_it_has_a_line():
    lines = []
    tell = Lines(lines.append)
    for name in ("reading", "measuring,"):
        for i in range(101):
            tell(i / 100, f"{name} {i}")
    assert lines[:3] == ["  0% reading 0", " 10% reading 10", " 20% reading 20"]
    assert len(lines) == 2 * 11
    assert lines[11] == "  0% measuring, 0"
