import numpy as np
import pytest

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.decisions import load_decisions
from dataset_diffusion.dataset.schema import decode_label
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.studio.keeper import Keeper

OWN = LabelSettings(exponent=0)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "decided"


def test_every_change_is_on_disk_and_gone_on_with(dataset, folder):
    keeper = Keeper(dataset, folder)
    assert not folder.exists()
    keeper.decide(2, keep=False, label=None)
    keeper.decide(3, keep=None, label=OWN)
    keeper.label_all(OWN)
    assert load_decisions(folder, dataset.manifest) == keeper.decisions
    again = Keeper(dataset, folder)
    assert again.decisions.dropped == ("00000002",)
    again.decide(2, keep=None, label=None)
    assert Keeper(dataset, folder).decisions.samples.keys() == {"00000003"}


def test_a_corrected_label_map_lies_beside_the_decisions_until_it_is_taken_back(dataset, folder):
    keeper = Keeper(dataset, folder)
    label = np.full((12, 20), 2, np.uint8)
    keeper.decide(4, keep=True, label=None)
    keeper.correct(4, label)
    np.testing.assert_array_equal(decode_label((folder / "00000004.png").read_bytes()), label)
    np.testing.assert_array_equal(Keeper(dataset, folder).corrected(4), label)
    assert keeper.decisions.samples["00000004"].keep
    keeper.forget(4)
    assert keeper.corrected(4) is None
    assert sorted(path.name for path in folder.iterdir()) == ["decisions.json"]


def test_ids_that_are_no_class_are_refused(dataset, folder):
    with pytest.raises(DatasetError, match="cannot be kept; got label ids outside the class set: 3"):
        Keeper(dataset, folder).correct(0, np.full((12, 20), 3, np.uint8))
    assert not folder.exists()


def test_a_lost_correction_is_told(dataset, folder):
    keeper = Keeper(dataset, folder)
    keeper.correct(0, np.zeros((12, 20), np.uint8))
    (folder / "00000000.png").unlink()
    with pytest.raises(DatasetError, match="cannot read"):
        keeper.corrected(0)


def test_what_a_killed_studio_left_half_written_is_removed(dataset, folder):
    Keeper(dataset, folder).decide(4, keep=True, label=None)
    left = [folder / name for name in (".decisions.json.0badcafe.tmp", ".00000004.png.0badcafe.tmp")]
    others = [folder / name for name in (".notes.txt.0badcafe.tmp", "notes.tmp")]
    for file in (*left, *others):
        file.write_bytes(b"half")
    Keeper(dataset, folder)
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in others)
