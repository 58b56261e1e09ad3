"""A benchmark's photos and true label maps as something to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Benchmark
from dataset_diffusion.prompts.class_sets import ClassSet


class RealData(Dataset[tuple[Tensor, Tensor]]):
    """All images of a benchmark, or some by number, as training pairs: uint8 RGB, "3 h w", and class ids, "h w"."""

    def __init__(self, benchmark: Benchmark, numbers: Sequence[int] | None = None) -> None:
        benchmark.check_truth()
        self._benchmark = benchmark
        self._numbers = range(len(benchmark)) if numbers is None else numbers

    @property
    def class_set(self) -> ClassSet:
        """The classes that label ids stand for."""
        return self._benchmark.class_set

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self._benchmark[self._numbers[index]]
        return torch.from_numpy(pair.image).permute(2, 0, 1), torch.from_numpy(pair.label)


def find_bad_images(benchmark: Benchmark) -> Iterator[DatasetError | None]:
    """What is wrong with each image or its truth, in order; None where nothing is."""
    for number in range(len(benchmark)):
        try:
            _ = benchmark[number]
        except DatasetError as error:
            yield error
        else:
            yield None
