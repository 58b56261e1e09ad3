import json
import xml.etree.ElementTree as ElementTree

import numpy as np
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import make_store

from dataset_diffusion.config import ExportSettings


def test_a_mask_is_run_lengths_inside_its_box(tmp_path):
    label = np.array([[0, 0, 0, 0], [0, 1, 1, 255], [0, 0, 1, 0]], np.uint8)
    write_export(make_store(tmp_path / "dataset", [label]).path, tmp_path / "out", ExportSettings(format="cvat"))
    [image] = ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot().findall("image")
    assert (image.get("name"), image.get("width"), image.get("height")) == ("00000000.png", "4", "3")
    first, second = image.findall("mask")
    box = {"left": "1", "top": "1", "width": "2", "height": "2"}
    assert {name: first.get(name) for name in box} == box
    assert (first.get("label"), first.get("rle")) == ("forklift", "0, 2, 1, 1")
    assert (second.get("label"), second.get("rle")) == ("uncertain", "0, 1")
    labels = json.loads((tmp_path / "out" / "labels.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["color"]) for one in labels] == [
        ("forklift", "#800000"),
        ("hand truck", "#008000"),
        ("Öl | fass: 3", "#808000"),
        ("uncertain", "#e0e0c0"),
    ]
