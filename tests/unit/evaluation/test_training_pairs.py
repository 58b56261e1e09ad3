import pytest
import torch
from tests.helpers.folders import voc_folder

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.evaluation.training_pairs import RealData, find_bad_images
from dataset_diffusion.prompts.class_sets import class_set


@pytest.fixture
def voc(tmp_path):
    return voc_folder(tmp_path / "VOC2012")


def test_real_pairs_are_what_is_in_the_files(voc):
    data = RealData(open_benchmark("voc2012", voc.root))
    assert (len(data), data.class_set) == (2, class_set("voc"))
    for (image, label), truth in zip(data, voc.labels.values(), strict=True):
        assert (image.shape, image.dtype, label.dtype) == ((3, *truth.shape), torch.uint8, torch.uint8)
        assert (label.numpy() == truth).all()


def test_some_of_the_images(voc):
    benchmark = open_benchmark("voc2012", voc.root)
    data = RealData(benchmark, [1])
    assert len(data) == 1
    assert torch.equal(data[0][1], RealData(benchmark)[1][1])


def test_bad_images_are_found_in_order(voc):
    benchmark = open_benchmark("voc2012", voc.root)
    assert list(find_bad_images(benchmark)) == [None, None]
    voc.image_file.write_bytes(b"no picture")
    bad, good = find_bad_images(benchmark)
    assert good is None
    assert isinstance(bad, DatasetError)
    assert voc.image_file.name in str(bad)
