import numpy as np
import yaml
from PIL import Image
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import CLASSES, HARD, make_store

from dataset_diffusion.config import ExportSettings


def test_masks_lie_where_images_do_and_the_background_is_a_class(tmp_path):
    store = make_store(tmp_path / "dataset", [HARD["hole of uncertain pixels"]] * 4)
    write_export(store.path, tmp_path / "out", ExportSettings(format="yolo-semantic", val_fraction=0.5))
    for split in ("train", "val"):
        names = [
            sorted(path.name for path in (tmp_path / "out" / kind / split).iterdir()) for kind in ("images", "masks")
        ]
        assert len(names[0]) == 2
        assert names[0] == names[1]
        mask = Image.open(tmp_path / "out" / "masks" / split / names[1][0])
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.asarray(mask), HARD["hole of uncertain pixels"])
    description = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))
    assert description == {
        "train": "images/train",
        "val": "images/val",
        "masks_dir": "masks",
        "names": dict(enumerate(["background", *CLASSES.names])),
    }
