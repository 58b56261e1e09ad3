"""A few images with their truth and the prediction, kept beside the results for the report. Imports no torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_diffusion.dataset.schema import Image, LabelMap, decode_image, decode_label, encode_image, encode_label
from dataset_diffusion.disk.atomic import atomic_write, remove_leftovers
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet

MAX_EXAMPLES = 8

_SCHEMA = pa.schema([(name, pa.binary()) for name in ("image", "truth", "prediction")])
"""PNG bytes: the image in RGB, the two label maps in palette colours."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image of a benchmark, uint8 RGB, with its true and its predicted label map, uint8 class ids."""

    image: Image
    truth: LabelMap
    prediction: LabelMap


def choose_examples(ids: Sequence[str]) -> frozenset[str]:
    """The ids of the images to keep, spread evenly over a benchmark."""
    return frozenset(ids[place] for place in np.linspace(0, len(ids) - 1, min(MAX_EXAMPLES, len(ids)), dtype=int))


def write_examples(path: Path, examples: Sequence[Example], class_set: ClassSet) -> None:
    """Write examples as a Parquet file, whole or not at all. The same examples give the same bytes."""
    rows = [
        {
            "image": encode_image(one.image, "png"),
            "truth": encode_label(one.truth, class_set),
            "prediction": encode_label(one.prediction, class_set),
        }
        for one in examples
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), buffer, compression="zstd", use_dictionary=False)
    atomic_write(path, buffer.getvalue())
    remove_leftovers(path)


def read_examples(path: Path) -> tuple[Example, ...]:
    """What `write_examples` wrote; none where there is no file."""
    if not path.exists():
        return ()
    try:
        rows = pq.read_table(path, columns=_SCHEMA.names).cast(_SCHEMA).to_pylist()
        return tuple(
            Example(decode_image(row["image"]), decode_label(row["truth"]), decode_label(row["prediction"]))
            for row in rows
        )
    except (OSError, pa.ArrowException, DatasetError) as error:
        raise DatasetError(
            f"{path} cannot be read", got=str(error), fix="delete it, or evaluate the segmenter again"
        ) from error
