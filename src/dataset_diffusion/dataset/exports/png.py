"""Plain pictures: ``images/``, ``labels/`` (grey PNGs whose levels are class ids), ``classes.json``, split lists.

``labels_coloured/`` has the same label maps as palette PNGs, to look at: most readers give colours, not ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from dataset_diffusion.dataset.exports.job import SPLITS, Item, Job, Records
from dataset_diffusion.dataset.schema import encode_grey

LOADING = """\
from PIL import Image
image = Image.open("images/00000000{suffix}")
label = Image.open("labels/00000000.png")  # numpy.array(label) holds class ids
"""

LIMITS: tuple[str, ...] = ()


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    job.make_folders("images", "labels", "labels_coloured")
    for item in items:
        job.write(f"images/{item.name}{job.image_suffix}", item.image)
        job.write(f"labels/{item.name}.png", encode_grey(item.label))
        job.write(f"labels_coloured/{item.name}.png", item.label_png)
        yield item.record


def write_index(job: Job, records: Records) -> None:
    """Write what the ids mean and which sample belongs to which split."""
    classes = job.class_set
    rows: list[dict[str, Any]] = [
        {"id": label_id, "name": name, "color": classes.palette[label_id]}
        for label_id, name in enumerate(classes.label_names)
    ]
    rows.append({"id": classes.ignore_index, "name": "uncertain", "color": classes.palette[classes.ignore_index]})
    job.write_lines("classes.json", ["[", ",\n".join(f"  {json.dumps(row)}" for row in rows), "]"])
    for split in SPLITS:
        job.write_lines(f"{split}.txt", job.names(split))
