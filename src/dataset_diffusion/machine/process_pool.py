"""Have processes of this machine do pieces of work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from os import _exit
from typing import TypeVar

import torch

from dataset_diffusion.errors import DatasetError

Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")


def work_in_processes(
    pieces: Sequence[Piece], do: Callable[[Piece], Outcome], num_workers: int | None = None
) -> Iterator[Outcome]:
    """Have pieces of work done by processes with one thread each; yields what came of them, as they are done.

    Args:
        pieces: the work.
        do: called with each piece; can be pickled.
        num_workers: processes; None takes one per core. A single one is this process.

    Raises:
        DatasetError: a process was killed.
    """
    num_workers = min(num_workers or torch.get_num_threads(), len(pieces))
    if num_workers <= 1:
        yield from map(do, pieces)
        return
    # Spawned, since a fork of a process in which torch has computed can hang.
    pool = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"), initializer=_prepare_worker)
    try:
        for job in as_completed([pool.submit(do, piece) for piece in pieces]):
            yield job.result()
    except BrokenProcessPool as error:
        raise DatasetError(
            "a worker process was killed",
            got=f"{num_workers} workers",
            fix="run the command again with fewer --num-workers",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """One thread; Ctrl-C is for the parent to act on, and without the parent there is nothing left to do."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), _exit(1)), daemon=True).start()
