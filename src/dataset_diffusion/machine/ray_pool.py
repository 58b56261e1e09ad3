"""Have the workers of a Ray cluster do pieces of work.

A worker gets ready once, does one piece at a time, and is given the next when that is done, so that only what names a
piece and what comes of it travel. A worker that dies gives its piece back, and another one is started in its place.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from dataset_diffusion.errors import ConfigError, ModelError, first_line
from dataset_diffusion.machine.devices import usable_cores

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise ConfigError(
        "Ray is not installed", got="--executor ray", fix="pip install 'dataset-diffusion[ray]'"
    ) from error

START_ATTEMPTS = 3
"""Ray gives its own processes 15 seconds to start, which no option changes; where they took longer, they are faster
the next time."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Of a local Ray: images never pass through it."""

_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_raylet_start_wait_time_s": "60",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_worker_niceness": "0",
}
"""Environment of a local Ray: patient where the cores are busy, its workers as urgent as this process."""
_PROBE = """\
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False)
except Exception as error:
    print(error)
    sys.exit(1)
"""
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")


def work_in_ray(
    pieces: Sequence[Piece],
    prepare: Callable[[str], Callable[[Piece], Outcome]],
    *,
    name: Callable[[Piece], str],
    num_workers: int | None = None,
    address: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    most_deaths: int = 3,
) -> Iterator[tuple[Piece, Outcome]]:
    """Have pieces of work done, by one worker per GPU or per share of the CPU cores; yields each and what came of it.

    Args:
        pieces: the work.
        prepare: called once in each worker, with the device to compute on; gives what to do with a piece. Every node
            must see the files that it names under the same path, see `absolute`.
        name: what a piece is called when something is wrong with it.
        num_workers: None takes one per GPU or, where there is none, as many as the CPU cores allow.
        address: a running cluster, ``auto`` to find it; None starts one on this machine.
        device: ``cpu``, ``cuda``, …; None takes the GPUs if there are any.
        threads: CPU threads of a worker; None takes as many as this process would, as low-order bits may depend on it.
        most_deaths: a piece that so many workers died with is not given to another one.

    Raises:
        ConfigError: the cluster cannot be reached.
        ModelError: workers die again and again.
        DatasetDiffusionError: whatever a worker refuses.
    """
    threads = threads or torch.get_num_threads()
    # Workers may be asked for that share cores.
    with cluster(address, at_least=(num_workers or 1) * threads) as cores:
        workers, own_cores, own_gpus, device = _share(cores, num_workers, device, threads)
        kind: Any = ray.remote(num_cpus=own_cores, num_gpus=own_gpus)(RayWorker)
        team = _Team(pieces, name, lambda: kind.remote(prepare, device, threads), most_deaths)
        yield from team.work(min(workers, len(pieces)))


def absolute(name_or_path: str) -> str:
    """A folder's path as every node sees it; a hub id as it is."""
    return str(Path(name_or_path).resolve()) if Path(name_or_path).is_dir() else name_or_path


class RayWorker:
    """What runs on the nodes."""

    def __init__(self, prepare: Callable[[str], Callable[[Any], Any]], device: str, threads: int) -> None:
        self._prepare, self._device, self._threads = prepare, device, threads

    def load(self) -> None:
        """Get ready. Not in ``__init__``, whose errors Ray would wrap."""
        torch.set_num_threads(self._threads)
        self._do = self._prepare(self._device)

    def do(self, piece: Any) -> Any:
        return self._do(piece)


class _Team:
    """The workers and their pieces, by number.

    At any moment a worker is idle, or one reference of ``_running`` stands for what it does: loading, or a piece.
    """

    def __init__(
        self, pieces: Sequence[Any], name: Callable[[Any], str], start_worker: Callable[[], Any], most_deaths: int
    ) -> None:
        self._pieces, self._name, self._start_worker, self._most_deaths = pieces, name, start_worker, most_deaths
        self._waiting = list(reversed(range(len(pieces))))  # the next one last
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, int | None]] = {}
        self._deaths: Counter[int | None] = Counter()

    def work(self, num_workers: int) -> Iterator[tuple[Any, Any]]:
        """Have all pieces done; yields each with what came of it."""
        try:
            for _ in range(num_workers):
                self._hire()
            while self._waiting or any(number is not None for _, number in self._running.values()):
                (done,), _ = ray.wait(list(self._running), num_returns=1)
                settled = list(self._settle(done))
                self._assign()
                yield from settled
        finally:
            for worker in [*self._idle, *(worker for worker, _ in self._running.values())]:
                ray.kill(worker)

    def _hire(self) -> None:
        worker = self._start_worker()
        self._running[worker.load.remote()] = worker, None

    def _assign(self) -> None:
        while self._waiting and self._idle:
            worker, number = self._idle.pop(), self._waiting.pop()
            self._running[worker.do.remote(self._pieces[number])] = worker, number

    def _settle(self, done: Any) -> Iterator[tuple[Any, Any]]:
        """Take note of what a worker has done, or that it is gone."""
        worker, number = self._running.pop(done)
        try:
            outcome = ray.get(done)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:  # it was killed, ran out of memory, or its node is lost
            self._deaths[number] += 1
            if self._deaths[number] >= self._most_deaths:
                when = "while they got ready" if number is None else f"with {self._name(self._pieces[number])}"
                raise ModelError(
                    f"{self._most_deaths} workers died {when}",
                    got=first_line(error),
                    fix="if memory ran out, fewer workers or smaller batches; what was done is kept",
                ) from error
            if number is not None:
                self._waiting.append(number)
            self._hire()
            return
        self._deaths[number] = 0
        self._idle.append(worker)
        if number is not None:
            yield self._pieces[number], outcome


@contextmanager
def cluster(address: str | None = None, *, at_least: int = 1, patience: int = 30) -> Iterator[int]:
    """Be connected to a cluster, the one that this process is connected to already if it is; gives its CPU cores.

    A cluster that runs at ``address`` must answer within ``patience`` seconds. Without an address one is started on
    this machine, which has ``at_least`` so many cores on paper.
    """
    if ray.is_initialized():
        yield _resource("CPU")
        return
    try:
        if address is None:
            cores = usable_cores()
            _start(max(cores, at_least))
        else:
            _connect(address, patience)
            cores = _resource("CPU")
        yield cores
    finally:
        ray.shutdown()


def _start(cores: int) -> None:
    for name, value in _LOCAL.items():
        os.environ.setdefault(name, value)
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            ray.init(
                "local",
                num_cpus=cores,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                **_QUIET,
            )
            return
        except Exception as error:  # Ray raises all kinds, bare Exception among them
            ray.shutdown()
            if attempt == START_ATTEMPTS:
                raise ConfigError(
                    "cannot start Ray here",
                    got=first_line(error),
                    fix="see the logs below /tmp/ray; a machine with cores to spare starts it in seconds",
                ) from error


def _connect(address: str, patience: int) -> None:
    try:
        # Ray keeps trying a dead address for a quarter of an hour, deaf to Ctrl-C: it is tried in a process that can be
        # killed first.
        subprocess.run(
            [sys.executable, "-c", _PROBE, address], check=True, capture_output=True, text=True, timeout=patience
        )
        ray.init(address, **_QUIET)
    except Exception as error:  # Ray raises all kinds
        reason = str(error)
        if isinstance(error, subprocess.TimeoutExpired):
            reason = f"no answer within {patience} seconds"
        elif isinstance(error, subprocess.CalledProcessError):
            reason = error.stdout
        raise ConfigError(
            f"cannot reach the Ray cluster {address}",
            got=reason.strip(),
            fix="start it with `ray start --head`, or leave --address out to start one here",
        ) from error


def _share(cores: int, num_workers: int | None, device: str | None, threads: int) -> tuple[int, int, int, str]:
    """How many workers; then the cores, the GPUs and the device of each."""
    gpus = _resource("GPU")
    if gpus and (device is None or device.startswith("cuda")):
        return num_workers or gpus, 1, 1, "cuda"
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    largest = max((int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]), default=0)
    # A node of fewer cores has its threads share them; asked for more than it has, Ray would wait for ever.
    return num_workers or max(cores // threads, 1), min(threads, largest), 0, device or "cpu"


def _resource(name: str) -> int:
    return int(ray.cluster_resources().get(name, 0))  # type: ignore[no-untyped-call]
