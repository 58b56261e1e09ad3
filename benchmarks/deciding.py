"""What a person does in the studio, over the addresses that its page calls."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
from contextlib import suppress
from threading import Thread

from tests.helpers.processes import Command

LABEL = {"exponent": 1, "threshold": 0.5, "uncertainty_threshold": 0.3}
TIMES = 20  # that everything is decided, the same way
STILL_THERE = 0  # the signal that does nothing to a process, and fails where there is none


def decide(studio: Command, num_samples: int) -> None:
    """Decide about every sample of a studio, correct the label map of every second one, and stop it, meanwhile."""
    Thread(target=_decide, args=(studio, num_samples), daemon=True).start()


def _decide(studio: Command, num_samples: int) -> None:
    with suppress(OSError):  # it was killed
        while "http" not in (told := studio.last_line):
            studio.send(STILL_THERE)
            time.sleep(0.01)
        studio.send(STILL_THERE)
        try:
            _decide_all(re.search(r"http\S+", told)[0], num_samples)
        finally:
            studio.send(signal.SIGINT)


def _decide_all(address: str, num_samples: int) -> None:
    _put(f"{address}label", LABEL)
    for index in TIMES * tuple(range(num_samples)):
        sample = f"{address}samples/{index}"
        decision = {"keep": index % 4 != 0, "label": LABEL if index % 3 == 0 else None}
        _put(f"{sample}/decision", decision)
        if index % 2 == 0:
            with urllib.request.urlopen(f"{sample}/label") as answer:
                _put(f"{sample}/correction", answer.read()[::-1])


def _put(address: str, body: object) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(address, data, method="PUT")).close()
