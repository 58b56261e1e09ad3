import os

import pytest

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.machine.process_pool import work_in_processes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_every_piece_is_done_once(workers):
    assert sorted(work_in_processes([-1, 2, -3], abs, workers)) == [1, 2, 3]


def test_without_pieces_there_is_nothing_to_do():
    assert list(work_in_processes([], abs)) == []


def test_a_killed_worker_is_one_line():
    with pytest.raises(DatasetError) as raised:
        list(work_in_processes([1, 1], os._exit, 2))
    assert str(raised.value) == (
        "a worker process was killed; got 2 workers; fix: run the command again with fewer --num-workers"
    )
