import pytest
import torch
from benchmarks.photos import coarsen, miou

pytestmark = pytest.mark.slow


def test_coarse_labels_follow_the_share_of_each_cell():
    # 16 cells of 4x4 pixels a side: one is whole, its neighbour's share is 3 of 4 columns.
    label = torch.zeros(64, 64, dtype=torch.uint8)
    label[16:48, 16:47] = 8
    coarse = coarsen(label)
    assert coarse.shape == label.shape
    assert (coarse[20:44, 20:40] == 8).all()
    assert (coarse[:8] == 0).all()
    assert set(coarse.unique().tolist()) == {0, 8, 255}


@pytest.mark.parametrize("value", [0, 255])
def test_without_a_class_nothing_changes(value):
    label = torch.full((8, 8), value, dtype=torch.uint8)
    assert torch.equal(coarsen(label), label)


def test_miou_of_the_truth_is_one():
    found, truth = (torch.tensor([[0, 3], [last, 3]], dtype=torch.uint8) for last in (0, 255))
    assert miou([found], [(None, truth)]) == 1.0
