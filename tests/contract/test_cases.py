"""Folders that once gave a wrong figure with exit status 0: each is read rightly, or refused with the reason."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.errors import DatasetError, Skipped
from dataset_diffusion.evaluation.scoring import read_predictions, score
from dataset_diffusion.evaluation.table import open_benchmark

CASES = Path(__file__).parents[1] / "data" / "cases"


def scored(name, root, predictions, skip_bad=None):
    benchmark = open_benchmark(name, CASES / root)
    return score(read_predictions(CASES / predictions, benchmark, skip_bad=skip_bad), benchmark)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("string-image-ids", 'annotations of images that are not listed: "1" (2), "2" (1); expected ids as in images'),
        ("same-annotation-id", "ids of annotations are not unique: 0 (3 times); fix: "),
        ("same-image-id", "ids of images are not unique: 1 (2 times); fix: "),
    ],
)
def test_coco_ids_that_cannot_be_right_are_refused(case, message):
    with pytest.raises(DatasetError) as error:
        open_benchmark("coco2017", CASES / "coco-ids" / case)
    assert f"instances_val2017.json: {message}" in str(error.value)


@pytest.mark.parametrize("root", ["coco-ids/iscrowd-as-string", "coco-fields/no-iscrowd"])
def test_what_other_tools_write_for_no_crowd_is_no_crowd(root):
    scores = scored("coco2017", root, "coco-ids/predictions")
    assert (scores.miou, scores.num_images, set(scores.per_class_iou)) == (1.0, 2, {0, 17, 18})


@pytest.mark.parametrize(
    ("case", "message", "bad"),
    [
        ("boxes-only", "annotation 1 has no mask (a box only); fix: ", {"a", "b"}),
        ("empty-segmentation", "annotation 3 has no mask (a box only); fix: ", {"b"}),
    ],
)
def test_an_instance_without_a_mask_is_named_or_left_out(case, message, bad):
    with pytest.raises(DatasetError) as error:
        scored("coco2017", f"coco-fields/{case}", "coco-ids/predictions")
    assert message in str(error.value)
    benchmark, skipped = open_benchmark("coco2017", CASES / "coco-fields" / case), Skipped()
    left = list(read_predictions(CASES / "coco-ids/predictions", benchmark, skip_bad=skipped))
    assert set(skipped.reasons) == bad
    assert len(left) == 2 - len(bad)


@pytest.mark.parametrize(
    ("case", "images"), [("suffixes", "abcde"), ("spaces", ["my photo 1", "my photo 2", "c"]), ("bom", "abc")]
)
def test_voc_names_are_read_as_they_are(case, images):
    benchmark = open_benchmark("voc2012", CASES / "voc-names" / case)
    assert benchmark.ids == tuple(images)
    assert scored("voc2012", f"voc-names/{case}", "voc-names/p-suffixes", Skipped()).num_images == sum(
        (CASES / "voc-names/p-suffixes" / f"{name}.png").exists() for name in images
    )


def test_the_first_column_of_a_list_names_the_photo():
    assert scored("voc2012", "voc-names/columns", "voc-names/p-columns").num_images == 2


def test_label_maps_saved_again_with_another_palette_order_keep_their_classes():
    scores = scored("voc2012", "voc-palette-order/root", "voc-palette-order/predictions")
    assert scores.miou == 1.0
    assert set(scores.per_class_iou) == {0, 12, 15}


def test_a_name_that_leaves_its_folder_is_refused():
    with pytest.raises(DatasetError) as error:
        open_benchmark("voc2012", CASES / "split-list-traversal" / "root")
    assert "val.txt, line 1: a name leaves its folder; got '../JPEGImages/a'" in str(error.value)


def test_sixteen_bits_are_read_as_256_levels_not_as_white():
    first, second = open_benchmark("dis5k", CASES / "photos-depth-and-exif" / "sixteen-bit")
    assert np.array_equal(first.image[0, :, 0], np.linspace(0, 65535, 64).astype(np.uint16) >> 8)
    assert np.unique(first.label).tolist() == np.unique(second.label).tolist() == [0, 1]


def test_photos_are_turned_as_exif_says_and_a_label_map_must_be_too():
    root = CASES / "photos-depth-and-exif" / "exif"
    benchmark = open_benchmark("voc2012", root)
    upside_down = benchmark[benchmark.ids.index("r180")]
    with Image.open(root / "JPEGImages" / "r180.jpg") as picture:
        stored = np.array(picture)
    assert np.array_equal(upside_down.image, stored[::-1, ::-1])
    with pytest.raises(DatasetError, match=r"another size than its image; .* EXIF data says: turn the label map too"):
        benchmark[benchmark.ids.index("r90")]


def test_what_a_folder_without_lists_leaves_out_is_told(tmp_path, capsys):
    shutil.copytree(CASES / "voc-names" / "suffixes", tmp_path / "root")
    (tmp_path / "root/SegmentationClass/c.png").unlink()
    (tmp_path / "root/JPEGImages/b.jpg").unlink()
    assert open_benchmark("voc2012", tmp_path / "root").ids == ("a", "d", "e")
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" in ")[0] for line in told] == [
        "left out 1 files without a label map",
        "left out 1 files without a photo",
    ]
    assert told[0].endswith(": c.JPG")
