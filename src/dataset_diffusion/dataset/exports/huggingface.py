"""Hugging Face: Parquet files that ``datasets.load_dataset`` opens, with the class names in the features."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from dataset_diffusion.dataset.exports import croissant
from dataset_diffusion.dataset.exports.job import COLUMNS, SPLITS, Item, Job, Records, Split
from dataset_diffusion.dataset.schema import SCHEMA
from dataset_diffusion.disk.atomic import explained_write_errors
from dataset_diffusion.prompts.class_sets import ClassSet

LOADING = """\
import datasets, os
dataset = datasets.load_dataset(os.getcwd(), split="train")
image, label = dataset[0]["image"], dataset[0]["label"]  # numpy.array(label) holds class ids
"""

LIMITS: tuple[str, ...] = (
    "The label ids have their names in the feature `classes`: `dataset.features['classes'].feature.names`.",
)

SHARING = "hf upload YOU/NAME . --repo-type dataset --exclude '.*'"
"""The command that uploads the folder to the hub."""

_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    """Write one Parquet file per split that the shard has samples of."""
    job.make_folders("data")
    schema = _schema(job.class_set)
    compression = "zstd" if job.manifest.image_format == "png" else "none"  # JPEGs are compressed already
    batches: dict[Split, list[pa.RecordBatch]] = defaultdict(list)
    for item in items:
        batches[item.split].append(pa.RecordBatch.from_pylist([item.row], schema=schema))
        yield item.record
    for split, samples in batches.items():
        path = job.folder / "data" / f"{split}-{shard:05d}.parquet"
        with explained_write_errors(path):
            table = pa.Table.from_batches(samples)
            pq.write_table(table, path, compression=compression, use_dictionary=False, write_statistics=["index"])


def write_index(job: Job, records: Records) -> None:
    """Write the Croissant metadata; which files belong to which split, the dataset card says too."""
    job.write_lines(croissant.FILE_NAME, [json.dumps(croissant.metadata(job), indent=2)])


def card_header(job: Job) -> str:
    """The metadata at the head of the dataset card, which the hub and ``load_dataset`` read."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS if any(job.names(split))]
    licence = {"license": "other", "license_name": job.settings.licence} if job.settings.licence else {}
    values = (licence or {"license": "unknown"}) | {
        "task_categories": ["image-segmentation"],
        "tags": ["synthetic"],
        "size_categories": [next((s for n, s in _SIZES.items() if job.manifest.num_samples < n), "n>10M")],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def _schema(classes: ClassSet) -> pa.Schema:
    """The dataset's own columns, with the names of the class ids among the features."""
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    kept = {name: features[name] for name in COLUMNS}
    kept["classes"] = [{"names": list(classes.label_names), "_type": "ClassLabel"}]
    fields = [SCHEMA.field(name) for name in COLUMNS]
    fields[COLUMNS.index("classes")] = pa.field("classes", pa.list_(pa.int64()))
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": kept}})})
