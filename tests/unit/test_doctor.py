import json

import pytest
from tests.helpers.processes import succeed

from dataset_diffusion import doctor
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.evaluation.table import BENCHMARKS
from dataset_diffusion.segmentation.models import SEGMENTERS
from dataset_diffusion.version import __version__


def test_it_says_the_version_and_every_name_that_can_be_used():
    first, *lines = succeed("doctor").splitlines()
    assert first.startswith(f"dataset-diffusion {__version__}, Python 3.")
    named = {line.partition(": ")[0]: line.partition(": ")[2].split(", ") for line in lines}
    assert set(MODELS) <= set(named["models"])
    assert set(SEGMENTERS) == set(named["segmenters"])
    assert set(BENCHMARKS) <= set(named["benchmarks"])
    assert f"torch {doctor.version('torch')}" in named["packages"]


def test_it_says_memory_extras_and_downloaded_models(monkeypatch, tmp_path):
    (tmp_path / "models--owner--name" / "snapshots").mkdir(parents=True)
    (tmp_path / "models--begun--only").mkdir()
    monkeypatch.setattr(doctor, "HF_HUB_CACHE", str(tmp_path))
    needs = ["pyarrow>=20", 'pytest>=1; extra == "one"', "no-such-package; extra == 'two'", "pytest; extra == 'two'"]
    monkeypatch.setattr(doctor, "requires", lambda name: needs)
    machine = json.loads(succeed("doctor", "--json"))
    assert machine["cached_models"] == ["owner/name"]
    assert machine["extras"] == {"one": True, "two": False}
    assert machine["memory_gib"] > 0
    lines = list(doctor.format_machine(machine))
    assert "extras installed: one" in lines
    assert "extras not installed: two" in lines
    assert "downloaded from the hub: owner/name" in lines


@pytest.mark.parametrize(
    ("gpus", "mps", "said"),
    [
        ([], False, "no GPU: `embedded` runs well here, Stable Diffusion at minutes an image"),
        ([], True, "mps: an Apple GPU"),
        ([{"device": "cuda:0", "name": "H100", "memory_gib": 79.6}], False, "cuda:0: H100, 79.6 GiB"),
    ],
)
def test_what_there_is_to_compute_with(gpus, mps, said):
    machine = doctor.describe_machine() | {"gpus": gpus, "mps": mps, "memory_gib": None}
    lines = list(doctor.format_machine(machine))
    assert said in lines
    assert len([line for line in lines if "GPU" in line or "cuda" in line]) == 1
