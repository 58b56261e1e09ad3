import numpy as np
import pytest
import torch
from tests.helpers.factories import FORKLIFTS, make_heatmaps, make_sample, write_dataset
from torch.utils.data import DataLoader

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.labelling.probabilities import label_probabilities
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.data import SegmentationData


@pytest.fixture
def fill(tmp_path):
    """A function that makes a complete dataset whose samples are those of the given start on, shifted to index 0."""

    def make(name, num_samples, class_set=FORKLIFTS):
        return write_dataset(tmp_path / name, make_sample, class_set, num_samples=num_samples, shard_size=2)

    return make


@pytest.mark.parametrize("preload_bytes", [0, 10_000])
def test_pairs_are_the_samples_in_order(fill, preload_bytes):
    data = SegmentationData(fill("one", 3), preload_bytes)
    assert len(data) == 3
    for index, (image, label) in enumerate(data):
        sample = make_sample(index)
        assert (image.dtype, label.dtype) == (torch.uint8, torch.int64)
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), sample.image)
        np.testing.assert_array_equal(label.numpy(), sample.label)
    assert torch.equal(data[-1][0], data[2][0])
    with pytest.raises(IndexError):
        data[3]


@pytest.mark.parametrize(("limit", "kept"), [(3 * 6 * 9 * 4, True), (3 * 6 * 9 * 4 - 1, False)])
def test_what_is_small_is_kept_in_memory(fill, limit, kept):
    store = fill("one", 3)
    data = SegmentationData(store, preload_bytes=limit)
    for shard in range(store.manifest.num_shards):
        store.shard_path(shard).unlink()
    if kept:
        assert len(list(data)) == 3
    else:
        with pytest.raises(DatasetError, match="is missing"):
            data[2]


def test_several_datasets_follow_one_another(fill):
    first, second = fill("one", 3), fill("two", 2)
    data = SegmentationData([first, second])
    assert len(data) == 5
    assert data.class_set == first.class_set
    assert [data[index][1].tolist() for index in range(5)] == [
        store.image_and_label(index)[1].tolist()
        for store, index in [(first, 0), (first, 1), (first, 2), (second, 0), (second, 1)]
    ]


def test_a_worker_process_reads_the_same(fill):
    data = SegmentationData(fill("one", 5))
    data[0]  # opens a shard before the worker is forked
    here = list(DataLoader(data, batch_size=2))
    there = list(DataLoader(data, batch_size=2, num_workers=1))
    assert [len(images) for images, _ in there] == [2, 2, 1]
    for (images, labels), (other_images, other_labels) in zip(here, there, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_an_incomplete_dataset_is_refused_at_once(fill):
    store = fill("one", 5)
    store.shard_path(1).unlink()
    with pytest.raises(DatasetError, match=r"the dataset is not finished; got .*one lacks 1 of 3 shards; fix: run the"):
        SegmentationData(store)


def test_datasets_of_different_classes_are_refused(fill):
    other = fill("two", 2, ClassSet.from_names(["hand truck", "forklift"], name="other"))
    with pytest.raises(DatasetError, match=r"^datasets of different classes .*two \(other\) with .*one \(custom\)$"):
        SegmentationData([fill("one", 2), other])


def test_no_dataset_is_refused():
    with pytest.raises(DatasetError, match=r"^nothing to train on; got no dataset; expected at least one$"):
        SegmentationData([])


def test_what_the_attention_says_comes_from_the_stored_heatmaps(tmp_path):
    samples = [make_sample(index, heatmaps=make_heatmaps(index)) for index in range(3)]
    settings = LabelSettings(exponent=4)
    data = SegmentationData(write_dataset(tmp_path / "read", samples, provenance=Provenance(label=settings)))
    assert data.classes_of(2) == (1,)
    one = samples[2]
    torch.testing.assert_close(data.attention(2), label_probabilities(one.heatmaps, (1,), 3, settings, one.image))


def test_true_labels_are_no_reading(fill):
    with pytest.raises(DatasetError, match=r"not from attention .*; got sample 1 of .* without heatmaps; fix"):
        SegmentationData(fill("true", 3)).attention(1)
