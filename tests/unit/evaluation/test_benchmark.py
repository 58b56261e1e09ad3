import numpy as np
import pytest

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Benchmark, Source, Task
from dataset_diffusion.evaluation.scorers.semantic import SemanticScorer
from dataset_diffusion.prompts.class_sets import class_set

IMAGE, LABEL = np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), np.uint8)


def benchmark(*sources):
    return Benchmark("yard", class_set("voc"), sources, Task(SemanticScorer))


def test_it_reads_like_a_list_and_nothing_before_it_is_asked_for():
    read = []
    sources = [
        Source(name, lambda name=name: read.append(name) or IMAGE, lambda name=name: LABEL) for name in ("one", "two")
    ]
    yard = benchmark(*sources)
    assert (len(yard), yard.ids, yard.has_truth, read) == (2, ("one", "two"), True, [])
    assert yard.read_label(1) is LABEL
    assert read == []
    assert [item.id for item in yard] == read == ["one", "two"]


def test_a_label_map_of_another_size_is_named():
    yard = benchmark(Source("one", lambda: IMAGE, lambda: LABEL[:3], label_name="labels/one.png"))
    with pytest.raises(DatasetError) as error:
        yard[0]
    assert str(error.value) == "labels/one.png has another size than its image; got 3 x 6; expected 4 x 6"


def test_truth_that_is_withheld_cannot_be_scored():
    yard = benchmark(Source("one", lambda: IMAGE))
    assert not yard.has_truth
    assert yard[0].label is None
    for ask in (yard.check_truth, lambda: yard.read_label(0)):
        with pytest.raises(DatasetError, match=r"^the labels of this split of yard are not public; expected a split "):
            ask()
