import hashlib
import io
import json
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_diffusion.dataset.schema import (
    HEATMAP_COLUMNS,
    PLAIN_SCORES,
    SCHEMA,
    as_current,
    columns_of,
    decode_image,
    decode_label,
    decode_row,
    encode_image,
    encode_label,
    encode_sample,
    file_bytes,
    shard_bytes,
)
from dataset_diffusion.errors import DatasetError


def read(data):
    table = pq.read_table(io.BytesIO(data))
    return [{name: table[name][row] for name in table.column_names} for row in range(table.num_rows)]


@pytest.mark.parametrize("with_heatmaps", [True, False])
def test_a_row_gives_back_the_sample(make_sample, classes, with_heatmaps):
    sample = make_sample(3, with_heatmaps)
    [row] = read(shard_bytes([encode_sample(sample, classes)]))
    decoded = decode_row(row)

    assert (decoded.seed, decoded.prompt, decoded.quality) == (sample.seed, sample.prompt, sample.quality)
    np.testing.assert_array_equal(decoded.image, sample.image)
    np.testing.assert_array_equal(decoded.label, sample.label)
    if not with_heatmaps:
        assert decoded.heatmaps is None
        return
    assert decoded.heatmaps.exponents == sample.heatmaps.exponents
    for got, expected in (
        (decoded.heatmaps.values, sample.heatmaps.values),
        (decoded.heatmaps.ranges, sample.heatmaps.ranges),
    ):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def test_the_same_samples_give_the_same_bytes(make_sample, classes):
    first, second = (shard_bytes([encode_sample(make_sample(index), classes) for index in (0, 1)]) for _ in range(2))
    assert first == second


def test_columns_that_other_tools_read(make_sample, classes):
    sample = make_sample(12)
    row = encode_sample(sample, classes)
    assert list(row) == SCHEMA.names
    assert row["image"]["path"] == "00000012.png"
    assert row["image_sha256"] == hashlib.sha256(row["image"]["bytes"]).hexdigest()
    assert row["label_sha256"] == hashlib.sha256(row["label"]["bytes"]).hexdigest()
    assert row["heatmaps_shape"] == [2, 2, 3, 4]
    assert row["heatmaps"][5] == sample.heatmaps.values[0, 0, 1, 1]
    assert row["ranges"][3] == sample.heatmaps.ranges[0, 1, 1]


def test_hugging_face_features_name_every_column():
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == SCHEMA.names
    assert features["image"] == features["label"] == {"_type": "Image"}


def test_heatmap_columns_are_null_without_heatmaps(make_sample, classes):
    sample = make_sample(0, with_heatmaps=False)
    [row] = read(shard_bytes([encode_sample(sample, classes)]))
    expected = {*HEATMAP_COLUMNS, *PLAIN_SCORES} - sample.quality.keys()
    assert {name for name, value in row.items() if not value.is_valid} == expected


def test_labels_are_palette_images_in_the_class_sets_colours(classes):
    label = np.array([[0, 1, 2, 255]], np.uint8)
    picture = Image.open(io.BytesIO(encode_label(label, classes)))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), label)
    colours = np.asarray(picture.convert("RGB"))[0].tolist()
    assert [tuple(colour) for colour in colours] == [classes.palette[class_id] for class_id in (0, 1, 2, 255)]


def test_jpeg_is_quality_95_without_chroma_subsampling():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, ::2] = (255, 0, 0)  # one-pixel stripes, which chroma subsampling would smear
    data = encode_image(image, "jpeg")
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert np.abs(decode_image(data).astype(int) - image).max() < 16


def test_png_images_are_compressed_by_the_shard_or_as_files_of_their_own(make_sample, classes):
    ramp = np.arange(64, dtype=np.uint8)
    image = np.stack([ramp[:, None] + ramp, ramp[:, None] + 0 * ramp, 2 * ramp + 0 * ramp[:, None]], axis=-1)
    data = encode_image(image, "png")
    file = file_bytes(data)
    assert len(data) > image.nbytes > 5 * len(file)
    sample = replace(make_sample(0), image=image, label=image[..., 0] // 64)
    assert len(shard_bytes([encode_sample(sample, classes)])) < image.nbytes
    for encoded in (data, file):
        np.testing.assert_array_equal(decode_image(encoded), image)
        assert Image.open(io.BytesIO(encoded)).mode == "RGB"


def test_jpeg_images_are_files_as_they_are():
    data = encode_image(np.zeros((16, 16, 3), np.uint8), "jpeg")
    assert file_bytes(data) == data


def test_greyscale_labels_of_other_tools_are_read():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 7]], np.uint8)).save(buffer, "png")
    assert decode_label(buffer.getvalue()).tolist() == [[0, 7]]


def test_a_colour_image_is_no_label():
    data = encode_image(np.zeros((2, 2, 3), np.uint8), "png")
    with pytest.raises(DatasetError, match=r"^a label map is not a palette image; got mode RGB; expected mode P or L$"):
        decode_label(data)


@pytest.mark.parametrize("decode", [decode_image, decode_label])
@pytest.mark.parametrize("keep", [0, 20, 1000])
def test_bytes_that_are_no_image_are_one_line(decode, keep, classes):
    noise = np.random.default_rng(0).integers(0, 3, (64, 64), dtype=np.uint8)
    whole = encode_label(noise, classes)
    with pytest.raises(DatasetError, match=r"^the bytes are not an image; got ") as raised:
        decode(whole[:keep])
    assert "\n" not in str(raised.value)


def test_heatmaps_of_another_shape_are_one_line(make_sample, classes):
    row = encode_sample(make_sample(0), classes) | {"heatmaps_shape": [2, 2, 3, 5]}
    with pytest.raises(
        DatasetError, match=r"^the heatmaps do not have their recorded shape; .*expected \[2, 2, 3, 5\]$"
    ):
        decode_row(read(shard_bytes([row]))[0])


def test_duckdb_reads_every_column(make_sample, classes, tmp_path):
    sample = make_sample(3)
    (tmp_path / "shard.parquet").write_bytes(shard_bytes([encode_sample(sample, classes)]))
    found = duckdb.sql(f"select * from '{tmp_path / 'shard.parquet'}'").fetchall()
    [row] = [dict(zip(SCHEMA.names, row, strict=True)) for row in found]
    np.testing.assert_array_equal(np.array(row["heatmaps"], np.float16), sample.heatmaps.values.ravel())
    assert {name: row[name] for name in ("uncertain", "foreground", "presence")} == {
        name: sample.quality.get(name) for name in ("uncertain", "foreground", "presence")
    }


@pytest.mark.parametrize("with_heatmaps", [True, False])
def test_rows_of_schema_version_2_become_those_of_today(make_sample, classes, with_heatmaps):
    rows = [encode_sample(make_sample(index, with_heatmaps), classes) for index in (0, 1)]
    old = pq.read_table(io.BytesIO(shard_bytes(rows, 2))).cast(columns_of(2))
    assert old.column_names == [name for name in SCHEMA.names if name not in PLAIN_SCORES]
    assert as_current(old).equals(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert shard_bytes(as_current(old), 2) == shard_bytes(rows, 2)
