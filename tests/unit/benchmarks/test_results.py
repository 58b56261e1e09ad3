"""What benchmarks/results.py keeps, and what benchmarks/relabel.py counts."""

import pytest
from benchmarks import relabel
from benchmarks.results import kept
from tests.helpers.factories import fill

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.prompts.class_sets import class_set

pytestmark = pytest.mark.slow


def test_figures_are_kept_with_their_options(tmp_path):
    file, measured = tmp_path / "part.json", []

    def measure():
        measured.append("once more")
        return {"miou": len(measured)}

    assert kept(file, {"repeats": 3}, measure) == kept(file, {"repeats": 3}, measure) == {"miou": 1}
    assert kept(file, {"repeats": 5}, measure) == kept(file, {"repeats": 5}, measure) == {"miou": 2}


@pytest.mark.parametrize("options", [{}, {"repeats": 3}])
def test_figures_without_options_are_measured_anew(tmp_path, options):
    file = tmp_path / "part.json"
    file.write_text('{"miou": 0.5}')
    assert kept(file, options, lambda: {"miou": 0.7}) == {"miou": 0.7}


def test_the_rate_is_that_of_all_shards(tmp_path):
    manifest = DatasetManifest(class_set=class_set("emoji"), num_samples=2, shard_size=1)
    source, target = (DatasetWriter.create(tmp_path / name, manifest) for name in ("source", "target"))
    fill(source, relabel.make_sample)
    images, megabytes = relabel.measure(source, target, LabelSettings())
    size = sum(target.shard_path(shard).stat().st_size for shard in range(2)) / 2**20
    assert megabytes / images == pytest.approx(size / 2)
