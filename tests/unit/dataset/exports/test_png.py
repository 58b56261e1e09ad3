import json

import numpy as np
from PIL import Image
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import HARD, make_store

from dataset_diffusion.config import ExportSettings


def test_pictures_ids_and_splits_are_plain_files(tmp_path):
    store = make_store(tmp_path / "dataset", [HARD["comb"]] * 2)
    write_export(store.path, tmp_path / "out", ExportSettings(format="png"))
    label = Image.open(tmp_path / "out" / "labels" / "00000001.png")
    np.testing.assert_array_equal(np.asarray(label), HARD["comb"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "images" / "00000001.png")), store.image(1))
    rows = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert [row["id"] for row in rows] == [0, 1, 2, 3, 255]
    assert [row["name"] for row in rows] == ["background", "forklift", "hand truck", "Öl | fass: 3", "uncertain"]
    assert (tmp_path / "out" / "train.txt").read_text().split() == ["00000000", "00000001"]
