"""Put other samples in the place of a dataset's, so that no reader ever takes a mixture of both for a whole dataset.

The new samples are written to a hidden folder inside the dataset, a dataset of its own, while the old ones stay as they
are. Once it is whole it is renamed to ``.replacing``, and while there is a folder of that name with a ``dataset.json``
nobody can open the dataset. Its shards take the names of the old ones, and last its ``dataset.json`` does. So a kill
before the renaming leaves the old dataset, and one after it leaves what `resume_replacement` finishes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from dataset_diffusion.dataset.manifest import FILE_NAME, REPLACING, DatasetManifest
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.disk.atomic import explained_write_errors, sync_folder

_UNFINISHED = ".replacement-"


def begin_replacement(store: DatasetStore, manifest: DatasetManifest) -> DatasetWriter:
    """The dataset, empty or partly written, that is to take the place of another one with as many samples.

    Hold the dataset's lock for this and all that follows, and call `resume_replacement` first.
    """
    # Its name says what it is made of, so that a stray worker of another replacement has no folder to write to.
    folder = store.path / f"{_UNFINISHED}{manifest.config_hash}"
    with explained_write_errors(store.path):
        for other in store.path.glob(f"{_UNFINISHED}*"):
            if other != folder:
                shutil.rmtree(other)
    return DatasetWriter.create(folder, manifest)


def finish_replacement(new: DatasetStore) -> None:
    """Let a replacement take its place; a DatasetError where it is not whole."""
    new.check_complete()
    folder = new.path.parent
    with explained_write_errors(folder):
        new.path.replace(folder / REPLACING)
        sync_folder(folder)
    resume_replacement(folder)


def resume_replacement(folder: Path) -> None:
    """Finish the replacement of a dataset's samples that was interrupted, if one was."""
    new = folder / REPLACING
    with explained_write_errors(folder):
        if (new / FILE_NAME).exists():
            (folder / FILE_NAME).unlink(missing_ok=True)
            sync_folder(folder)
            for shard in sorted((new / "shards").glob("*.parquet")):
                shard.replace(folder / "shards" / shard.name)
            sync_folder(folder / "shards")
            (new / FILE_NAME).replace(folder / FILE_NAME)
            sync_folder(folder)
        if new.exists():
            shutil.rmtree(new)
