"""Run the command line: in this process, where the imports are done, or in one of its own, which may be killed."""

import contextlib
import io
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dataset_diffusion.__main__ import main

# A server that has imported everything and computed nothing, so that each process it forks starts at once and cleanly.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["dataset_diffusion.stages.run", "dataset_diffusion.diffusion.families.unet"])


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


def run_command(*words: object) -> Outcome:
    """Run a command to its end in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return Outcome(end.value.code, out.getvalue(), err.getvalue())


def succeed(*words: object) -> str:
    """Run a command that must succeed; what it printed."""
    outcome = run_command(*words)
    assert outcome.status == 0, outcome.err
    return outcome.out


def refuse(*words: object) -> str:
    """Run a command that must be refused with one line; that line without its "error: "."""
    outcome = run_command(*words)
    assert outcome.status == 2, outcome
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def last_line(*words: object) -> str:
    """Run a command that must be refused when it is under way; its last line without the "error: "."""
    outcome = run_command(*words)
    assert outcome.status == 2, outcome
    line = outcome.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


class Command:
    """A command in a process of its own.

    Args:
        words: the command line.
        printed: file that takes what it prints.
        largest_file: bytes after which writing to a file fails, as it does on a full disk; None sets no limit.
        interrupted: a folder and a number: Ctrl-C comes when so many files below it have been opened for writing and it
            opens one more; None lets it work.
    """

    def __init__(
        self,
        *words: object,
        printed: Path,
        largest_file: int | None = None,
        interrupted: tuple[Path, int] | None = None,
    ) -> None:
        self.printed = printed
        line = [str(word) for word in words]
        # The bytes that a model gives depend on the number of threads: as many as here.
        asked = (line, printed, largest_file, interrupted, torch.get_num_threads())
        # No daemon, which may not have workers of its own.
        self._process = _processes.Process(target=_run, args=asked)
        self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process.exitcode is None

    @property
    def lines(self) -> list[str]:
        """What the command printed so far."""
        return self.printed.read_text().splitlines() if self.printed.exists() else []

    @property
    def last_line(self) -> str:
        """The last line of it."""
        return self.lines[-1] if self.lines else ""

    @property
    def process_id(self) -> int:
        return self._process.pid or 0

    def send(self, number: int) -> None:
        os.kill(self.process_id, number)

    def wait(self, seconds: float | None = 300) -> int:
        """Exit status; the negative number of the signal that killed it."""
        self._process.join(seconds)
        if self.is_running:
            raise TimeoutError(self.printed.read_text())
        return self._process.exitcode or 0

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait while the command runs, until ``happened()``."""
        while not happened():
            assert self.is_running, self.printed.read_text()
            time.sleep(0.002)


def call_until_killed(function: Callable[..., None], *arguments: object, below: Path, opened: int) -> None:
    """Call a function in a process of its own, which is killed when it opens one file too many for writing.

    Args:
        function: a function of a module.
        arguments: of the function.
        below: the folder whose files are counted.
        opened: how many of them may be opened for writing.
    """
    victim = _processes.Process(target=_call_and_count, args=(function, arguments, below, opened), daemon=True)
    victim.start()
    victim.join(timeout=300)
    assert victim.exitcode == -signal.SIGKILL


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def times_of(folder: Path) -> dict[str, int]:
    """When each of them was last written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _run(
    words: list[str],
    printed: Path,
    largest_file: int | None,
    interrupted: tuple[Path, int] | None,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    with printed.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # The shell that started the tests may have told them to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if interrupted is not None:
        _when_opened(*interrupted, signal.SIGINT)
    main(words)


def _call_and_count(function: Callable[..., None], arguments: tuple[object, ...], below: Path, opened: int) -> None:
    _when_opened(below, opened, signal.SIGKILL)
    function(*arguments)


def _when_opened(below: Path, opened: int, number: signal.Signals) -> None:
    """Send this process a signal, once, when so many files below a folder were opened for writing, and one more is."""
    left = opened

    def count(event: str, details: tuple[object, ...]) -> None:
        nonlocal left
        if event == "open" and str(details[0]).startswith(str(below)) and details[1] != "r":
            left -= 1
            if left == -1:
                os.kill(os.getpid(), number)

    sys.addaudithook(count)


def help_entries(command):
    """Each option or argument of a command's help, with its text."""
    lines = [line.strip() for line in succeed(command, "--help").splitlines()]
    starts = [number for number, line in enumerate(lines) if re.match(r"--[a-z]|-h|\[?[A-Z]{2,}", line)]
    spans = zip(starts, [*starts[1:], len(lines)], strict=True)
    return {lines[start].split()[0].strip(","): " ".join(lines[start:end]) for start, end in spans}
