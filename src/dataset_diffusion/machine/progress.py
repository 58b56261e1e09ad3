"""How long work shows itself: a bar with rate and time left, or without a terminal, a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dataset_diffusion.errors import is_quiet

Advance = Callable[..., None]
"""``advance(amount=1, note="")``: so much more is done; the note shows beside the bar."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} {task.fields['unit']}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress(
    what: str,
    total: int,
    unit: str,
    done: int = 0,
    *,
    console: Console | None = None,
    seconds_between_lines: float = 15.0,
) -> Iterator[Advance]:
    """Show how far a piece of work is: ``total`` in ``unit``, a plural, of which an earlier run did ``done``.

    It is shown on ``console``, or else on standard error: where that is no terminal, as a line every
    ``seconds_between_lines``. Nothing is shown where the command is to be quiet.
    """
    if is_quiet():
        yield lambda amount=1, note="": None
        return
    console = console or Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(what, total=total, completed=done, unit=unit, note="")
            yield lambda amount=1, note="": bars.update(task, advance=amount, note=note)
    else:
        yield _print_lines(what, total, unit, done, seconds_between_lines)


def _print_lines(what: str, total: int, unit: str, done: int, seconds_between_lines: float) -> Advance:
    """The same on a pipe or in a log file."""
    first, started = done, time.monotonic()
    printed = started

    def advance(amount: int = 1, note: str = "") -> None:
        nonlocal done, printed
        done, now = done + amount, time.monotonic()
        if done < total and now - printed < seconds_between_lines:
            return
        printed = now
        rate = (done - first) / max(now - started, 1e-9)
        left = (total - done) / rate if rate else 0.0
        line = f"{what}: {done}/{total} {unit}, {rate:.2f}/s, {left:.0f} s left"
        print(f"{line}, {note}" if note else line, file=sys.stderr, flush=True)  # noqa: T201

    return advance
