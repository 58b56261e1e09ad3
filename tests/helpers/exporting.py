"""Exports without a bar."""

from pathlib import Path

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.driver import DatasetExport
from dataset_diffusion.dataset.store import DatasetStore


def write_export(path: Path, out: Path, settings: ExportSettings) -> None:
    """Export the dataset of a folder in this process."""
    export = DatasetExport(DatasetStore.open(path), out, settings)
    export.begin()
    for shard in export.missing_shards():
        export.write_shard(shard)
    export.finish()
