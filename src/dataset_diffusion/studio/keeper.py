"""Keeps what is decided on the page: `decisions.json` and, beside it, label maps corrected by hand."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.decisions import FILE_NAME, Decision, Decisions, load_decisions, pictures_hash
from dataset_diffusion.dataset.schema import decode_label, encode_label, sample_name
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import label_problems
from dataset_diffusion.disk.atomic import explained_write_errors, find_leftovers, remove_files, write_file
from dataset_diffusion.errors import DatasetError


class Keeper:
    """The decisions about a dataset, on disk after every change. Several threads may change them, of one process.

    What a killed one left half-written is removed.

    Args:
        store: the dataset.
        folder: where they are kept; those that are there already are gone on with.

    Raises:
        DatasetError: what the folder holds is about other pictures.
    """

    def __init__(self, store: DatasetStore, folder: Path) -> None:
        self._store, self.folder = store, folder
        self._lock = Lock()
        for file, left in find_leftovers(folder).items():
            if file.name == FILE_NAME or file.suffix == ".png":
                remove_files(left)
        begun = (folder / FILE_NAME).exists()
        self.decisions = (
            load_decisions(folder, store.manifest) if begun else Decisions(pictures=pictures_hash(store.manifest))
        )

    def decide(self, index: int, *, keep: bool | None, label: LabelSettings | None) -> None:
        """Say whether a sample is kept, and how it is labelled."""
        with self._lock:
            self._change(index, keep=keep, label=label)

    def label_all(self, label: LabelSettings | None) -> None:
        """Say how all samples are labelled; None leaves the labels as they are."""
        with self._lock:
            self._save(self.decisions.model_copy(update={"label": label}))

    def correct(self, index: int, label: UInt8[np.ndarray, "h w"]) -> None:
        """Keep a label map drawn by hand.

        Raises:
            DatasetError: it has ids that are no class's, or it cannot be written.
        """
        if problem := next(label_problems(label, self._store.class_set), None):
            raise DatasetError("a corrected label map cannot be kept", got=problem)
        with self._lock:
            write_file(self._file(index), encode_label(label, self._store.class_set))
            self._change(index, corrected=True)

    def forget(self, index: int) -> None:
        """Take a sample's corrected label map back."""
        with self._lock:
            self._change(index, corrected=False)
            with explained_write_errors(self.folder):
                self._file(index).unlink(missing_ok=True)

    def corrected(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        """The label map drawn by hand, if there is one."""
        if not self._decision(index).corrected:
            return None
        try:
            return decode_label(self._file(index).read_bytes())
        except OSError as error:
            raise DatasetError(f"cannot read {self._file(index)}", got=error.strerror) from error

    def _decision(self, index: int) -> Decision:
        return self.decisions.samples.get(sample_name(index), Decision())

    def _file(self, index: int) -> Path:
        return self.folder / f"{sample_name(index)}.png"

    def _change(self, index: int, **values: object) -> None:
        changed = self._decision(index).model_copy(update=values)
        self._save(self.decisions.with_sample(sample_name(index), changed))

    def _save(self, decisions: Decisions) -> None:
        decisions.save(self.folder / FILE_NAME)
        self.decisions = decisions  # once it is on disk
