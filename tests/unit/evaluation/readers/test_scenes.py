import pytest
from tests.helpers.folders import FOLDERS

from dataset_diffusion.dataset import store
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.table import open_benchmark


@pytest.fixture
def folder(tmp_path):
    make, _ = FOLDERS["scenes"]
    return make(tmp_path / "scenes")


@pytest.fixture
def decoded(monkeypatch):
    """How often pictures were decoded, by function."""
    calls = {"decode_image": 0, "decode_label": 0}

    def counting(name):
        decode = getattr(store, name)

        def count(data):
            calls[name] += 1
            return decode(data)

        return count

    for name in calls:
        monkeypatch.setattr(store, name, counting(name))
    return calls


def test_every_picture_is_decoded_once(folder, decoded):
    items = list(open_benchmark(str(folder.root)))
    assert len(items) == len(folder.labels) == 2
    assert decoded == {"decode_image": 2, "decode_label": 2}


def test_label_maps_are_read_alone(folder, decoded):
    benchmark = open_benchmark(str(folder.root))
    assert (benchmark.read_label(1) == folder.labels[benchmark.ids[1]]).all()
    assert decoded == {"decode_image": 0, "decode_label": 1}


def test_a_dataset_has_no_splits(folder):
    with pytest.raises(DatasetError, match=r"a dataset has no splits; got --split val of .*; fix: leave it out"):
        open_benchmark(str(folder.root), split="val")
