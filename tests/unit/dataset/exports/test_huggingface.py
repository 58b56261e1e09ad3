from pathlib import Path

import pytest
import yaml
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import HARD, make_store

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.huggingface import card_header
from dataset_diffusion.dataset.exports.job import Job
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.prompts.class_sets import class_set


def header(num_samples, **settings):
    manifest = DatasetManifest(class_set=class_set("voc"), num_samples=num_samples)
    text = card_header(Job(Path("out"), ExportSettings(format="huggingface", **settings), manifest))
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    return yaml.safe_load(text.strip("-\n"))


def test_the_splits_are_those_that_have_samples():
    [config] = header(10)["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    [config] = header(10, val_fraction=0.5)["configs"]
    assert [files["split"] for files in config["data_files"]] == ["train", "val"]


@pytest.mark.parametrize(
    ("num_samples", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (40_000, "10K<n<100K")]
)
def test_the_size_is_one_of_the_hubs_categories(num_samples, size):
    assert header(num_samples)["size_categories"] == [size]


def test_the_card_says_how_to_upload(tmp_path):
    write_export(
        make_store(tmp_path / "dataset", [HARD["comb"]]).path, tmp_path / "out", ExportSettings(format="huggingface")
    )
    assert "hf upload YOU/NAME . --repo-type dataset" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_the_licence_is_what_the_user_states():
    assert header(1)["license"] == "unknown"
    stated = header(1, licence='my "own": one')
    assert (stated["license"], stated["license_name"]) == ("other", 'my "own": one')
