"""Processes that are killed at a chosen moment, counted in files they open for writing rather than in seconds."""

import os
import signal
import sys
from pathlib import Path

from commands import _processes as processes

from dataset_diffusion.dataset.exports.driver import DatasetExport
from dataset_diffusion.dataset.store import DatasetStore


def export_until_killed(path, out, settings, opened):
    """Export in a process of its own that is killed instead of opening one more file of the export for writing."""
    victim = processes.Process(target=_export, args=(path, out, settings, opened), daemon=True)
    victim.start()
    victim.join(timeout=300)
    assert victim.exitcode == -signal.SIGKILL


def write_export(store, out, settings):
    """Export in this process, without a bar and without waiting for the disk."""
    export = DatasetExport(store, out, settings)
    export.begin()
    for shard in export.missing_shards():
        export.write_shard(shard)
    export.finish()


def _export(path: Path, out: Path, settings, opened: int) -> None:
    left = opened

    def count(event, arguments):
        nonlocal left
        if event == "open" and str(arguments[0]).startswith(str(out)) and arguments[1] != "r":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    write_export(DatasetStore.open(path), out, settings)
