from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from dataset_diffusion.dataset.schema import SCHEMA, encode_sample
from dataset_diffusion.dataset.verify import sample_problems, shard_problems, table_problems


def table_of(rows):
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def with_label(sample, values):
    return replace(sample, label=np.resize(np.array(values, np.uint8), sample.label.shape))


@pytest.mark.parametrize("with_heatmaps", [True, False])
def test_nothing_is_wrong_with_a_valid_sample(make_sample, classes, with_heatmaps):
    assert list(sample_problems(make_sample(0, with_heatmaps), classes)) == []


def test_sizes_that_differ(make_sample, classes):
    sample = make_sample(0)
    sample = replace(sample, label=sample.label[:, :-1])
    assert list(sample_problems(sample, classes)) == ["the image is 6 x 9 but its label is 6 x 8"]


def test_label_ids_outside_the_class_set(make_sample, classes):
    sample = with_label(make_sample(0), [0, 1, 3, 254, 255])
    assert list(sample_problems(sample, classes)) == ["label ids outside the class set: 3, 254"]


def test_many_strange_ids_stay_one_short_line(make_sample, classes):
    sample = with_label(make_sample(0), range(50))
    assert list(sample_problems(sample, classes)) == ["label ids outside the class set: 3, 4, 5, 6, 7, 8, 9, 10, …"]


def test_prompt_classes_outside_the_class_set(make_sample, classes):
    sample = make_sample(0)
    sample = replace(sample, prompt=replace(sample.prompt, classes=(2, 9)))
    assert list(sample_problems(sample, classes)) == ["prompt class ids outside the class set: 9"]


def test_heatmaps_that_do_not_fit_the_prompt(make_sample, classes):
    sample = make_sample(0)
    one_class = replace(sample.heatmaps, values=sample.heatmaps.values[:, :1])
    [problem] = sample_problems(replace(sample, heatmaps=one_class), classes)
    assert problem == (
        "heatmaps of shape (2, 1, 3, 4) and ranges of shape (2, 2, 2) do not fit 2 exponents and 2 classes"
    )


def test_a_valid_shard_has_no_problems(make_sample, classes):
    rows = [encode_sample(make_sample(index), classes) for index in (4, 5)]
    assert list(shard_problems(table_of(rows), range(4, 6), classes)) == []


def test_index_gaps(make_sample, classes):
    rows = [encode_sample(make_sample(index), classes) for index in (4, 6)]
    assert list(shard_problems(table_of(rows), range(4, 7), classes)) == [
        "row 1: index 6, expected 5",
        "row 2: index None, expected 6",
    ]


@pytest.mark.parametrize("column", ["image", "label"])
def test_checksums(make_sample, classes, column):
    row = encode_sample(make_sample(0), classes) | {f"{column}_sha256": "0" * 64}
    found = list(shard_problems(table_of([row]), range(1), classes))
    assert found == [f"sample 0: the {column} does not have its recorded SHA-256"]


def test_a_sample_that_is_no_image(make_sample, classes):
    row = encode_sample(make_sample(0), classes)
    row["image"] = row["image"] | {"bytes": b"text"}
    checksum, image = shard_problems(table_of([row]), range(1), classes)
    assert checksum == "sample 0: the image does not have its recorded SHA-256"
    assert image.startswith("sample 0: the bytes are not an image; got ")


def test_words_that_do_not_fit_the_classes(make_sample, classes):
    row = encode_sample(make_sample(0), classes) | {"class_words": ["forklift"]}
    [problem] = shard_problems(table_of([row]), range(1), classes)
    assert problem.startswith("sample 0: cannot tell the words of each class")


def test_empty_values_at_any_depth_are_told_by_their_row(make_sample, classes):
    first, second, third = (encode_sample(make_sample(index), classes) for index in range(3))
    second |= {"seed": None, "image": None}
    third |= {
        "classes": [1, None],
        "label": {"bytes": None, "path": "a.png"},
        "quality": [{"name": "a", "value": None}],
    }
    assert list(shard_problems(table_of([first, second, third]), range(3), classes)) == [
        "sample 1: empty values in seed, image",
        "sample 2: empty values in classes, label, quality",
    ]


def test_heatmaps_that_are_no_shares(make_sample, classes):
    sample = make_sample(0)
    for value in (np.nan, np.inf, 1.5, -0.5):
        values = sample.heatmaps.values.copy()
        values[0, 0, 0, 0] = value
        wrong = replace(sample, heatmaps=replace(sample.heatmaps, values=values))
        assert list(sample_problems(wrong, classes)) == ["heatmaps outside 0 to 1"]


def test_what_is_not_in_the_table_is_not_asked_for(make_sample, classes):
    rows = table_of([encode_sample(make_sample(4), classes) | {"image_sha256": "0", "seed": -1}])
    [seed, image] = table_problems(rows, range(4, 5), classes)
    assert seed == "sample 4: seed -1 is negative"
    assert image == "sample 4: the image does not have its recorded SHA-256"
    assert list(table_problems(rows.select(["index", "image", "label"]), range(4, 5), classes)) == []
