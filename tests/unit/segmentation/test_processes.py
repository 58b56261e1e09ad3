import os

import pytest

from dataset_diffusion.segmentation.processes import loader_workers


@pytest.mark.parametrize(
    ("cores", "here", "everywhere", "workers"),
    [(4, 1, 1, 4), (32, 1, 1, 8), (16, 4, 4, 4), (16, 4, 32, 4), (3, 4, 4, 0)],
)
def test_loader_workers_share_the_cores_of_their_own_machine(monkeypatch, cores, here, everywhere, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setenv("WORLD_SIZE", str(everywhere))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    assert loader_workers() == workers
