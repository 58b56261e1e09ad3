"""Label Studio: ``images/``, the labelling interface ``config.xml``, and ``tasks.json`` with brush strokes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from dataset_diffusion.dataset.exports.cvat import hex_color, names_of_ids
from dataset_diffusion.dataset.exports.job import Item, Job, Records
from dataset_diffusion.dataset.exports.run_lengths import encode_brush
from dataset_diffusion.prompts.class_sets import ClassSet

LOADING = """\
import json
tasks = json.load(open("tasks.json", encoding="utf-8"))
names = [one["value"]["brushlabels"][0] for task in tasks for one in task["predictions"][0]["result"]]
"""

LIMITS: tuple[str, ...] = (
    "Start Label Studio with local files served from this folder (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT), take"
    " `config.xml` as the labelling interface and import `tasks.json`. Its JSON export comes back by `import-labels`.",
)


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    job.make_folders("images")
    for item in items:
        file_name = f"{item.name}{job.image_suffix}"
        job.write(f"images/{file_name}", item.image)
        data = {"image": f"/data/local-files/?d=images/{file_name}", "index": item.row["index"], "split": item.split}
        strokes = list(_strokes(item, job.class_set))
        yield item.record | {"task": {"data": data, "predictions": [{"model_version": "dataset", "result": strokes}]}}


def write_index(job: Job, records: Records) -> None:
    job.write_lines("config.xml", _interface(job.class_set))
    job.write_lines("tasks.json", _tasks(records))


def _tasks(records: Records) -> Iterator[str]:
    yield "["
    for number, record in enumerate(records):
        yield ("," if number else "") + json.dumps(record["task"], separators=(",", ":"))
    yield "]"


def _interface(classes: ClassSet) -> Iterator[str]:
    yield '<View><Image name="image" value="$image" zoom="true"/><BrushLabels name="label" toName="image">'
    for label_id, name in names_of_ids(classes).items():
        yield f'<Label value={quoteattr(name)} background="{hex_color(classes, label_id)}"/>'
    yield "</BrushLabels></View>"


def _strokes(item: Item, classes: ClassSet) -> Iterator[dict[str, Any]]:
    height, width = item.label.shape
    for label_id, name in names_of_ids(classes).items():
        mask = (item.label == label_id).astype(np.uint8)
        if mask.any():
            yield {
                "id": f"{item.name}-{label_id}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [name]},
            }
