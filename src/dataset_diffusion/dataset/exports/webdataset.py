"""WebDataset: tar files whose members are ``key.image.png`` (or ``.jpg``), ``key.label.png`` and ``key.json``."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from dataset_diffusion.dataset.exports.job import Item, Job, Records, Split
from dataset_diffusion.dataset.schema import encode_grey
from dataset_diffusion.disk.atomic import explained_write_errors

LOADING = """\
import glob, webdataset
dataset = webdataset.WebDataset(sorted(glob.glob("train/*.tar")), shardshuffle=False).decode("pil")
image, label = next(iter(dataset.map(lambda one: (one["image{suffix}"], one["label.png"].getchannel(0)))))
"""

LIMITS: tuple[str, ...] = (
    "Label maps are greyscale, since WebDataset's decoders make pictures RGB: every channel then holds the class ids.",
)


def write_shard(job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    """Write one tar file per split that the shard has samples of."""
    job.make_folders("train", *(["val"] if job.settings.val_fraction else []))
    tars: dict[Split, tarfile.TarFile] = {}
    with ExitStack() as stack:
        for item in items:
            if item.split not in tars:
                path = job.folder / item.split / f"{shard:06d}.tar"
                stack.enter_context(explained_write_errors(path))
                tars[item.split] = stack.enter_context(tarfile.open(path, "w"))
            for suffix, data in _members(item, job).items():
                # The defaults of TarInfo say nothing about who wrote it when: the same sample gives the same bytes.
                member = tarfile.TarInfo(f"{item.name}{suffix}")
                member.size = len(data)
                tars[item.split].addfile(member, io.BytesIO(data))
            yield item.record


def write_index(job: Job, records: Records) -> None:
    """Nothing: the tar files say it all."""


def _members(item: Item, job: Job) -> dict[str, bytes]:
    texts = {name: item.row[name] for name in ("index", "seed", "prompt", "class_prompt", "classes")}
    return {
        f".image{job.image_suffix}": item.image,
        ".label.png": encode_grey(item.label),
        ".json": json.dumps(texts).encode(),
    }
