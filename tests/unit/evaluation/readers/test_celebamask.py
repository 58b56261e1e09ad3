import numpy as np
import pytest
from tests.helpers.folders import celebamask_folder, save_jpeg, save_png

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.readers.celebamask import MAPPING
from dataset_diffusion.evaluation.table import open_benchmark


@pytest.fixture
def faces(tmp_path):
    return celebamask_folder(tmp_path / "CelebAMask-HQ")


def part_file(faces, number, part):
    return faces.root / "CelebAMask-HQ-mask-anno" / str(number // 2000) / f"{number:05d}_{part}.png"


def test_splits_are_those_of_celeba(faces):
    save_jpeg(faces.root / "CelebA-HQ-img" / "3.jpg", np.zeros((8, 8, 3), np.uint8))
    save_png(part_file(faces, 3, "skin"), np.zeros((512, 512), np.uint8))
    assert open_benchmark("celebamask-hq", faces.root).ids == ("7", "2001")
    assert open_benchmark("celebamask-hq", faces.root, "train").ids == ("3",)
    with pytest.raises(
        DatasetError, match=r"mapping\.txt lists no face of the split; got 3 faces; expected some of val"
    ):
        open_benchmark("celebamask-hq", faces.root, "val")


def test_where_parts_overlap_the_higher_id_is_on_top(faces):
    everywhere = np.full((512, 512), 255, np.uint8)
    save_png(part_file(faces, 7, "skin"), everywhere)
    label = open_benchmark("celebamask-hq", faces.root)[0].label
    expected = np.where(faces.labels["7"] == 0, 1, faces.labels["7"])
    assert np.array_equal(label, expected)


def test_label_maps_are_preferred_to_parts(faces):
    for name, label in faces.labels.items():
        save_png(faces.root / "CelebAMaskHQ-mask" / f"{name}.png", label // 2)
    assert np.array_equal(open_benchmark("celebamask-hq", faces.root)[0].label, faces.labels["7"] // 2)


def test_photos_are_seen_at_the_size_of_the_annotations(faces):
    save_jpeg(faces.image_file, np.full((1024, 1024, 3), 90, np.uint8))
    image = open_benchmark("celebamask-hq", faces.root)[0].image
    assert image.shape == (512, 512, 3)
    assert (abs(image.astype(int) - 90) <= 2).all()


def test_a_part_of_another_size_is_named(faces):
    save_png(part_file(faces, 7, "hair"), np.zeros((8, 8), np.uint8))
    with pytest.raises(DatasetError, match=r"00007_hair\.png has another size .* got 8 x 8; expected 512 x 512"):
        open_benchmark("celebamask-hq", faces.root)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7 182637 face.jpg", r"cannot use .*mapping\.txt; got invalid literal"),
        ("", "lists no face of the split; got 0"),
    ],
)
def test_a_mapping_that_cannot_be_used(faces, text, message):
    (faces.root / MAPPING).write_text(text)
    with pytest.raises(DatasetError, match=message) as error:
        open_benchmark("celebamask-hq", faces.root)
    assert "\n" not in str(error.value)
