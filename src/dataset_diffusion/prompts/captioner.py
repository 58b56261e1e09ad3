"""Captions for photos, by an image-to-text model of transformers. Torch is imported when a captioner is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from dataset_diffusion.config import WorkerSettings
from dataset_diffusion.errors import DatasetError, ModelError, first_line
from dataset_diffusion.machine.hub import NO_CODE, SAFE, load_pretrained
from dataset_diffusion.prompts.captions import clean_caption
from dataset_diffusion.prompts.photos import Captions

MAX_NEW_TOKENS = 40
NUM_BEAMS = 3


@dataclass(frozen=True, eq=False)
class Captioner:
    """An image-to-text model and the processor of its inputs and outputs."""

    name: str
    processor: Any
    model: Any

    def caption(self, photos: Sequence[Image.Image]) -> list[str]:
        """One caption for each RGB photo, by beam search: the same for the same photos."""
        import torch

        inputs = self.processor(images=list(photos), return_tensors="pt").to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, num_beams=NUM_BEAMS, do_sample=False)
        return [clean_caption(text) for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    def caption_files(self, photos: Sequence[Path]) -> Captions:
        """A caption for each photo that can be read, computed at once, and what is wrong with the others."""
        read = [_read_or_explain(photo) for photo in photos]
        images = [one for one in read if not isinstance(one, DatasetError)]
        captions = iter(self.caption(images) if images else [])
        return [one if isinstance(one, DatasetError) else next(captions) for one in read]


def _read_or_explain(photo: Path) -> Image.Image | DatasetError:
    from dataset_diffusion.disk.pictures import read_photo

    try:
        return Image.fromarray(read_photo(photo))
    except DatasetError as error:
        return error


def load_captioner(name_or_path: str, device: str | None = None) -> Captioner:
    """Load a captioner: one that needs no question, such as BLIP.

    Args:
        name_or_path: a hub id, or a local folder that ``save_pretrained`` wrote.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.

    Raises:
        ModelError: no such folder or hub repository, or not an image-to-text model.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    from dataset_diffusion.machine.devices import inference_dtype, resolve_device

    where = resolve_device(device)
    logging.disable_progress_bar()
    processor, model = load_pretrained(
        name_or_path,
        lambda: (
            AutoProcessor.from_pretrained(name_or_path, **NO_CODE),
            AutoModelForImageTextToText.from_pretrained(name_or_path, dtype=inference_dtype(where), **SAFE),
        ),
        explain=lambda error: ModelError(
            "the folder holds no captioner",
            got=f"{name_or_path}: {first_line(error)}",
            expected="an image-to-text model of transformers with its processor, such as BLIP",
        ),
        missing="cannot get the captioner",
        expected="a local folder, or an image-to-text model of a hub that can be reached",
        folder="captioner",
        then="then pass --captioner captioner",
    )
    return Captioner(name_or_path, processor, model.to(where).eval())


def caption_batches(batches: Sequence[Sequence[Path]], captioner: str, workers: WorkerSettings) -> Iterator[Captions]:
    """The captions of each batch of photos, in the order of the batches, whoever captions.

    Raises:
        ModelError: as `load_captioner`; the workers of the cluster cannot be used.
    """
    if workers.executor == "ray":
        return _caption_in_ray(batches, captioner, workers)
    return map(load_captioner(captioner).caption_files, batches)


def _caption_in_ray(batches: Sequence[Sequence[Path]], captioner: str, workers: WorkerSettings) -> Iterator[Captions]:
    from dataset_diffusion.machine.ray_pool import absolute, work_in_ray

    made = work_in_ray(
        [(number, [photo.absolute() for photo in batch]) for number, batch in enumerate(batches)],
        partial(_prepare_ray_worker, absolute(captioner)),
        name=lambda piece: f"photos {piece[1][0]} to {piece[1][-1]}",
        num_workers=workers.num_workers,
        address=workers.address,
    )
    early: dict[int, Captions] = {}
    expected = 0
    for (number, _), captions in made:
        early[number] = captions
        while expected in early:
            yield early.pop(expected)
            expected += 1


def _prepare_ray_worker(captioner: str, device: str) -> Callable[[tuple[int, Sequence[Path]]], Captions]:
    model = load_captioner(captioner, device)
    return lambda piece: model.caption_files(piece[1])
