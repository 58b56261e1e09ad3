import io
import re
import time

import pytest
from rich.console import Console

from dataset_diffusion.machine.progress import progress


@pytest.fixture
def lines(monkeypatch, capsys):
    """A function that gives the lines written to a pipe since it was last called."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def read():
        return capsys.readouterr().err.splitlines()

    return read


def test_without_a_terminal_the_end_is_a_line(lines):
    with progress("Draw", 3, "images") as advance:
        advance()
        advance()
        assert lines() == []
        advance()
    (line,) = lines()
    assert re.fullmatch(r"Draw: 3/3 images, \d+\.\d\d/s, 0 s left", line)


def test_without_a_terminal_there_is_a_line_now_and_then(lines):
    with progress("Train", 10, "steps", seconds_between_lines=0.0) as advance:
        advance(4, note="loss 0.5")
    (line,) = lines()
    assert re.fullmatch(r"Train: 4/10 steps, \d+\.\d\d/s, \d+ s left, loss 0\.5", line)


def test_what_an_earlier_run_did_counts_as_done_but_not_as_fast(lines, monkeypatch):
    clock = iter([0.0, 2.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress("Draw", 100, "images", done=90, seconds_between_lines=0.0) as advance:
        advance(4)
    assert lines() == ["Draw: 94/100 images, 2.00/s, 3 s left"]


def test_a_terminal_shows_a_bar_with_count_and_note():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with progress("Train", 10, "steps", done=2, console=console) as advance:
        advance(3, note="loss 0.25")
    last = screen.getvalue()
    assert "Train" in last
    assert "5/10" in last
    assert "loss 0.25" in last


def test_an_error_passes_through(lines):
    with pytest.raises(KeyboardInterrupt), progress("Draw", 3, "images"):
        raise KeyboardInterrupt
    assert lines() == []
