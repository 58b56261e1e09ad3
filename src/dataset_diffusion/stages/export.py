"""Exports a dataset for other tools, with a bar."""

from __future__ import annotations

from pathlib import Path

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.driver import DatasetExport
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.places import Location
from dataset_diffusion.machine.progress import progress


def export_dataset(source: str | Location, settings: ExportSettings, out: Path) -> DatasetStore:
    """Write a finished dataset in another format. Call again to resume; a finished export is left as it is.

    Args:
        source: the dataset's folder.
        settings: the format and what it is to hold.
        out: folder of the export, new or empty.

    Returns:
        The dataset that is exported.

    Raises:
        DatasetError: there is no finished dataset; ``out`` holds something else, is being written, or cannot be.
    """
    store = DatasetStore.open(source)
    export = DatasetExport(store, out, settings)
    with folder_lock(out):
        export.begin()
        if missing := export.missing_shards():
            with progress(
                "Write images in the other format", len(store), "images", done=len(store) - store.count(missing)
            ) as advance:
                for shard in missing:
                    export.write_shard(shard)
                    advance(len(store.shard_range(shard)))
        export.finish()
    return store
