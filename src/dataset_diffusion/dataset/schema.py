"""One sample as one Parquet row: images as encoded bytes, the way Hugging Face datasets and DuckDB read them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import UInt8
from PIL import Image as Picture

from dataset_diffusion.disk.pictures import open_picture
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Heatmaps, Prompt, Sample, Score

ROWS_PER_GROUP = 4
"""Rows read together: few, so that a random read is cheap; several, so that reading in order opens few groups."""

ImageFormat = Literal["png", "jpeg"]

Image = UInt8[np.ndarray, "_ _ 3"]
"""RGB in [0, 255], "h w 3"."""
LabelMap = UInt8[np.ndarray, "_ _"]
"""Class ids, "h w": 0 background, 1..K classes, 255 uncertain."""

_PNG_SIGNATURE = b"\x89PNG"
_STORED = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 0),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_ZLIBBUFFER_SIZE, 2**20),  # in few chunks, since each costs its reader time
)
"""Each row as its difference to the one above, which zstd compresses with the shard far faster than deflate would."""
_COMPRESSED = (
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
)
_LABEL_COMPRESSION = 3
"""Level of deflate: written and read in half the time of the usual 6, and a kilobyte larger."""

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SCORES = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


PLAIN_SCORES = (Score.PRESENCE, Score.UNCERTAIN, Score.FOREGROUND)
"""The scores of a whole sample, which have columns of their own beside ``quality`` from schema version 3 on."""

# name, Arrow type, Hugging Face feature. A Python list is a list feature in every version of Hugging Face datasets.
_COLUMNS: tuple[tuple[str, pa.DataType, Any], ...] = (
    ("index", pa.int64(), _value("int64")),
    ("seed", pa.int64(), _value("int64")),
    ("prompt", pa.string(), _value("string")),
    ("class_prompt", pa.string(), _value("string")),
    ("class_words", pa.list_(pa.string()), [_value("string")]),
    ("classes", pa.list_(pa.int32()), [_value("int32")]),
    ("image", _PICTURE, {"_type": "Image"}),
    ("label", _PICTURE, {"_type": "Image"}),
    ("heatmaps", pa.list_(pa.float16()), [_value("float16")]),
    ("heatmaps_shape", pa.list_(pa.int32()), [_value("int32")]),
    ("exponents", pa.list_(pa.int32()), [_value("int32")]),
    ("ranges", pa.list_(pa.float32()), [_value("float32")]),
    ("quality", _SCORES, [{"name": _value("string"), "value": _value("float64")}]),
    *((str(score), pa.float64(), _value("float64")) for score in PLAIN_SCORES),
    ("image_sha256", pa.string(), _value("string")),
    ("label_sha256", pa.string(), _value("string")),
)


def _schema(columns: Sequence[tuple[str, pa.DataType, Any]]) -> pa.Schema:
    features = {name: feature for name, _, feature in columns}
    return pa.schema(
        [(name, arrow_type) for name, arrow_type, _ in columns],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


_SCHEMA_2 = _schema([column for column in _COLUMNS if column[0] not in PLAIN_SCORES])
SCHEMA = _schema(_COLUMNS)
"""The columns of a shard, of schema version 3.

``heatmaps`` is float16, flattened from ``heatmaps_shape`` = (exponents, classes, h, w); ``ranges`` is float32,
flattened from (exponents, classes, 2). `HEATMAP_COLUMNS` are null where a sample has no heatmaps, `PLAIN_SCORES` where
it has none of the name, the others never.
"""


IMAGE, LABEL = "image.bytes", "label.bytes"
"""The columns of encoded pictures, without their paths."""

HEATMAP_COLUMNS = ("heatmaps", "heatmaps_shape", "exponents", "ranges")
NULLABLE_COLUMNS = (*HEATMAP_COLUMNS, *map(str, PLAIN_SCORES))
_SHORT_COLUMNS = ("index", "seed", "prompt", "class_prompt", "class_words", "classes", "quality")
SAMPLE_COLUMNS = (*_SHORT_COLUMNS, IMAGE, LABEL, *HEATMAP_COLUMNS)
"""The columns that a sample is made of."""


def sample_name(index: int) -> str:
    """What files about a sample are called, without their suffix."""
    return f"{index:08d}"


def shard_name(shard: int) -> str:
    """What the file of a shard is called."""
    return f"{shard:05d}.parquet"


def encode_sample(sample: Sample, class_set: ClassSet, image_format: ImageFormat = "png") -> dict[str, Any]:
    """A sample as a row of `SCHEMA`. The same sample gives the same bytes."""
    name, prompt = sample_name(sample.prompt.index), sample.prompt
    image, label = encode_image(sample.image, image_format), encode_label(sample.label, class_set)
    return {
        "index": prompt.index,
        "seed": sample.seed,
        "prompt": prompt.text,
        "class_prompt": prompt.class_prompt,
        "class_words": list(prompt.class_words),
        "classes": list(prompt.classes),
        "image": {"bytes": image, "path": f"{name}.{'jpg' if image_format == 'jpeg' else 'png'}"},
        "label": {"bytes": label, "path": f"{name}.png"},
        **encode_heatmaps(sample.heatmaps),
        **encode_scores(sample.quality),
        "image_sha256": sha256(image),
        "label_sha256": sha256(label),
    }


def encode_heatmaps(heatmaps: Heatmaps | None) -> dict[str, Any]:
    """Heatmaps as the values of `HEATMAP_COLUMNS`, by name."""
    if heatmaps is None:
        return dict.fromkeys(HEATMAP_COLUMNS)
    return {
        "heatmaps": heatmaps.values.ravel(),
        "heatmaps_shape": list(heatmaps.values.shape),
        "exponents": list(heatmaps.exponents),
        "ranges": heatmaps.ranges.ravel(),
    }


def decode_row(row: Mapping[str, pa.Scalar]) -> Sample:
    """The sample of a row of `SCHEMA`, given as Arrow scalars by column name, at least the `SAMPLE_COLUMNS`.

    Raises:
        DatasetError: a value is missing, the image or the label is not an image, or the heatmaps do not have their
            recorded shape.
    """
    if empty := [name for name in _SHORT_COLUMNS if _has_null(row[name].as_py())]:
        raise DatasetError("the row has empty values", got=", ".join(empty))
    prompt = Prompt(
        index=row["index"].as_py(),
        text=row["prompt"].as_py(),
        class_prompt=row["class_prompt"].as_py(),
        classes=tuple(row["classes"].as_py()),
        class_words=tuple(row["class_words"].as_py()),
    )
    return Sample(
        seed=row["seed"].as_py(),
        prompt=prompt,
        image=decode_image(picture_bytes(row["image"])),
        label=decode_label(picture_bytes(row["label"])),
        heatmaps=decode_heatmaps(row),
        quality={score["name"]: score["value"] for score in row["quality"].as_py()},
    )


def has_null(column: pa.ChunkedArray | pa.Array, *, optional: bool = False) -> bool:
    """Whether a value of a column, or one inside it, is missing; of an optional column whole cells may be."""
    if column.null_count and not optional:
        return True
    if pa.types.is_list(column.type):
        return has_null(pc.list_flatten(column))
    if pa.types.is_struct(column.type):
        return any(has_null(pc.struct_field(column, place)) for place in range(column.type.num_fields))
    return False


def rows_of(table: pa.Table) -> Iterator[dict[str, pa.Scalar]]:
    """The rows of a table as Arrow scalars by column name."""
    return ({name: table[name][row] for name in table.column_names} for row in range(table.num_rows))


def encode_scores(scores: Mapping[str, float]) -> dict[str, Any]:
    """Scores by name as the values of the column ``quality`` and of those that single scores have, by name."""
    named = [{"name": name, "value": value} for name, value in sorted(scores.items())]
    return {"quality": named, **{str(score): scores.get(score) for score in PLAIN_SCORES}}


def encode_image(image: Image, image_format: ImageFormat) -> bytes:
    """RGB pixels as PNG bytes, not compressed since their shard is, or as JPEG: quality 95, no chroma subsampling."""
    if image_format == "png":
        return _encode_png(image, _STORED)
    return _save(Picture.fromarray(image), "jpeg", {"quality": 95, "subsampling": "4:4:4"})


def file_bytes(data: bytes) -> bytes:
    """Stored PNG or JPEG bytes as a file of its own keeps them: PNGs compressed, JPEGs as they are."""
    return _encode_png(decode_image(data), _COMPRESSED) if data.startswith(_PNG_SIGNATURE) else data


def as_stored(image: Image, image_format: ImageFormat) -> Image:
    """The image as it reads back from a dataset: JPEG changes pixels, PNG does not."""
    return image if image_format == "png" else decode_image(encode_image(image, image_format))


def encode_label(label: LabelMap, class_set: ClassSet) -> bytes:
    """Class ids as a palette PNG: the ids are the pixels, the colours are the class set's."""
    picture = Picture.fromarray(label)
    picture.putpalette(bytes(chain.from_iterable(class_set.palette)))
    return _save(picture, "png", {"compress_level": _LABEL_COMPRESSION})


def decode_image(data: bytes) -> Image:
    """RGB pixels of PNG or JPEG bytes; a DatasetError where they are no image."""
    picture = open_picture(data)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def picture_bytes(cell: pa.StructScalar) -> bytes:
    """The encoded picture of a cell; no bytes where it is empty, which no decoder takes for a picture."""
    return cell["bytes"].as_py() or b""


def picture_size(data: bytes) -> tuple[int, int]:
    """(height, width) of PNG or JPEG bytes, read from their header; a DatasetError where they are no image."""
    width, height = open_picture(data, header_only=True).size
    return height, width


def decode_label(data: bytes) -> LabelMap:
    """Class ids of a palette or greyscale PNG; a DatasetError where the bytes are something else."""
    picture = open_picture(data)
    if picture.mode not in {"P", "L"}:
        raise DatasetError("a label map is not a palette image", got=f"mode {picture.mode}", expected="mode P or L")
    return np.array(picture)


def encode_grey(picture: LabelMap) -> bytes:
    """A grey picture, 0..255, as PNG bytes."""
    return _save(Picture.fromarray(picture), "png", {})


def decode_grey(data: bytes) -> LabelMap:
    """A grey picture, 0..255, of PNG or JPEG bytes; a DatasetError where they are no image, or one in colour."""
    picture = decode_image(data)
    if (picture != picture[..., :1]).any():
        raise DatasetError("a mask is not grey", got="a picture in colour", expected="black and white")
    return np.ascontiguousarray(picture[..., 0])


def with_columns(table: pa.Table, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Rows of `SCHEMA` with other values in some columns; the bytes of pictures in the others are not touched."""
    for name, values in columns.items():
        field = SCHEMA.field(name)
        table = table.set_column(SCHEMA.get_field_index(name), field, pa.array(values, field.type))
    return table


def columns_of(schema_version: int) -> pa.Schema:
    """The columns of a shard of a dataset of this schema version."""
    return SCHEMA if schema_version >= 3 else _SCHEMA_2


def as_current(table: pa.Table) -> pa.Table:
    """Rows of any schema version as rows of `SCHEMA`."""
    if table.schema.equals(SCHEMA):
        return table
    scores = [{score["name"]: score["value"] for score in row or () if score} for row in table["quality"].to_pylist()]
    plain = {str(score): pa.array([one.get(score) for one in scores], pa.float64()) for score in PLAIN_SCORES}
    return pa.table([plain[name] if name in plain else table[name] for name in SCHEMA.names], schema=SCHEMA)


def shard_bytes(rows: Sequence[Mapping[str, Any]] | pa.Table, schema_version: int = 3) -> bytes:
    """Rows of `SCHEMA` as a Parquet file. The same rows give the same bytes, for one version of pyarrow.

    Before schema version 3 the heatmaps were encoded in a way that DuckDB cannot read.
    """
    schema = columns_of(schema_version)
    table = rows.select(schema.names) if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
    buffer = io.BytesIO()
    pq.write_table(
        table.cast(schema),
        buffer,
        row_group_size=ROWS_PER_GROUP,
        compression="zstd",
        use_dictionary=False,
        column_encoding=None if schema_version >= 3 else {"heatmaps.list.element": "BYTE_STREAM_SPLIT"},
        write_statistics=["index"],
        write_page_checksum=True,
    )
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def decode_heatmaps(row: Mapping[str, pa.Scalar]) -> Heatmaps | None:
    """The heatmaps of a row; None where it has none, a DatasetError where they do not have their recorded shape."""
    if not row["heatmaps"].is_valid:
        return None
    shape, exponents = row["heatmaps_shape"].as_py(), row["exponents"].as_py()
    if _has_null(shape) or _has_null(exponents) or not row["ranges"].is_valid:
        raise DatasetError("the heatmaps do not have their recorded shape", got="empty values")
    try:
        # Copied, since what Arrow hands out is read-only and torch.as_tensor warns about that.
        values = row["heatmaps"].values.to_numpy().reshape(shape).copy()
        ranges = row["ranges"].values.to_numpy().reshape(*shape[:2], 2).copy()
    except ValueError as error:
        raise DatasetError("the heatmaps do not have their recorded shape", got=str(error), expected=shape) from error
    return Heatmaps(exponents=tuple(exponents), values=values, ranges=ranges)


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return value is None or (isinstance(value, list) and any(map(_has_null, value)))


def _encode_png(image: Image, options: Sequence[int]) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def _save(picture: Picture.Image, image_format: ImageFormat, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=image_format, **options)
    return buffer.getvalue()
