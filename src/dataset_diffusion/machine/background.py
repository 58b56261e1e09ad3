"""A thread that works through what it is given, so that the GPU need not wait for files to be written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class InBackground:
    """Does what it is given in a thread of its own, in order.

    As a context manager. What fails in the thread is raised by a later `submit`, or at the end of the block; a block
    that an error or Ctrl-C ends waits for the piece in progress alone.

    Args:
        depth: how many pieces may wait: enough for the GPU never to wait, few enough for memory.
    """

    def __init__(self, depth: int = 2) -> None:
        self._depth = depth
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: deque[Future[Any]] = deque()

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called; wait while too much is waiting already."""
        self._pending.append(self._thread.submit(function, *args))
        self._wait(self._depth)

    def __enter__(self) -> InBackground:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait(0)
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _wait(self, allowed: int) -> None:
        while len(self._pending) > allowed:
            self._pending.popleft().result()
