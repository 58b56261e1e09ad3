import numpy as np
import pytest

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.examples import MAX_EXAMPLES, Example, choose_examples, read_examples, write_examples
from dataset_diffusion.prompts.class_sets import ClassSet

CLASSES = ClassSet.from_names(["cat", "dog"])


@pytest.fixture
def examples():
    """Two examples of different sizes."""
    random = np.random.default_rng(0)
    return [
        Example(random.integers(0, 256, (*size, 3), np.uint8), *random.choice([0, 1, 2, 255], (2, *size)).astype("u1"))
        for size in ((6, 8), (5, 3))
    ]


def test_examples_come_back_as_they_were(examples, tmp_path):
    write_examples(tmp_path / "examples.parquet", examples, CLASSES)
    for read, written in zip(read_examples(tmp_path / "examples.parquet"), examples, strict=True):
        for name in ("image", "truth", "prediction"):
            assert np.array_equal(getattr(read, name), getattr(written, name))


def test_the_same_examples_give_the_same_bytes_and_leave_nothing_beside(examples, tmp_path):
    path = tmp_path / "examples.parquet"
    write_examples(path, examples, CLASSES)
    before = path.read_bytes()
    (tmp_path / f".{path.name}.0.tmp").write_bytes(b"PAR1")  # of a writer that was killed
    write_examples(path, examples, CLASSES)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_is_no_example(tmp_path):
    assert read_examples(tmp_path / "examples.parquet") == ()


@pytest.mark.parametrize("keep", [0, 4, -100])
def test_a_damaged_file_is_told(examples, tmp_path, keep):
    path = tmp_path / "examples.parquet"
    write_examples(path, examples, CLASSES)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"examples\.parquet cannot be read; got .*; fix: delete it, or ") as error:
        read_examples(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("count", "chosen"), [(0, []), (1, [0]), (3, [0, 1, 2]), (15, [0, 2, 4, 6, 8, 10, 12, 14])])
def test_examples_are_chosen_evenly_from_the_first_to_the_last(count, chosen):
    assert choose_examples([str(number) for number in range(count)]) == {str(number) for number in chosen}


def test_few_are_chosen():
    assert len(choose_examples([str(number) for number in range(1000)])) == MAX_EXAMPLES
