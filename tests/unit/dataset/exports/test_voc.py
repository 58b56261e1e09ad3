import numpy as np
import pytest
from PIL import Image
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import HARD, make_store

from dataset_diffusion.config import ExportSettings


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_the_folder_is_that_of_pascal_voc(tmp_path, image_format):
    store = make_store(tmp_path / "dataset", [HARD["comb"]] * 2, image_format)
    write_export(store.path, tmp_path / "out", ExportSettings(format="voc"))
    root = tmp_path / "out" / "VOCdevkit" / "VOC2012"
    with Image.open(root / "JPEGImages" / "00000001.jpg") as image:
        assert image.format == "JPEG"
    label = Image.open(root / "SegmentationClass" / "00000001.png")
    np.testing.assert_array_equal(np.asarray(label), HARD["comb"])
    assert (root / "labelmap.txt").read_text(encoding="utf-8").splitlines() == [
        "background:0,0,0::",
        "forklift:128,0,0::",
        "hand truck:0,128,0::",
        "Öl | fass_ 3:128,128,0::",
        "ignored:224,224,192::",
    ]
    assert (root / "ImageSets" / "Segmentation" / "trainval.txt").read_text().split() == ["00000000", "00000001"]
