import numpy as np
import pytest
from tests.helpers.folders import scenes_folder

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.readers.scenes import SCENES
from dataset_diffusion.evaluation.table import BENCHMARKS, open_benchmark


def test_unknown_benchmarks_are_told_the_names():
    with pytest.raises(DatasetError, match=f"got 'ade'; expected one of {', '.join(BENCHMARKS)}, or a dataset folder"):
        open_benchmark("ade")


def test_a_dataset_is_a_benchmark_by_path_or_in_place_of_the_scenes(tmp_path):
    folder = scenes_folder(tmp_path / "dataset")
    for benchmark in (open_benchmark(str(folder.root)), open_benchmark("scenes", folder.root)):
        assert benchmark.ids == ("00000000", "00000001")
        assert benchmark.class_set == DatasetStore.open(folder.root).class_set
        for item in benchmark:
            assert np.array_equal(item.label, folder.labels[item.id])


def test_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="not a dataset"):
        open_benchmark(str(tmp_path))


def test_datasets_have_no_splits(tmp_path):
    folder = scenes_folder(tmp_path / "dataset")
    with pytest.raises(DatasetError, match=f"a dataset has no splits; got --split val of {folder.root}"):
        open_benchmark("scenes", folder.root, "val")


@pytest.mark.skipif(not SCENES.is_dir(), reason="the embedded model's scenes are not there yet")
def test_the_shipped_scenes():
    benchmark = open_benchmark("scenes")
    assert len(benchmark) >= 200
    assert benchmark[0].label.shape == benchmark[0].image.shape[:2]
