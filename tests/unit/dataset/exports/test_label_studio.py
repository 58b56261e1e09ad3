import json
import xml.etree.ElementTree as ElementTree

import numpy as np
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import CLASSES, make_store

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.run_lengths import decode_brush


def test_a_task_has_the_present_labels_as_brush_strokes(tmp_path):
    label = np.array([[0, 1, 1], [255, 1, 2]], np.uint8)
    store = make_store(tmp_path / "dataset", [label])
    write_export(store.path, tmp_path / "out", ExportSettings(format="label-studio"))
    [task] = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=images/00000000.png"
    painted = np.zeros_like(label)
    ids = {"forklift": 1, "hand truck": 2, "uncertain": 255}
    for stroke in task["predictions"][0]["result"]:
        assert (stroke["original_width"], stroke["original_height"]) == (3, 2)
        painted[decode_brush(stroke["value"]["rle"], label.shape)] = ids[stroke["value"]["brushlabels"][0]]
    np.testing.assert_array_equal(painted, label)
    interface = ElementTree.parse(tmp_path / "out" / "config.xml").getroot()
    assert [one.get("value") for one in interface.iter("Label")] == [*CLASSES.names, "uncertain"]
