import io
import json
import tarfile

import numpy as np
from PIL import Image
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import HARD, make_store

from dataset_diffusion.config import ExportSettings


def test_a_tar_file_holds_the_picture_label_and_texts_of_each_sample_of_its_shard(tmp_path):
    store = make_store(tmp_path / "dataset", [HARD["comb"]] * 3, shard_size=2)
    write_export(store.path, tmp_path / "out", ExportSettings(format="webdataset"))
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == ["000000.tar", "000001.tar"]
    with tarfile.open(tmp_path / "out" / "train" / "000001.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert sorted(members) == ["00000002.image.png", "00000002.json", "00000002.label.png"]
    label = Image.open(io.BytesIO(members["00000002.label.png"]))
    assert label.mode == "L"
    np.testing.assert_array_equal(np.asarray(label), HARD["comb"])
    texts = json.loads(members["00000002.json"])
    assert (texts["index"], texts["classes"], texts["class_prompt"]) == (2, [1], "forklift")
