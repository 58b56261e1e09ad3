"""What one pass over the pictures found, kept on disk until the reading is whole: a kill costs the pass in progress."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_diffusion.disk.atomic import write_file
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import Heatmaps


@dataclass(frozen=True, eq=False)
class Pass:
    """What a reading says of every picture, and its score where it was learned in this pass."""

    reading: Reading
    heatmaps: list[Heatmaps]
    score: float = 0.0


def keep_pass(file: Path | None, look: Callable[[], Pass]) -> Pass:
    """What ``look`` finds, from ``file`` where an earlier call was ended after this pass.

    Args:
        file: named after everything that the pass follows from; None keeps nothing.
        look: at all pictures.
    """
    if file is None:
        return look()
    if (found := _read(file)) is None:
        found = look()
        _write(file, found)
    return found


def _write(file: Path, found: Pass) -> None:
    arrays = {"reading": np.array(found.reading.model_dump_json()), "score": np.array(found.score)}
    for index, one in enumerate(found.heatmaps):
        arrays |= {f"values {index}": one.values, f"ranges {index}": one.ranges}
        arrays |= {f"exponents {index}": np.array(one.exponents)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # the keywords are arrays
    write_file(file, buffer.getvalue())


def _read(file: Path) -> Pass | None:
    """The pass in a file; None where there is none, or it cannot be read."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            count = sum(name.startswith("values ") for name in arrays.files)
            heatmaps = [
                Heatmaps(tuple(arrays[f"exponents {i}"].tolist()), arrays[f"values {i}"], arrays[f"ranges {i}"])
                for i in range(count)
            ]
            reading = Reading.model_validate_json(str(arrays["reading"]))
            return Pass(reading, heatmaps, float(arrays["score"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
