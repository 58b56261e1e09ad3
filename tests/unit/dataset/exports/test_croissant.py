from pathlib import Path

import pytest

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.croissant import metadata
from dataset_diffusion.dataset.exports.job import Job
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.prompts.class_sets import ClassSet

MANIFEST = DatasetManifest(class_set=ClassSet.from_names(["forklift", "pallet"]), num_samples=10)


@pytest.mark.parametrize(("fraction", "splits"), [(0.0, ["train"]), (0.5, ["train", "val"])])
def test_a_record_set_a_split_and_one_of_the_ids(fraction, splits):
    settings = ExportSettings(format="huggingface", val_fraction=fraction, licence="CC0")
    described = metadata(Job(Path("out"), settings, MANIFEST))
    assert [one["name"] for one in described["recordSet"]] == ["label_ids", *splits]
    assert [one["includes"] for one in described["distribution"]] == [f"data/{split}-*.parquet" for split in splits]
    assert [tuple(row.values()) for row in described["recordSet"][0]["data"]] == [
        (0, "background"),
        (1, "forklift"),
        (2, "pallet"),
        (255, "uncertain"),
    ]
    assert described["license"] == "CC0"
